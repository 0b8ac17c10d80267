import { ok } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import { cutShort, malformed } from "./decode-error.ts";
import { octetsOf, textOf } from "./text.ts";

const longestLabel = 63;
const dot = 0x2e;

/**
 * Domain names one after the other, up to the end of the bytes, without compression. RFC 1035 §3.1. A name is its labels
 * with dots between, and none at the end; the root is no name here, nor is a label with a dot in it.
 */
export const domainNames: Codec<readonly string[]> = names("domain names", 1);

/** The same, filled up with zeros to a multiple of `unit` octets. */
export function paddedDomainNames(unit: number): Codec<readonly string[]> {
  return names("padded domain names", unit);
}

function names(name: string, unit: number): Codec<readonly string[]> {
  // Each label has an octet for its length, where text has a dot or its beginning; the end is a label of no length.
  const lengthOf = (values: readonly string[]): number =>
    Math.ceil(values.reduce((total, value) => total + value.length + 2, 0) / unit) * unit;

  return {
    name,
    lengthOf,

    decode(bytes, offset = 0) {
      const values: string[] = [];
      let position = offset;
      while (position < bytes.length) {
        if (unit > 1 && bytes.subarray(position).every((octet) => octet === 0)) break;
        const labels: string[] = [];
        for (;;) {
          const length = bytes[position];
          if (length === undefined) return cutShort(name, bytes, position, 1);
          if (length > longestLabel) return malformed(name, `a label has ${length} octets`, position);
          if (position + 1 + length > bytes.length) return cutShort(name, bytes, position, 1 + length);
          const label = bytes.subarray(position + 1, position + 1 + length);
          if (label.includes(dot)) return malformed(name, "a label has a dot", position);
          if (length === 0 && labels.length === 0) return malformed(name, "a name is empty", position);
          position += 1 + length;
          if (length === 0) break;
          labels.push(textOf(label));
        }
        values.push(labels.join("."));
      }
      return ok(values);
    },

    encode(values, target, offset = 0) {
      const length = lengthOf(values);
      requireRoom(name, target, offset, length);
      let position = offset;
      for (const value of values) {
        for (const label of value.split(".")) {
          if (label.length === 0 || label.length > longestLabel)
            throw new RangeError(`${name}: a label of "${value}" has ${label.length} octets, not 1 to ${longestLabel}`);
          target[position] = label.length;
          target.set(octetsOf(label, name), position + 1);
          position += 1 + label.length;
        }
        target[position++] = 0;
      }
      target.fill(0, position, offset + length);
      return length;
    },
  };
}
