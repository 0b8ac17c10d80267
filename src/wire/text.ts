import { ok } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import type { ValueField } from "./layout.ts";

/** A character for each octet, U+0000 to U+00FF: whatever arrives survives. What is to be sent is ASCII. */
export function textOf(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** Throws RangeError for a character that is no octet. */
export function octetsOf(text: string, name: string): Uint8Array {
  return Uint8Array.from(text, (character) => {
    const octet = character.charCodeAt(0);
    if (character.length > 1 || octet > 0xff) throw new RangeError(`${name}: "${character}" is no octet`);
    return octet;
  });
}

/** Text up to the end of the bytes. */
export function text(name: string): Codec<string> {
  return {
    name,
    lengthOf: (value) => value.length,
    decode: (bytes, offset = 0) => ok(textOf(bytes.subarray(offset))),
    encode(value, target, offset = 0) {
      requireRoom(name, target, offset, value.length);
      target.set(octetsOf(value, name), offset);
      return value.length;
    },
  };
}

/** Text in a field of `count` octets, which ends at the first zero: as strings of C do, with room for one of these. */
export function textField(count: number): ValueField<string> {
  return {
    kind: "value",
    bits: count * 8,
    read(source, bit) {
      const content = source.subarray(bit / 8, bit / 8 + count);
      const end = content.indexOf(0);
      return textOf(end === -1 ? content : content.subarray(0, end));
    },
    write(target, bit, value, label) {
      const octets = octetsOf(value, label);
      if (octets.length > count) throw new RangeError(`${label} has ${octets.length} octets, not ${count} at most`);
      target.fill(0, bit / 8, bit / 8 + count);
      target.set(octets, bit / 8);
    },
  };
}
