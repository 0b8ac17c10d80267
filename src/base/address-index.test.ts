import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AddressIndex } from "./address-index.ts";
import { addressAt, type Cidr, cidr, cidrContains, cidrOf } from "./cidr.ts";
import type { IpAddress } from "./ip.ts";

const addresses: fc.Arbitrary<IpAddress> = fc
  .tuple(fc.constantFrom(cidr("10.0.0.0/24"), cidr("fd00::/120")), fc.nat(15))
  .map(([all, number]) => addressAt(all, BigInt(number)));
const prefixes: fc.Arbitrary<Cidr> = fc
  .tuple(addresses, fc.integer({ min: 0, max: 5 }))
  .map(([address, shorter]) => cidrOf(address, (address.includes(":") ? 128 : 32) - shorter));
const steps = fc.array(
  fc.oneof(
    fc.record({ set: addresses, value: fc.nat(3) }),
    fc.record({ delete: addresses }),
    fc.record({ look: prefixes }),
  ),
  { maxLength: 40 },
);

test("finds what is in a prefix, and nothing else, whatever was looked for before", () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      const index = new AddressIndex<number>();
      const model = new Map<IpAddress, number>();
      for (const step of sequence)
        if ("set" in step) {
          index.set(step.set, step.value);
          model.set(step.set, step.value);
        } else if ("delete" in step) {
          index.delete(step.delete);
          model.delete(step.delete);
        } else {
          const held = [...model].filter(([address]) => cidrContains(step.look, address));
          assert.deepEqual([...index.within(step.look)].sort(), held.map(([, value]) => value).sort());
        }
      for (const [address, value] of model) assert.equal(index.get(address), value);
      assert.equal(index.size, model.size);
    }),
  );
});
