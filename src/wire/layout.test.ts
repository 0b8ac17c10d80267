import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { octets } from "./codec.ts";
import { formatDecodeError } from "./decode-error.ts";
import { bytes, codes, defineHeader, fixed, flag, reserved, tail, uint } from "./layout.ts";

test("numbers of any width at any bit survive, and touch no bit around them", () => {
  const widths = fc.tuple(fc.integer({ min: 1, max: 53 }), fc.integer({ min: 1, max: 8 })).chain(([bits, before]) =>
    fc.record({
      bits: fc.constant(bits),
      before: fc.constant(before),
      value: fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 2 ** bits - 1)).map((value) => value % 2 ** bits),
    }),
  );
  fc.assert(
    fc.property(widths, ({ bits, before, value }) => {
      const after = 8 - ((before + bits) % 8);
      const header = defineHeader("h", { before: uint(before), value: uint(bits), after: uint(after) });
      const values = { before: 2 ** before - 1, value, after: 2 ** after - 1 };
      for (const poison of [0, 0xff]) {
        const target = new Uint8Array(header.length).fill(poison);
        header.encode(values, target);
        assert.deepEqual(header.decode(target), { ok: true, value: values });
        const shown = [...target].map((octet) => octet.toString(2).padStart(8, "0")).join("");
        assert.equal(shown, "1".repeat(before) + value.toString(2).padStart(bits, "0") + "1".repeat(after));
      }
    }),
    { numRuns: 500 },
  );
});

test("values that do not fit throw and name the field", () => {
  const header = defineHeader("h", { number: uint(8), key: bytes(2), kind: codes(8, { one: 1 }) });
  const target = new Uint8Array(4);
  const fine = { number: 1, key: new Uint8Array(2), kind: "one" } as const;
  for (const number of [-1, 256, 1.5, Number.NaN])
    assert.throws(() => header.encode({ ...fine, number }, target), {
      name: "RangeError",
      message: `h.number is ${number}, not a number of 8 bits`,
    });
  assert.throws(() => header.encode({ ...fine, key: new Uint8Array(3) }, target), {
    message: "h.key has 2 octets, not 3",
  });
  assert.throws(() => header.encode({ ...fine, kind: "two" as "one" }, target), { message: '"two" is none of one' });
  assert.throws(() => header.encode(fine, target, -1), { message: "h needs 4 octets at -1 of 4" });
});

test("a layout that is none throws when it is declared", () => {
  assert.throws(() => defineHeader("h", { flag: flag() }), { message: "h has 1 bits, which are no whole octets" });
  assert.throws(() => uint(54), { message: "a number field has 1 to 53 bits, not 54" });
  assert.throws(() => defineHeader("h", { rest: tail(octets("rest")), more: uint(8) }), {
    message: "h.more stands after the tail",
  });
});

test("reserved bits are read as nothing, fixed bits are checked", () => {
  const header = defineHeader("h", { nothing: reserved(4), three: fixed(4, 3), value: uint(8) });
  assert.deepEqual(header.decode(Uint8Array.of(0xf3, 7)), { ok: true, value: { value: 7 } });
  const refused = header.decode(Uint8Array.of(0, 0xf4, 7), 1);
  assert.deepEqual(refused, { ok: false, error: { header: "h", what: "three is 4, not 3", offset: 1 } });
});

test("errors as text", () => {
  const header = defineHeader("h", { value: uint(32) });
  const error = (octetCount: number, offset: number) => {
    const result = header.decode(new Uint8Array(octetCount), offset);
    return result.ok ? "" : formatDecodeError(result.error);
  };
  assert.equal(error(5, 2), "h at octet 2: cut short: needs 4 octets, 3 are there");
  assert.equal(error(5, 9), "h at octet 9: cut short: needs 4 octets, 0 are there");
  assert.equal(formatDecodeError({ header: "h", what: "wrong", offset: 3 }), "h at octet 3: wrong");
});
