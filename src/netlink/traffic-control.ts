import { type Attribute, AttributeSchema, type AttributeSet, type AttributeValues, string } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import type { MessageWriter } from "./writer.ts";

/** What messages about qdiscs, classes and filters have in common. */

/** linux/rtnetlink.h: `struct tcmsg`. */
export const header = new FixedHeader("tcmsg", [
  ["family", "u8"],
  ["pad1", "pad8"],
  ["pad2", "pad16"],
  ["index", "s32"],
  ["handle", "u32"],
  ["parent", "u32"],
  ["info", "u32"],
]);

/** TCA_OPTIONS mean what the kind beside them says; read as they are, interpreted by whoever knows the kind. */
const TCA_OPTIONS = 2;
const options: Attribute<readonly [start: number, end: number]> = {
  code: TCA_OPTIONS,
  write: () => {},
  read: (_bytes, _view, offset, length) => [offset, offset + length],
};

/** linux/rtnetlink.h: `TCA_*`. */
export const schema = new AttributeSchema("TCA", { kind: string(1), options });

export function writeOptions<Set extends AttributeSet>(
  writer: MessageWriter,
  of: AttributeSchema<Set>,
  values: AttributeValues<Set>,
): void {
  const start = writer.beginAttribute(TCA_OPTIONS | 0x8000); // NLA_F_NESTED
  of.write(writer, values);
  writer.endAttribute(start);
}
