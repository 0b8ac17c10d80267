import { AttributeSchema, string, u32 } from "./attribute.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";
import {
  type FilterPlace,
  header,
  listFilters,
  RTM_DELTFILTER,
  RTM_NEWTFILTER,
  readBpfFilterHead,
  writeBpfFilterHead,
  writeOptions,
} from "./traffic-control.ts";

/** linux/pkt_sched.h, the hooks of a clsact qdisc: what the device receives, and what it sends. */
export const filterHook = { ingress: 0xffff_fff2, egress: 0xffff_fff3 } as const;

/** linux/pkt_cls.h: `TCA_BPF_*`. */
export const bpfFilterSchema = new AttributeSchema("TCA_BPF", {
  classid: u32(3),
  descriptor: u32(6),
  name: string(7),
  flags: u32(8),
  id: u32(11),
});
/** linux/pkt_cls.h: TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what becomes of the packet. */
const directAction = 1;

/** An eBPF program at a hook of a device, or at a qdisc whose classes it chooses from by their minor numbers. tc-bpf(8), "direct-action". */
export interface BpfFilter extends FilterPlace {
  /** Of a program that chooses classes: the handle of the qdisc that has them. */
  readonly classid?: number;
  /** For people. */
  readonly name: string;
  /** Of the program, as the kernel numbers it. */
  readonly programId: number;
}

/** Sets the filter, or exchanges its program for this one at once. `descriptor`: of the program, in this process. EINVAL without a clsact qdisc. */
export function replaceBpfFilter(filter: Omit<BpfFilter, "programId"> & { readonly descriptor: number }): Request {
  const { index, name } = filter;
  return {
    type: RTM_NEWTFILTER,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    describe: () => `set eBPF filter ${name} on link ${index}`,
    write: (writer) => {
      writeBpfFilterHead(writer, filter);
      writeOptions(writer, bpfFilterSchema, { ...filter, flags: directAction });
    },
  };
}

/** Takes away the filter of a priority, whichever it is. ENOENT if there is none. */
export function deleteFilter(place: FilterPlace): Request {
  return {
    type: RTM_DELTFILTER,
    flags: 0,
    describe: () => `delete filter ${place.priority} on link ${place.index}`,
    write: (writer) => writeBpfFilterHead(writer, place),
  };
}

/** The eBPF filters at one hook of a device. EINVAL without a clsact qdisc. */
export function listBpfFilters(index: number, hook: number): Query<BpfFilter> {
  return listFilters("filters", { index, hook }, readBpfFilter);
}

/** The priorities of all filters at one hook of a device, of whatever kind, some more than once. EINVAL without a clsact qdisc. */
export function listFilterPriorities(index: number, hook: number): Query<number> {
  return listFilters(
    "priorities",
    { index, hook },
    (_bytes, view, start, end) => header.read(view, start, end).info >>> 16,
  );
}

/** Reads the payload of RTM_NEWTFILTER; `undefined`: it is of another kind. */
export function readBpfFilter(bytes: Uint8Array, view: DataView, start: number, end: number): BpfFilter | undefined {
  const head = readBpfFilterHead(bytes, view, start, end);
  if (head === undefined) return undefined;
  const { name = "", id = 0, classid } = bpfFilterSchema.read(bytes, view, ...head.options);
  const filter = { ...head.place, name, programId: id };
  return classid === undefined ? filter : { ...filter, classid };
}
