import { familyOf, type IpAddress, ipFromBytes, writeIp } from "../base/ip.ts";
import { type MacAddress, macFromBytes, writeMac } from "../base/mac.ts";
import type { MessageWriter } from "./writer.ts";

/**
 * Attribute schemas as data: each attribute is one line that names its code, type, byte order and meaning, and the
 * encoder, the decoder and the TypeScript type derive from it. linux/netlink.h: `struct nlattr`.
 */
export interface Attribute<Value> {
  readonly code: number;
  /** Set in the type field of an attribute that holds attributes. NLA_F_NESTED. */
  readonly nested?: boolean;
  write(writer: MessageWriter, value: Value): void;
  /** Reads `length` octets at `offset`; throws RangeError when the payload is too short for the type. `undefined`: as if it were absent. */
  read(bytes: Uint8Array, view: DataView, offset: number, length: number): Value | undefined;
}

/** An ordered set of attributes, by the names that the program uses. */
// biome-ignore lint/suspicious/noExplicitAny: the value type is recovered by inference, which a narrower bound prevents.
export type AttributeSet = Readonly<Record<string, Attribute<any>>>;

/** What a message with these attributes says. Absent means "leave it" when written and "the kernel did not say" when read. */
export type AttributeValues<Set extends AttributeSet> = {
  readonly [Name in keyof Set]?: Set[Name] extends Attribute<infer Value> ? Value | undefined : never;
};

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

/** Octets of an attribute header. */
const headerLength = 4;

export class AttributeSchema<Set extends AttributeSet> {
  readonly name: string;
  readonly set: Set;
  readonly #byCode: ([string, Attribute<unknown>] | undefined)[] = [];

  constructor(name: string, set: Set) {
    this.name = name;
    this.set = set;
    for (const [field, attribute] of Object.entries(set)) this.#byCode[attribute.code] = [field, attribute];
  }

  write(writer: MessageWriter, values: AttributeValues<Set>): void {
    for (const field in values) {
      const attribute = this.set[field];
      if (attribute !== undefined) writeAttribute(writer, attribute, values[field]);
    }
  }

  /** Attributes that the schema does not name are skipped: newer kernels send more. */
  read(bytes: Uint8Array, view: DataView, offset: number, end: number): AttributeValues<Set> {
    const values: Record<string, unknown> = {};
    let position = offset;
    while (position + headerLength <= end) {
      const length = lengthAt(view, position, end, this.name);
      const entry = this.#byCode[view.getUint16(position + 2, true) & NLA_TYPE_MASK];
      if (entry !== undefined)
        values[entry[0]] = entry[1].read(bytes, view, position + headerLength, length - headerLength);
      position += (length + 3) & ~3;
    }
    return values as AttributeValues<Set>;
  }
}

/** Octets of the attribute at `position` with its header. */
function lengthAt(view: DataView, position: number, end: number, name: string): number {
  const length = view.getUint16(position, true);
  if (length < headerLength || position + length > end)
    throw new RangeError(`${name}: attribute at octet ${position} has length ${length}, ${end - position} are left`);
  return length;
}

/** Writes one attribute, unless the value is `undefined`: what {@link AttributeSchema.write} does for each, for messages that are sent by the hundred thousand. */
export function writeAttribute<Value>(
  writer: MessageWriter,
  attribute: Attribute<Value>,
  value: Value | undefined,
): void {
  if (value === undefined) return;
  // A flag is there or not; it has no payload to say "no" with.
  if (attribute.write === flagWrite && !value) return;
  const start = writer.beginAttribute(attribute.nested ? attribute.code | NLA_F_NESTED : attribute.code);
  attribute.write(writer, value);
  writer.endAttribute(start);
}

function need(length: number, wanted: number): void {
  if (length < wanted) throw new RangeError(`attribute payload has ${length} octets, ${wanted} are needed`);
}

/** One octet. */
export function u8(code: number): Attribute<number> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(1);
      writer.view.setUint8(start, value);
    },
    read: (_bytes, view, offset, length) => {
      need(length, 1);
      return view.getUint8(offset);
    },
  };
}

/** One octet that means yes or no. */
export function bool8(code: number): Attribute<boolean> {
  const number = u8(code);
  return {
    code,
    write: (writer, value) => number.write(writer, value ? 1 : 0),
    read: (_bytes, view, offset, length) => {
      need(length, 1);
      return view.getUint8(offset) !== 0;
    },
  };
}

/** 16 bits in host byte order. */
export function u16(code: number): Attribute<number> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(2);
      writer.view.setUint16(start, value, true);
    },
    read: (_bytes, view, offset, length) => {
      need(length, 2);
      return view.getUint16(offset, true);
    },
  };
}

/** 16 bits in network byte order, as ports are. */
export function be16(code: number): Attribute<number> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(2);
      writer.view.setUint16(start, value);
    },
    read: (_bytes, view, offset, length) => {
      need(length, 2);
      return view.getUint16(offset);
    },
  };
}

/** 32 bits in host byte order. */
export function u32(code: number): Attribute<number> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(4);
      writer.view.setUint32(start, value, true);
    },
    read: (_bytes, view, offset, length) => {
      need(length, 4);
      return view.getUint32(offset, true);
    },
  };
}

/** 32 bits in network byte order. */
export function be32(code: number): Attribute<number> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(4);
      writer.view.setUint32(start, value);
    },
    read: (_bytes, view, offset, length) => {
      need(length, 4);
      return view.getUint32(offset);
    },
  };
}

/** 32 bits, signed, in host byte order. */
export function s32(code: number): Attribute<number> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(4);
      writer.view.setInt32(start, value, true);
    },
    read: (_bytes, view, offset, length) => {
      need(length, 4);
      return view.getInt32(offset, true);
    },
  };
}

/** 64 bits in host byte order. */
export function u64(code: number): Attribute<bigint> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(8);
      writer.view.setBigUint64(start, value, true);
    },
    read: (_bytes, view, offset, length) => {
      need(length, 8);
      return view.getBigUint64(offset, true);
    },
  };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Text, ended by a zero octet. */
export function string(code: number): Attribute<string> {
  return {
    code,
    write: (writer, value) => {
      const text = encoder.encode(value);
      const start = writer.reserve(text.length + 1);
      writer.bytes.set(text, start);
    },
    read: (bytes, _view, offset, length) => {
      let end = offset;
      while (end < offset + length && bytes[end] !== 0) end++;
      return decoder.decode(bytes.subarray(offset, end));
    },
  };
}

/** Six octets. Devices with a link-layer address of another length (IP tunnels) have none as far as this is concerned. */
export function macAddress(code: number): Attribute<MacAddress> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(6);
      writeMac(value, writer.bytes, start);
    },
    read: (bytes, _view, offset, length) => (length === 6 ? macFromBytes(bytes, offset) : undefined),
  };
}

/** 4 or 16 octets in network byte order. */
export function ipAddress(code: number): Attribute<IpAddress> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(familyOf(value) === 4 ? 4 : 16);
      writeIp(value, writer.bytes, start);
    },
    read: (bytes, _view, offset, length) => ipFromBytes(bytes, offset, length),
  };
}

const flagWrite = (): void => {};

/** No payload: being there is the meaning. */
export function flag(code: number): Attribute<boolean> {
  return { code, write: flagWrite, read: () => true };
}

/** Octets as they are. */
export function binary(code: number): Attribute<Uint8Array> {
  return {
    code,
    write: (writer, value) => {
      const start = writer.reserve(value.length);
      writer.bytes.set(value, start);
    },
    read: (bytes, _view, offset, length) => bytes.slice(offset, offset + length),
  };
}

/** Attributes within an attribute. */
export function nested<Set extends AttributeSet>(
  code: number,
  schema: AttributeSchema<Set>,
): Attribute<AttributeValues<Set>> {
  return {
    code,
    nested: true,
    write: (writer, value) => schema.write(writer, value),
    read: (bytes, view, offset, length) => schema.read(bytes, view, offset, offset + length),
  };
}

/** Attributes of one kind within an attribute, as many as there are. */
export function list<Value>(code: number, element: Attribute<Value>): Attribute<readonly Value[]> {
  return {
    code,
    nested: true,
    write: (writer, values) => {
      for (const each of values) writeAttribute(writer, element, each);
    },
    read: (bytes, view, offset, length) => {
      const values: Value[] = [];
      for (let position = offset; position + headerLength <= offset + length; ) {
        const each = lengthAt(view, position, offset + length, "list");
        const value = element.read(bytes, view, position + headerLength, each - headerLength);
        if (value !== undefined) values.push(value);
        position += (each + 3) & ~3;
      }
      return values;
    },
  };
}
