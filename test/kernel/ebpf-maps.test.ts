/** Maps of eBPF programs: many rows in one call, as far as the kernel goes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { BpfMap, isErrno } from "../../src/linux/index.ts";

/** linux/bpf.h: `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_LPM_TRIE`, which is for `BPF_F_NO_PREALLOC` alone. */
const kinds = { hash: { type: 1, flags: 1 }, "trie of prefixes": { type: 11, flags: 1 } };

/** A key of 64 bits that counts whole in a trie, and its value. */
function row(number: number, value = number): readonly [Uint8Array, Uint8Array] {
  const [key, octets] = [new Uint8Array(8), new Uint8Array(8)];
  new DataView(key.buffer).setUint32(0, 32, true);
  new DataView(key.buffer).setUint32(4, number);
  new DataView(octets.buffer).setUint32(0, value, true);
  return [key, octets];
}

for (const [name, { type, flags }] of Object.entries(kinds))
  describe(`a map, ${name}`, () => {
    const withMap = (maxEntries: number, use: (map: BpfMap) => void): void => {
      const map = BpfMap.create("test", { type, keySize: 8, valueSize: 8, maxEntries, flags });
      try {
        use(map);
      } finally {
        map.close();
      }
    };
    const numbersIn = (key: Uint8Array, value: Uint8Array = new Uint8Array(8)): number => {
      const number = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
      assert.deepEqual(new DataView(key.buffer, key.byteOffset).getUint32(4), number % 1_000_000);
      return number;
    };
    const contentOf = (map: BpfMap): number[] => {
      const oneByOne = Array.from(map.keys(), (key) => numbersIn(key, map.get(key))).sort((a, b) => a - b);
      const together = Array.from(map.rows(), ([key, value]) => numbersIn(key, value)).sort((a, b) => a - b);
      assert.deepEqual(together, oneByOne);
      return together;
    };
    const numbers = (count: number, first = 0): number[] => Array.from({ length: count }, (_, index) => first + index);

    /** The kernel's stock of elements may run out within a call; then the others are written one by one. */
    const fill = (map: BpfMap, rows: readonly ReturnType<typeof row>[]): void => {
      const done = map.setAll(rows);
      assert.ok(done > 0 && done <= rows.length, `${done} at once`);
      for (const each of rows.slice(done)) map.set(...each);
    };

    it("takes many rows at once, and others in their place", () =>
      withMap(10_000, (map) => {
        assert.equal(map.setAll([]), 0);
        fill(
          map,
          numbers(5_000).map((number) => row(number)),
        );
        assert.deepEqual(contentOf(map), numbers(5_000));
        fill(
          map,
          numbers(5_000).map((number) => row(number, number + 1_000_000)),
        );
        assert.deepEqual(contentOf(map), numbers(5_000, 1_000_000));
      }));

    it("tells how many it took, and takes none when it is full", () =>
      withMap(100, (map) => {
        const done = map.setAll(numbers(150).map((number) => row(number)));
        assert.ok(done > 0 && done <= 100, `${done} at once`);
        assert.deepEqual(contentOf(map), numbers(done));
        for (const number of numbers(100 - done, done)) map.set(...row(number));
        assert.equal(map.setAll(numbers(50, 100).map((number) => row(number))), 0);
        assert.deepEqual(contentOf(map), numbers(100));
        assert.throws(
          () => map.set(...row(100)),
          (error) => isErrno(error, "E2BIG", "ENOSPC"),
        );
      }));

    it("lets many go at once, up to one that is not there", () =>
      withMap(1_000, (map) => {
        fill(
          map,
          numbers(1_000).map((number) => row(number)),
        );
        const keys = [...numbers(10), 5_000, ...numbers(10, 10)].map((number) => row(number)[0]);
        assert.equal(map.deleteAll(keys), 10);
        assert.deepEqual(contentOf(map), numbers(990, 10));
        assert.equal(map.deleteAll(numbers(990, 10).map((number) => row(number)[0])), 990);
        assert.deepEqual(contentOf(map), []);
        assert.equal(map.deleteAll([]), 0);
      }));
  });
