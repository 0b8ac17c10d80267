import type { MessageWriter } from "./writer.ts";

/** The fixed part in front of a message's attributes, field by field in host byte order. */
export type FieldKind = "u8" | "u16" | "u32" | "s32" | "pad8" | "pad16";
const widths: Readonly<Record<FieldKind, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, pad8: 1, pad16: 2 };

type FieldList = readonly (readonly [string, FieldKind])[];
export type HeaderValues<Fields extends FieldList> = { readonly [Field in Fields[number] as Field[0]]: number };

export class FixedHeader<const Fields extends FieldList> {
  readonly name: string;
  readonly length: number;
  readonly #fields: readonly { readonly name: string; readonly kind: FieldKind; readonly offset: number }[];

  constructor(name: string, fields: Fields) {
    this.name = name;
    let offset = 0;
    this.#fields = fields.map(([field, kind]) => {
      const placed = { name: field, kind, offset };
      offset += widths[kind];
      return placed;
    });
    this.length = offset;
  }

  /** Fields left out are zero. */
  write(writer: MessageWriter, values: Partial<HeaderValues<Fields>>): void {
    const start = writer.reserve(this.length);
    const given = values as Record<string, number | undefined>;
    for (const { name, kind, offset } of this.#fields) {
      const value = given[name];
      if (value === undefined) continue;
      if (kind === "u8") writer.view.setUint8(start + offset, value);
      else if (kind === "u16") writer.view.setUint16(start + offset, value, true);
      else if (kind === "u32") writer.view.setUint32(start + offset, value, true);
      else if (kind === "s32") writer.view.setInt32(start + offset, value, true);
    }
  }

  read(view: DataView, start: number, end: number): HeaderValues<Fields> {
    if (start + this.length > end)
      throw new RangeError(`${this.name} has ${this.length} octets, the message has ${end - start}`);
    const values: Record<string, number> = {};
    for (const { name, kind, offset } of this.#fields) {
      if (kind === "u8") values[name] = view.getUint8(start + offset);
      else if (kind === "u16") values[name] = view.getUint16(start + offset, true);
      else if (kind === "u32") values[name] = view.getUint32(start + offset, true);
      else if (kind === "s32") values[name] = view.getInt32(start + offset, true);
    }
    return values as HeaderValues<Fields>;
  }
}
