/** What holds for every codec. The tests of each codec call it with their own examples. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { fromHex, toHex } from "../base/bytes.ts";
import type { Codec } from "./codec.ts";
import type { DecodeError } from "./decode-error.ts";

export interface CodecExample<Value> {
  readonly name: string;
  /** Hexadecimal; `#` begins a comment. */
  readonly bytes: string;
  readonly value: Value;
  /** Lengths at which a cut leaves a shorter, but whole header. */
  readonly wholeAt?: readonly number[];
}

export interface CodecExamples<Value> {
  readonly examples: readonly CodecExample<Value>[];
  /** Bytes that are long enough and yet wrong. */
  readonly refused?: readonly { readonly name: string; readonly bytes: string; readonly error: DecodeError }[];
  /** Values that break what the type or the header promises. */
  readonly unfit?: readonly { readonly name: string; readonly value: Value; readonly message: RegExp }[];
}

export function annotated(text: string): Uint8Array {
  const bytes = fromHex(text.replace(/#.*$/gm, ""));
  if (bytes === undefined) throw new TypeError(`no hexadecimal: ${text}`);
  return bytes;
}

export function codecSuite<Value>(
  codec: Codec<Value>,
  { examples, refused = [], unfit = [] }: CodecExamples<Value>,
): void {
  describe(codec.name, () => {
    for (const { name, bytes: text, value, wholeAt = [] } of examples) {
      const bytes = annotated(text);

      test(`${name}: read`, () => {
        assert.deepEqual(codec.decode(bytes), { ok: true, value });
        assert.equal(codec.lengthOf(value), bytes.length);
        assert.deepEqual(codec.decode(Uint8Array.of(9, 9, 9, ...bytes), 3), { ok: true, value });
      });

      test(`${name}: written over whatever was there`, () => {
        for (const poison of [0x00, 0xff]) {
          const target = new Uint8Array(bytes.length + 5).fill(poison);
          assert.equal(codec.encode(value, target, 3), bytes.length);
          const around = Uint8Array.of(poison, poison, poison, ...bytes, poison, poison);
          assert.equal(toHex(target), toHex(around));
        }
        if (bytes.length > 0)
          assert.throws(() => codec.encode(value, new Uint8Array(bytes.length - 1)), { name: "RangeError" });
      });

      test(`${name}: cut short`, () => {
        for (let length = 0; length < bytes.length; length++) {
          const result = codec.decode(bytes.subarray(0, length));
          if (wholeAt.includes(length)) assert.equal(result.ok && codec.lengthOf(result.value), length);
          else {
            assert.ok(!result.ok, `${length} of ${bytes.length} octets were accepted`);
            assert.equal(result.error.what, "cut short");
            const { offset, needed = 0, available = 0 } = result.error;
            assert.equal(offset + available, length);
            assert.ok(needed > available);
          }
        }
      });
    }

    for (const { name, bytes, error } of refused)
      test(`${name}: refused`, () => assert.deepEqual(codec.decode(annotated(bytes)), { ok: false, error }));

    for (const { name, value, message } of unfit)
      test(`${name}: not written`, () =>
        assert.throws(() => codec.encode(value, new Uint8Array(3_000)), { name: "RangeError", message }));

    test("altered examples and random octets: read or refused, and what is read survives writing", () => {
      const altered = fc
        .record({
          example: fc.constantFrom(...examples.map(({ bytes }) => annotated(bytes))),
          changes: fc.array(fc.tuple(fc.nat(63), fc.nat(255)), { maxLength: 12 }),
          more: fc.uint8Array({ maxLength: 40 }),
        })
        .map(({ example, changes, more }) => {
          const bytes = Uint8Array.of(...example, ...more);
          for (const [position, octet] of changes) if (position < bytes.length) bytes[position] = octet;
          return bytes;
        });
      fc.assert(
        fc.property(fc.oneof(altered, fc.uint8Array({ maxLength: 100 })), (bytes) => {
          const first = codec.decode(bytes);
          if (!first.ok) return;
          const length = codec.lengthOf(first.value);
          assert.ok(length <= bytes.length);
          const target = new Uint8Array(length).fill(0xff);
          assert.equal(codec.encode(first.value, target), length);
          assert.deepEqual(codec.decode(target), first);
        }),
        { numRuns: 400 },
      );
    });
  });
}
