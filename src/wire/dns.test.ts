import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { toHex } from "../base/bytes.ts";
import { ip } from "../base/ip.ts";
import { annotated, codecSuite } from "./codec-suite.test.ts";
import { dnsHeader, readDnsQuestion, writeDnsResponse } from "./dns.ts";

codecSuite(dnsHeader, {
  examples: [
    {
      name: "a query",
      bytes: "12 34 01 00 00 01 00 00 00 00 00 01",
      value: {
        ...{ id: 0x1234, isResponse: false, operation: 0, isAuthoritative: false, isTruncated: false },
        ...{ recursionDesired: true, recursionAvailable: false, responseCode: "no-error" },
        ...{ questions: 1, answers: 0, authorities: 0, additionals: 1 },
      },
    },
    {
      name: "a response that is refused, of another operation",
      bytes: "ff ff 90 05 00 00 00 00 00 00 00 00",
      value: {
        ...{ id: 0xffff, isResponse: true, operation: 2, isAuthoritative: false, isTruncated: false },
        ...{ recursionDesired: false, recursionAvailable: false, responseCode: "refused" },
        ...{ questions: 0, answers: 0, authorities: 0, additionals: 0 },
      },
    },
  ],
});

const question = annotated(`
  03 57 65 62 04 77 65 66 74 00  # Web.weft
  00 01 00 01                    # A, IN`);

describe("dns question", () => {
  test("is read where it stands, and keeps its letters", () => {
    assert.deepEqual(readDnsQuestion(Uint8Array.of(9, 9, ...question, 7), 2), {
      ok: true,
      value: { name: "Web.weft", type: "a", class: "internet", octets: question },
    });
    assert.deepEqual(readDnsQuestion(annotated("00 00 02 00 03"), 0), {
      ok: true,
      value: { name: "", type: { unknown: 2 }, class: { unknown: 3 }, octets: annotated("00 00 02 00 03") },
    });
  });

  test("that is cut short is refused", () => {
    for (let length = 0; length < question.length; length++)
      assert.equal(readDnsQuestion(question.subarray(0, length), 0).ok, false);
  });

  test("of a name that none is is refused", () => {
    const refused: readonly [bytes: string, what: RegExp][] = [
      ["c0 0c 00 01 00 01", /label has 192 octets/],
      ["03 61 2e 62 00 00 01 00 01", /dot/],
      [`${`3f ${"61 ".repeat(63)}`.repeat(4)} 00 00 01 00 01`, /too long/],
    ];
    for (const [bytes, what] of refused) {
      const read = readDnsQuestion(annotated(bytes), 0);
      assert.match(read.ok ? "" : read.error.what, what);
    }
  });

  test("of whatever bytes never throws", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(20), (bytes, offset) => {
        readDnsQuestion(bytes, offset);
      }),
    );
  });
});

describe("dns response", () => {
  const read = readDnsQuestion(question, 0);
  assert.ok(read.ok);
  const common = { id: 0x1234, operation: 0, recursionDesired: true, isAuthoritative: true, timeToLive: 5 } as const;

  test("has the question and the records", () => {
    const response = writeDnsResponse({
      ...{ ...common, question: read.value, responseCode: "no-error" },
      records: [
        { type: "address", address: ip("10.0.0.2") },
        { type: "address", address: ip("fd00::2") },
        { type: "name", name: "a.weft" },
      ],
    });
    const expected = annotated(`
      12 34 85 00 00 01 00 03 00 00 00 00
      ${toHex(question)}
      c0 0c 00 01 00 01 00 00 00 05 00 04 0a 00 00 02
      c0 0c 00 1c 00 01 00 00 00 05 00 10 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02
      c0 0c 00 0c 00 01 00 00 00 05 00 08 01 61 04 77 65 66 74 00`);
    assert.equal(toHex(response), toHex(expected));
  });

  test("without a question has none, and no records", () => {
    const records = [{ type: "address", address: ip("10.0.0.2") }] as const;
    const response = writeDnsResponse({ ...common, isAuthoritative: false, responseCode: "format-error", records });
    assert.equal(toHex(response), toHex(annotated("12 34 81 01 00 00 00 00 00 00 00 00")));
  });

  test("has as many records as fit into 512 octets", () => {
    const records = Array.from({ length: 100 }, () => ({ type: "address", address: ip("10.0.0.2") }) as const);
    const response = writeDnsResponse({ ...common, question: read.value, responseCode: "no-error", records });
    const header = dnsHeader.decode(response);
    assert.deepEqual([header.ok && header.value.answers, response.length], [30, 12 + question.length + 30 * 16]);
  });
});
