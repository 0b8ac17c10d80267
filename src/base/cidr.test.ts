import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { cidr, cidrOf, cidrSize, cidrsOverlap, cidrWithout, parseCidr } from "./cidr.ts";
import { type Ipv4Address, ipFromBigInt, ipToBigInt, ipv4FromNumber, ipv4ToNumber } from "./ip.ts";

describe("the prefix of an IPv4 address", () => {
  it("is the address with its host bits cleared", () => {
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), fc.nat(32), (number, length) => {
        const address = ipFromBigInt(BigInt(number), 4) as Ipv4Address;
        assert.equal(ipv4FromNumber(number), address);
        assert.equal(ipv4ToNumber(address), number);
        const hostBits = BigInt(32 - length);
        const prefix = `${ipFromBigInt((ipToBigInt(address) >> hostBits) << hostBits, 4)}/${length}`;
        assert.equal(cidrOf(address, length), prefix);
        assert.deepEqual(parseCidr(prefix), { ok: true, value: prefix });
      }),
    );
  });

  const refused: [text: string, error: string][] = [
    ["10.0.0.1/24", '"10.0.0.1/24" has host bits set; the prefix is 10.0.0.0/24'],
    ["10.0.0.0/33", '"10.0.0.0/33": a prefix length is 0 to 32'],
    ["10.0.0.256/32", '"10.0.0.256/32" is not a prefix such as 10.0.0.0/24 or fd00::/64'],
    ["10.0.0.00/24", '"10.0.0.00/24" is not a prefix such as 10.0.0.0/24 or fd00::/64'],
    ["10.0.0/24", '"10.0.0/24" is not a prefix such as 10.0.0.0/24 or fd00::/64'],
  ];
  for (const [text, error] of refused)
    it(`refuses ${text}`, () => assert.deepEqual(parseCidr(text), { ok: false, error }));

  it("is read with a length that begins with zeros", () =>
    assert.deepEqual(parseCidr("10.0.0.0/024"), { ok: true, value: "10.0.0.0/24" }));
});

describe("a prefix without others", () => {
  const cases: [outer: string, holes: string[], expected: string[]][] = [
    ["10.0.0.0/24", [], ["10.0.0.0/24"]],
    ["10.0.0.0/24", ["10.0.1.0/24", "fd00::/8"], ["10.0.0.0/24"]],
    ["10.0.0.0/24", ["10.0.0.0/24"], []],
    ["10.0.0.0/24", ["10.0.0.0/8"], []],
    ["10.0.0.0/24", ["10.0.0.128/25"], ["10.0.0.0/25"]],
    ["10.0.0.0/30", ["10.0.0.1/32"], ["10.0.0.0/32", "10.0.0.2/31"]],
    ["10.0.0.0/30", ["10.0.0.0/31", "10.0.0.2/31"], []],
    ["fd00::/62", ["fd00:0:0:2::/64"], ["fd00::/63", "fd00:0:0:3::/64"]],
  ];
  for (const [outer, holes, expected] of cases)
    it(`${outer} without ${holes.join(" and ") || "any"}`, () =>
      assert.deepEqual(cidrWithout(cidr(outer), holes.map(cidr)), expected.map(cidr)));

  it("has all other addresses, each once", () => {
    const outer = cidr("0.0.0.0/0");
    const holes = [cidr("255.255.255.255/32"), cidr("10.0.0.0/8"), cidr("10.1.0.0/16")];
    const parts = cidrWithout(outer, holes);
    const size = [...parts, cidr("10.0.0.0/8")].reduce((sum, part) => sum + cidrSize(part), 1n);
    assert.equal(size, cidrSize(outer));
    for (const part of parts) assert.ok(!holes.some((hole) => cidrsOverlap(part, hole)), part);
  });
});
