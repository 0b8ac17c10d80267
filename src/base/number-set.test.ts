import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NumberSet } from "./number-set.ts";

test("knows what was added, and the next number that was not", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 3000 }),
      fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 1, max: 1200 }))),
      fc.integer({ min: 0, max: 3000 }),
      (last, steps, from) => {
        const numbers = new NumberSet(last);
        const model = new Set<number>();
        for (const [isAdded, first, count] of steps)
          for (let number = first; number < first + count && number <= last; number++) {
            if (isAdded) numbers.add(number);
            else numbers.delete(number);
            if (isAdded) model.add(number);
            else model.delete(number);
          }
        for (let number = 0; number <= last; number++) assert.equal(numbers.has(number), model.has(number));
        let free: number | undefined = from;
        while (model.has(free)) free++;
        if (free > last) free = undefined;
        assert.equal(numbers.firstFree(from), free);
      },
    ),
  );
});

test("finds the one that is free of millions", () => {
  const last = 0xff_ffff;
  const numbers = new NumberSet(last);
  for (let number = 0; number <= last; number++) numbers.add(number);
  assert.equal(numbers.firstFree(0), undefined);
  for (const number of [last, 9_999_999, 31]) {
    numbers.delete(number);
    assert.equal(numbers.firstFree(1), number);
    assert.equal(numbers.firstFree(number), number);
  }
  assert.equal(numbers.firstFree(32), 9_999_999);
});
