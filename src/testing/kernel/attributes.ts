import type { MessageWriter } from "../../netlink/writer.ts";

/** Where the attributes of a message are, by code: `[start, end]` of each payload. linux/netlink.h: `struct nlattr`. */
export function attributesIn(view: DataView, start: number, end: number): Map<number, readonly [number, number]> {
  const found = new Map<number, readonly [number, number]>();
  for (let position = start; position + 4 <= end; ) {
    const length = view.getUint16(position, true);
    if (length < 4) break;
    found.set(view.getUint16(position + 2, true) & 0x3fff, [position + 4, position + length]);
    position += (length + 3) & ~3;
  }
  return found;
}

/** A number of 32 bits in host byte order; `undefined`: not there. */
export function numberAt(
  view: DataView,
  attributes: ReadonlyMap<number, readonly [number, number]>,
  code: number,
): number | undefined {
  const place = attributes.get(code);
  return place === undefined ? undefined : view.getUint32(place[0], true);
}

export function writeNumber(writer: MessageWriter, code: number, value: number): void {
  const attribute = writer.beginAttribute(code);
  const position = writer.reserve(4);
  writer.view.setInt32(position, value, true);
  writer.endAttribute(attribute);
}
