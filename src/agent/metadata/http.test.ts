import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { octetsOf, textOf } from "../../wire/text.ts";
import { longestRequest, respond } from "./http.ts";

const documents = new Map([
  ["meta-data", () => octetsOf("instance-id: a\n", "document")],
  ["user-data", () => Uint8Array.of(0, 255)],
]);

function answer(request: string): string | undefined {
  const response = respond(octetsOf(request, "request"), documents);
  return response && textOf(response);
}

describe("a request", () => {
  const cases: [what: string, request: string, answer: RegExp | undefined][] = [
    [
      "of a document",
      "GET /meta-data HTTP/1.1\r\nHost: a\r\n\r\n",
      /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\ninstance-id: a\n$/s,
    ],
    ["of an older client", "GET /meta-data HTTP/1.0\r\n\r\n", /^HTTP\/1\.1 200 /],
    ["of octets", "GET /user-data HTTP/1.1\r\n\r\n", /\r\nContent-Length: 2\r\n.*\r\n\r\n\0\xff$/s],
    ["of all that there is", "GET / HTTP/1.1\r\n\r\n", /\r\n\r\nmeta-data\nuser-data\n$/],
    [
      "of its header alone",
      "HEAD /meta-data HTTP/1.1\r\n\r\n",
      /^HTTP\/1\.1 200 OK\r\n.*Content-Length: 15\r\n.*\r\n\r\n$/s,
    ],
    ["of what there is not", "GET /latest/meta-data/ HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 404 /],
    ["of what every object has", "GET /constructor HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 404 /],
    ["that climbs", "GET /../meta-data HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 404 /],
    ["for another server", "GET http://other/meta-data HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 404 /],
    ["that would change something", "PUT /user-data HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 405 .*\r\nAllow: GET, HEAD\r\n/s],
    ["of another protocol", "SSH-2.0-OpenSSH\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["with a line that nobody ends", "GET /meta-data\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["of which half is there", "GET /meta-data HTTP/1.1\r\nHost: a\r\n", undefined],
    ["that is too long", `GET /${"a".repeat(longestRequest)}`, /^HTTP\/1\.1 431 /],
  ];
  for (const [what, request, wanted] of cases)
    it(what, () => {
      const found = answer(request);
      if (wanted === undefined) assert.equal(found, undefined);
      else assert.match(found ?? "nothing", wanted);
    });

  it("is answered once, and the length is that of the document", () => {
    assert.match(answer("GET /meta-data HTTP/1.1\r\n\r\n") ?? "", /\r\nContent-Length: 15\r\nConnection: close\r\n/);
  });

  it("of any octets does not throw", () => {
    for (let count = 0; count < 2_000; count++) {
      const octets = crypto.getRandomValues(new Uint8Array(count % 64));
      respond(Uint8Array.of(...octets, 13, 10, 13, 10), documents);
    }
  });
});
