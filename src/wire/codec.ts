import { ok, type Result } from "../base/result.ts";
import type { DecodeError } from "./decode-error.ts";

/**
 * Reads and writes one kind of header. Pure: neither direction keeps state or touches the other's buffer, though
 * octet strings in a decoded value (options, payload) are views of the bytes they were read from.
 */
export interface Codec<Value> {
  /** The name that errors give the header. */
  readonly name: string;
  /** Octets that `value` takes on the wire; of a decoded value, the octets that it was read from. */
  lengthOf(value: Value): number;
  /** Reads the header at `offset` (default 0). It may use the bytes up to their end, and never reads beyond. */
  decode(bytes: Uint8Array, offset?: number): Result<Value, DecodeError>;
  /**
   * Writes the header at `offset` (default 0), every octet of it whatever was there before, and returns its length.
   * Throws RangeError when a value does not fit its field or the header does not fit `target`.
   */
  encode(value: Value, target: Uint8Array, offset?: number): number;
}

/** The type of value that a codec reads and writes. */
export type ValueOf<AnyCodec> = AnyCodec extends Codec<infer Value> ? Value : never;

/** Throws unless `target` has room for `length` octets at `offset`. */
export function requireRoom(name: string, target: Uint8Array, offset: number, length: number): void {
  if (offset < 0 || offset + length > target.length)
    throw new RangeError(`${name} needs ${length} octets at ${offset} of ${target.length}`);
}

/** Octets without a structure that matters here: all that follow, up to the end of the bytes. */
export function octets(name: string): Codec<Uint8Array> {
  return {
    name,
    lengthOf: (value) => value.length,
    decode: (bytes, offset = 0) => ok(bytes.subarray(offset)),
    encode(value, target, offset = 0) {
      requireRoom(name, target, offset, value.length);
      target.set(value, offset);
      return value.length;
    },
  };
}
