import { ok } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import { cutShort } from "./decode-error.ts";
import type { ValueField } from "./layout.ts";

/** The same field again and again, up to the end of the bytes. */
export function repeated<Value>(name: string, field: ValueField<Value>): Codec<readonly Value[]> {
  const length = field.bits / 8;
  return {
    name,
    lengthOf: (values) => values.length * length,

    decode(bytes, offset = 0) {
      const values: Value[] = [];
      let position = offset;
      for (; position + length <= bytes.length; position += length) values.push(field.read(bytes, position * 8));
      return position === bytes.length ? ok(values) : cutShort(name, bytes, position, length);
    },

    encode(values, target, offset = 0) {
      requireRoom(name, target, offset, values.length * length);
      for (const [index, value] of values.entries()) field.write(target, (offset + index * length) * 8, value, name);
      return values.length * length;
    },
  };
}
