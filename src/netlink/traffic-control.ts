import {
  type Attribute,
  AttributeSchema,
  type AttributeSet,
  type AttributeValues,
  nested,
  string,
} from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import type { Query } from "./request.ts";
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

/** linux/rtnetlink.h */
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;

/** linux/if_ether.h: ETH_P_ALL in network byte order. */
const allProtocols = 0x0300;
/** Of one priority there is one filter. */
const onlyHandle = 1;

/** Where a filter stands. */
export interface FilterPlace {
  /** Index of the device. */
  readonly index: number;
  /** One of `filterHook`, or the handle of a qdisc. */
  readonly hook: number;
  /** 1…65535; lower ones come first. */
  readonly priority: number;
}

/** A filter of the kind `bpf` that looks at packets of all protocols, without its options. */
export function writeBpfFilterHead(writer: MessageWriter, { index, hook, priority }: FilterPlace): void {
  header.write(writer, { index, handle: onlyHandle, parent: hook, info: ((priority << 16) | allProtocols) >>> 0 });
  schema.write(writer, { kind: "bpf" });
}

/** The same, as far as it was read; `undefined`: it is of another kind, or tells of a priority and no filter. */
export function readBpfFilterHead(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): { readonly place: FilterPlace; readonly options: readonly [start: number, end: number] } | undefined {
  const { index, handle, parent, info } = header.read(view, start, end);
  const { kind, options: found } = schema.read(bytes, view, start + header.length, end);
  if (kind !== "bpf" || found === undefined || handle === 0) return undefined;
  return { place: { index, hook: parent, priority: info >>> 16 }, options: found };
}

/** Whatever filters there are at one hook of a device. EINVAL without a clsact qdisc. */
export function listFilters<Filter>(
  what: string,
  { index, hook }: Pick<FilterPlace, "index" | "hook">,
  read: Query<Filter>["read"],
): Query<Filter> {
  return {
    type: RTM_GETTFILTER,
    flags: 0,
    describe: () => `list ${what} of link ${index}`,
    write: (writer) => header.write(writer, { index, parent: hook }),
    read,
  };
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
