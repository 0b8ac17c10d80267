/**
 * Headers as declared layouts: the fields in the order of the wire, each with its width. Codec and TypeScript type
 * derive from the declaration. All numbers are in network byte order (RFC 791 appendix B).
 */
import { type Ipv4Address, type Ipv6Address, ipFromBytes, ipToBytes } from "../base/ip.ts";
import { type MacAddress, macFromBytes, writeMac } from "../base/mac.ts";
import { ok } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import { cutShort, malformed } from "./decode-error.ts";

/** A field that the header's value carries. Positions are in bits from the start of the buffer. */
export interface ValueField<Value> {
  readonly kind: "value";
  readonly bits: number;
  read(bytes: Uint8Array, bit: number): Value;
  /** Throws RangeError, with `label` to say which field, when the value does not fit. */
  write(target: Uint8Array, bit: number, value: Value, label: string): void;
}

/** Bits that are the same in every header, so that no value carries them. */
export interface FillField {
  readonly kind: "fill";
  readonly bits: number;
  readonly content: number;
  /** Whether a header with other content is refused (`fixed`) or read as if nothing were there (`reserved`). */
  readonly checked: boolean;
}

/** What follows the fixed part, up to the end of the bytes. Only as the last field. */
export interface TailField<Value> {
  readonly kind: "tail";
  readonly codec: Codec<Value>;
}

export type Field = ValueField<unknown> | FillField | TailField<unknown>;
export type Fields = Readonly<Record<string, Field>>;

/** The value of a header with these fields. */
export type FieldValues<Declared extends Fields> = {
  readonly [Name in keyof Declared as Declared[Name] extends FillField ? never : Name]: Declared[Name] extends
    | ValueField<infer Value>
    | TailField<infer Value>
    ? Value
    : never;
};

/** A value of a registry by its name, or by its number when it has no name here. */
export type Code<Name extends string> = Name | { readonly unknown: number };

/** A field whose numbers have names. */
export interface CodeField<Name extends string> extends ValueField<Code<Name>> {
  decode(code: number): Code<Name>;
  encode(code: Code<Name>): number;
}

/** An unsigned number of 1…53 bits. */
export function uint(bits: number): ValueField<number> {
  if (bits < 1 || bits > 53) throw new RangeError(`a number field has 1 to 53 bits, not ${bits}`);
  return {
    kind: "value",
    bits,
    read: (bytes, bit) => readBits(bytes, bit, bits),
    write: (target, bit, value, label) => writeBits(target, bit, bits, value, label),
  };
}

/** One bit. */
export function flag(): ValueField<boolean> {
  return {
    kind: "value",
    bits: 1,
    read: (bytes, bit) => readBits(bytes, bit, 1) === 1,
    write: (target, bit, value, label) => writeBits(target, bit, 1, value ? 1 : 0, label),
  };
}

/** Bits without a meaning: sent as zero, ignored on receipt. */
export function reserved(bits: number): FillField {
  return { kind: "fill", bits, content: 0, checked: false };
}

/** Bits that can have one value only; a header with any other is refused. */
export function fixed(bits: number, content: number): FillField {
  return { kind: "fill", bits, content, checked: true };
}

/** A number with a registry of names. Numbers without a name are kept: `{ unknown: 9 }`. */
export function codes<const Table extends Readonly<Record<string, number>>>(
  bits: number,
  table: Table,
): CodeField<keyof Table & string> {
  type Name = keyof Table & string;
  const numbers = new Map(Object.entries(table));
  const names = new Map(Object.entries(table).map(([name, number]) => [number, name as Name]));
  const decode = (code: number): Code<Name> => names.get(code) ?? { unknown: code };
  const encode = (code: Code<Name>): number => {
    const number = typeof code === "string" ? numbers.get(code) : code.unknown;
    if (number === undefined) throw new RangeError(`"${code}" is none of ${[...numbers.keys()].join(", ")}`);
    return number;
  };
  return {
    ...{ kind: "value", bits, decode, encode },
    read: (bytes, bit) => decode(readBits(bytes, bit, bits)),
    write: (target, bit, value, label) => writeBits(target, bit, bits, encode(value), label),
  };
}

/** `count` octets as they are. */
export function bytes(count: number): ValueField<Uint8Array> {
  return octetField(
    count,
    (source, offset) => source.subarray(offset, offset + count),
    (value) => value,
  );
}

export function macAddress(): ValueField<MacAddress> {
  return {
    kind: "value",
    bits: 48,
    read: (source, bit) => macFromBytes(source, bit / 8),
    write: (target, bit, value) => writeMac(value, target, bit / 8),
  };
}

export function ipv4Address(): ValueField<Ipv4Address> {
  return octetField(4, (source, offset) => ipFromBytes(source, offset, 4) as Ipv4Address, ipToBytes);
}

export function ipv6Address(): ValueField<Ipv6Address> {
  return octetField(16, (source, offset) => ipFromBytes(source, offset, 16) as Ipv6Address, ipToBytes);
}

/** What follows the fixed part, read and written by a codec of its own. */
export function tail<Value>(codec: Codec<Value>): TailField<Value> {
  return { kind: "tail", codec };
}

/** A codec whose values have a fixed part of known size. */
export interface Header<Value> extends Codec<Value> {
  /** Octets of the fixed part. */
  readonly length: number;
}

/**
 * A header of the declared fields. The fields must fill whole octets.
 * `refuse` says why a combination of values cannot be: such a header is not decoded, and not encoded either.
 */
export function defineHeader<const Declared extends Fields>(
  name: string,
  declared: Declared,
  refuse: (value: FieldValues<Declared>) => string | undefined = () => undefined,
): Header<FieldValues<Declared>> {
  type Value = FieldValues<Declared>;
  const { placed, last, length } = place(name, declared);
  const lengthOf = (value: Value): number =>
    last === undefined ? length : length + last.codec.lengthOf((value as Record<string, unknown>)[last.key]);

  return {
    name,
    length,
    lengthOf,

    decode(source, offset = 0) {
      if (source.length - offset < length) return cutShort(name, source, offset, length);
      const value: Record<string, unknown> = {};
      for (const { key, field, bit } of placed) {
        if (field.kind === "value") {
          value[key] = field.read(source, offset * 8 + bit);
        } else if (field.checked) {
          const found = readBits(source, offset * 8 + bit, field.bits);
          if (found !== field.content)
            return malformed(name, `${key} is ${found}, not ${field.content}`, offset + Math.floor(bit / 8));
        }
      }
      if (last !== undefined) {
        const rest = last.codec.decode(source, offset + length);
        if (!rest.ok) return rest;
        value[last.key] = rest.value;
      }
      const refusal = refuse(value as Value);
      return refusal === undefined ? ok(value as Value) : malformed(name, refusal, offset);
    },

    encode(value, target, offset = 0) {
      const refusal = refuse(value);
      if (refusal !== undefined) throw new RangeError(`${name}: ${refusal}`);
      requireRoom(name, target, offset, lengthOf(value));
      const values = value as Record<string, unknown>;
      for (const { key, label, field, bit } of placed) {
        if (field.kind === "value") field.write(target, offset * 8 + bit, values[key], label);
        else writeBits(target, offset * 8 + bit, field.bits, field.content, label);
      }
      return last === undefined ? length : length + last.codec.encode(values[last.key], target, offset + length);
    },
  };
}

interface PlacedField {
  readonly key: string;
  /** Header and field, for errors: `vxlan.vni`. */
  readonly label: string;
  readonly field: ValueField<unknown> | FillField;
  /** Position in bits from the start of the header. */
  readonly bit: number;
}

interface Placement {
  readonly placed: readonly PlacedField[];
  readonly last: { readonly key: string; readonly codec: Codec<unknown> } | undefined;
  readonly length: number;
}

function place(name: string, declared: Fields): Placement {
  const placed: PlacedField[] = [];
  let last: Placement["last"];
  let bit = 0;
  for (const [key, field] of Object.entries(declared)) {
    if (last !== undefined) throw new TypeError(`${name}.${key} stands after the tail`);
    if (field.kind === "tail") {
      last = { key, codec: field.codec };
      continue;
    }
    placed.push({ key, label: `${name}.${key}`, field, bit });
    bit += field.bits;
  }
  if (bit % 8 !== 0) throw new TypeError(`${name} has ${bit} bits, which are no whole octets`);
  return { placed, last, length: bit / 8 };
}

function octetField<Value>(
  count: number,
  read: (source: Uint8Array, offset: number) => Value,
  toBytes: (value: Value) => Uint8Array,
): ValueField<Value> {
  return {
    kind: "value",
    bits: count * 8,
    read: (source, bit) => read(source, bit / 8),
    write(target, bit, value, label) {
      const content = toBytes(value);
      if (content.length !== count) throw new RangeError(`${label} has ${count} octets, not ${content.length}`);
      target.set(content, bit / 8);
    },
  };
}

/** Octet by octet and by multiplication, because JavaScript's bit operators end at 32 bits. */
function readBits(source: Uint8Array, bit: number, bits: number): number {
  let value = 0;
  let position = bit;
  while (position < bit + bits) {
    const room = 8 - (position % 8);
    const taken = Math.min(room, bit + bits - position);
    const octet = source[Math.floor(position / 8)] as number;
    value = value * 2 ** taken + ((octet >> (room - taken)) & (2 ** taken - 1));
    position += taken;
  }
  return value;
}

function writeBits(target: Uint8Array, bit: number, bits: number, value: number, label: string): void {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits)
    throw new RangeError(`${label} is ${value}, not a number of ${bits} bits`);
  let rest = value;
  let end = bit + bits;
  while (end > bit) {
    const index = Math.floor((end - 1) / 8);
    const start = Math.max(bit, index * 8);
    const taken = end - start;
    const shift = index * 8 + 8 - end;
    const mask = (2 ** taken - 1) << shift;
    target[index] = ((target[index] as number) & ~mask) | ((rest % 2 ** taken) << shift);
    rest = Math.floor(rest / 2 ** taken);
    end = start;
  }
}
