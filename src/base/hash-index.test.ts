import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HashIndex, hashOf } from "./hash-index.ts";

/** Records are numbers from 1 to 40, and what they are found by is the tens; 0 is for what is sought. */
function indexOf(hash: (tens: number) => number): { readonly index: HashIndex; find(tens: number): number } {
  let sought = 0;
  const tensOf = (record: number): number => (record === 0 ? sought : Math.floor(record / 10));
  const index = new HashIndex({
    hash: (record) => hash(tensOf(record)),
    isSame: (a, b) => tensOf(a) === tensOf(b),
  });
  return {
    index,
    find: (tens) => {
      sought = tens;
      return index.find(0);
    },
  };
}

const steps = fc.array(fc.tuple(fc.constantFrom("put", "remove"), fc.integer({ min: 1, max: 400 })), {
  maxLength: 300,
});

for (const [name, hash] of [
  ["that differ", (tens: number) => hashOf(Uint8Array.of(tens))],
  ["that are all the same", () => 7],
  ["that meet at the end of the slots", (tens: number) => 0xffff_fffe + (tens % 3)],
] as const)
  test(`finds what was put last and not removed, with hashes ${name}`, () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const { index, find } = indexOf(hash);
        const model = new Map<number, number>();
        for (const [step, record] of sequence) {
          const tens = Math.floor(record / 10);
          if (step === "put") {
            index.put(record);
            model.set(tens, record);
          } else {
            index.remove(record);
            if (model.get(tens) === record) model.delete(tens);
          }
          assert.equal(index.size, model.size);
        }
        for (let tens = 0; tens <= 40; tens++) assert.equal(find(tens), model.get(tens) ?? 0);
      }),
    );
  });

test("hashes of octets that differ little differ, and depend on all of them", () => {
  const seen = new Set<number>();
  for (let length = 0; length <= 17; length++)
    for (let position = 0; position < Math.max(1, length); position++)
      for (let value = length === 0 ? 255 : 1; value < 256; value++) {
        const octets = new Uint8Array(length + 2);
        octets[position + 1] = value;
        const hash = hashOf(octets, 1, length);
        assert.ok(Number.isInteger(hash) && hash >= 0 && hash <= 0xffff_ffff);
        seen.add(hash);
      }
  // 39,016 of 2^32: by chance two or three pairs may be equal, never many.
  assert.ok(seen.size > 39_000, `${seen.size}`);
});
