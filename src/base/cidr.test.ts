import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr, cidrSize, cidrsOverlap, cidrWithout } from "./cidr.ts";

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
