import {
  type Attribute,
  AttributeSchema,
  type AttributeSet,
  type AttributeValues,
  nested,
  string,
} from "./attribute.ts";
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

/** What a qdisc or class did since it was made. */
export interface TrafficStatistics {
  /** Octets of frames that left it. */
  readonly octets: number;
  readonly packets: number;
  readonly dropped: number;
  /** How often it had something to send and no right to. */
  readonly overlimits: number;
  /** Octets that wait. */
  readonly backlog: number;
}

/** linux/gen_stats.h: `struct gnet_stats_basic`, octets and packets; read alone. */
const basicStatistics: Attribute<Pick<TrafficStatistics, "octets" | "packets">> = {
  code: 1,
  write: () => {},
  read: (_bytes, view, offset, length) => {
    if (length < 12) throw new RangeError(`TCA_STATS_BASIC has ${length} octets, 12 are needed`);
    return { octets: Number(view.getBigUint64(offset, true)), packets: view.getUint32(offset + 8, true) };
  },
};

/** linux/gen_stats.h: `struct gnet_stats_queue`; read alone. */
const queueStatistics: Attribute<Pick<TrafficStatistics, "backlog" | "dropped" | "overlimits">> = {
  code: 3,
  write: () => {},
  read: (_bytes, view, offset, length) => {
    if (length < 20) throw new RangeError(`TCA_STATS_QUEUE has ${length} octets, 20 are needed`);
    const at = (field: number): number => view.getUint32(offset + field * 4, true);
    return { backlog: at(1), dropped: at(2), overlimits: at(4) };
  },
};

const statisticsSchema = new AttributeSchema("TCA_STATS2", { basic: basicStatistics, queue: queueStatistics });

/** linux/rtnetlink.h: `TCA_*`. */
export const schema = new AttributeSchema("TCA", {
  kind: string(1),
  options,
  statistics: nested(7, statisticsSchema),
});

/** `undefined`: the kernel told none. */
export function statisticsOf(read: AttributeValues<typeof schema.set>["statistics"]): TrafficStatistics | undefined {
  if (read?.basic === undefined || read.queue === undefined) return undefined;
  return { ...read.basic, ...read.queue };
}

export function writeOptions<Set extends AttributeSet>(
  writer: MessageWriter,
  of: AttributeSchema<Set>,
  values: AttributeValues<Set>,
): void {
  const start = writer.beginAttribute(TCA_OPTIONS | 0x8000); // NLA_F_NESTED
  of.write(writer, values);
  writer.endAttribute(start);
}
