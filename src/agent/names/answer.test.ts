import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { cidr } from "../../base/cidr.ts";
import { ip, ipFromBytes } from "../../base/ip.ts";
import { domainNames } from "../../wire/domain-names.ts";
import { dnsHeader, readDnsQuestion } from "../../wire/index.ts";
import { octetsOf } from "../../wire/text.ts";
import { answerTo, type NamedNetwork } from "./answer.ts";
import { EndpointNames } from "./endpoint-names.ts";

const network: NamedNetwork = { name: "shop", tenant: "blue", subnets: [cidr("10.0.0.0/24"), cidr("fd00::/64")] };
const names = new EndpointNames();
names.put({
  id: "a",
  network: "shop",
  ips: [ip("10.0.0.2"), ip("fd00::2")],
  labels: { hostname: "web", "alias/all": "" },
});
names.put({ id: "b", network: "shop", ips: [ip("10.0.0.3")], labels: { hostname: "db", "alias/all": "" } });
names.put({ id: "c", network: "other", ips: [ip("10.0.1.2")], labels: { hostname: "far" } });

const types = { A: 1, NS: 2, PTR: 12, MX: 15, AAAA: 28, ANY: 255 } as const;

function queryOf(
  name: string,
  type: keyof typeof types,
  changes: { flags?: number; questions?: number; class?: number } = {},
) {
  const { flags = 0x0100, questions = 1, class: of = 1 } = changes;
  const labels = name === "" ? [] : name.split(".");
  return Uint8Array.of(
    ...[0x12, 0x34, flags >> 8, flags & 255, 0, questions, 0, 0, 0, 0, 0, 0],
    ...labels.flatMap((label) => [label.length, ...octetsOf(label, "label")]),
    ...[0, 0, types[type], 0, of],
  );
}

/** The response as text: its code, and what records say. */
function asked(name: string, type: keyof typeof types, first = 0, of = network): string {
  const query = queryOf(name, type);
  const response = answerTo(query, of, names, first);
  assert.ok(response);
  const header = dnsHeader.decode(response);
  const question = readDnsQuestion(response, dnsHeader.length);
  assert.ok(header.ok && question.ok);
  assert.equal(header.value.id, 0x1234);
  assert.equal(question.value.name, name);
  const words: string[] = [String(header.value.responseCode)];
  let at = dnsHeader.length + question.value.octets.length;
  for (let answer = 0; answer < header.value.answers; answer++) {
    const view = new DataView(response.buffer, response.byteOffset);
    const [kind, length] = [view.getUint16(at + 2), view.getUint16(at + 10)];
    const data = response.subarray(at + 12, at + 12 + length);
    words.push(kind === types.PTR ? nameFrom(data) : ipFromBytes(data));
    at += 12 + length;
  }
  assert.equal(at, response.length);
  return words.join(" ");
}

function nameFrom(data: Uint8Array): string {
  const names = domainNames.decode(data);
  assert.ok(names.ok);
  return names.value.join();
}

describe("a node's answer to DNS", () => {
  it("is the addresses of who is called so in the endpoint's network", () => {
    for (const name of ["web", "WEB", "web.shop", "web.shop.blue.weft", "Web.Shop.Blue.Weft"]) {
      assert.equal(asked(name, "A"), "no-error 10.0.0.2", name);
      assert.equal(asked(name, "AAAA"), "no-error fd00::2", name);
    }
    assert.equal(asked("web", "ANY"), "no-error 10.0.0.2 fd00::2");
    assert.equal(asked("db", "AAAA"), "no-error");
    assert.equal(asked("web", "MX"), "no-error");
  });

  it("begins with another address each time", () => {
    assert.equal(asked("all", "A", 0), "no-error 10.0.0.2 10.0.0.3");
    assert.equal(asked("all", "A", 0.6), "no-error 10.0.0.3 10.0.0.2");
  });

  it("knows names in the domain that the network tells", () => {
    const dhcp = { dns: [], ntp: [], leaseTime: 600, metadata: false, domain: "lab.example" };
    assert.equal(asked("web.lab.example", "A"), "refused");
    assert.equal(asked("web.lab.example", "A", 0, { ...network, dhcp }), "no-error 10.0.0.2");
    assert.equal(asked("www.lab.example", "A", 0, { ...network, dhcp }), "refused");
  });

  it("is a refusal where others may know the name, so that they are asked", () => {
    for (const name of ["nobody", "far", "example.org", "web.other", "web.example.org", "a.web", "", "weft.example"])
      assert.equal(asked(name, "A"), "refused", name);
  });

  it("is that there is no such name where nobody else could know it", () => {
    for (const name of ["nobody.shop.blue.weft", "far.other.blue.weft", "web.shop.red.weft", "weft", "x.weft"])
      assert.equal(asked(name, "A"), "name-error", name);
  });

  it("says who has an address of the network", () => {
    assert.equal(asked("2.0.0.10.in-addr.arpa", "PTR"), "no-error web.shop.blue.weft");
    const v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert.equal(asked(v6, "PTR"), "no-error web.shop.blue.weft");
    assert.equal(asked("9.0.0.10.in-addr.arpa", "PTR"), "name-error");
    assert.equal(asked("2.1.0.10.in-addr.arpa", "PTR"), "refused");
    assert.equal(asked("8.8.8.8.in-addr.arpa", "PTR"), "refused");
    assert.equal(asked("999.0.0.10.in-addr.arpa", "PTR"), "refused");
    assert.equal(asked("2.0.0.10.in-addr.arpa", "A"), "no-error");
  });

  it("says of what it does not understand that it does not, and of responses nothing", () => {
    const codeOf = (message: Uint8Array) => {
      const response = answerTo(message, network, names, 0);
      const header = response && dnsHeader.decode(response);
      return header?.ok ? header.value.responseCode : undefined;
    };
    assert.equal(codeOf(queryOf("web", "A", { flags: 0x2800 })), "not-implemented");
    assert.equal(codeOf(queryOf("web", "A", { questions: 2 })), "format-error");
    assert.equal(codeOf(queryOf("web", "A", { class: 3 })), "refused");
    assert.equal(codeOf(queryOf("web", "A").subarray(0, 14)), "format-error");
    assert.equal(codeOf(queryOf("web", "A", { flags: 0x8100 })), undefined);
    assert.equal(codeOf(queryOf("web", "A").subarray(0, 11)), undefined);
  });

  it("is small and comes without an error whatever is asked", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (message) => {
        const response = answerTo(message, network, names, 0.5);
        assert.ok(response === undefined || response.length <= 512);
      }),
    );
  });
});
