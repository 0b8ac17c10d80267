import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressAt, type Cidr, cidr, cidrOf, cidrsOverlap } from "./cidr.ts";
import { PrefixIndex } from "./prefix-index.ts";

const prefixes: fc.Arbitrary<Cidr> = fc
  .tuple(fc.constantFrom(cidr("10.0.0.0/24"), cidr("fd00::/120")), fc.nat(255), fc.integer({ min: 0, max: 8 }))
  .map(([all, number, longer]) => cidrOf(addressAt(all, BigInt(number)), (all === "10.0.0.0/24" ? 24 : 120) + longer));
const steps = fc.array(fc.tuple(fc.boolean(), prefixes, fc.constantFrom("a", "b", "c")), { maxLength: 40 });

test("finds what has a prefix that overlaps, and nothing else", () => {
  fc.assert(
    fc.property(steps, prefixes, (sequence, sought) => {
      const index = new PrefixIndex<string>();
      const model = new Map<string, readonly [Cidr, string]>();
      for (const [isAdded, prefix, value] of sequence) {
        if (isAdded) index.add(prefix, value);
        else index.delete(prefix, value);
        if (isAdded) model.set(`${prefix} ${value}`, [prefix, value]);
        else model.delete(`${prefix} ${value}`);
      }
      const all = [...model.values()];
      const overlapping = all.filter(([prefix]) => cidrsOverlap(prefix, sought)).map(([, value]) => value);
      assert.deepEqual([...index.overlapping(sought)].sort(), overlapping.sort());
      assert.deepEqual([...index.values()].sort(), all.map(([, value]) => value).sort());
      assert.equal(index.isEmpty, all.length === 0);
    }),
  );
});
