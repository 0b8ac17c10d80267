import { AttributeSchema, string, u32 } from "./attribute.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";
import { header, schema, writeOptions } from "./traffic-control.ts";

/** linux/rtnetlink.h */
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;

/** linux/pkt_sched.h, the hooks of a clsact qdisc: what the device receives, and what it sends. */
export const filterHook = { ingress: 0xffff_fff2, egress: 0xffff_fff3 } as const;

/** linux/if_ether.h: ETH_P_ALL in network byte order. */
const allProtocols = 0x0300;

/** linux/pkt_cls.h: `TCA_BPF_*`. */
const bpfSchema = new AttributeSchema("TCA_BPF", {
  classid: u32(3),
  descriptor: u32(6),
  name: string(7),
  flags: u32(8),
  id: u32(11),
});
/** linux/pkt_cls.h: TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what becomes of the packet. */
const directAction = 1;

/** An eBPF program at a hook of a device. tc-bpf(8), "direct-action". */
export interface BpfFilter {
  /** Index of the device. */
  readonly index: number;
  /** One of {@link filterHook}, or the handle of a qdisc whose classes the program chooses from, by their minor numbers: {@link classid}. */
  readonly hook: number;
  /** Of a program that chooses classes: the handle of the qdisc that has them. */
  readonly classid?: number;
  /** 1…65535; lower ones come first. */
  readonly priority: number;
  /** For people. */
  readonly name: string;
  /** Of the program, as the kernel numbers it. */
  readonly programId: number;
}

/** Of one priority there is one filter. */
const onlyHandle = 1;

function writeFilter(operation: string, type: number, flags: number, filter: FilterRequest): Request {
  return {
    type,
    flags,
    describe: () => `${operation} eBPF filter ${filter.name ?? filter.priority} on link ${filter.index}`,
    write: (writer) => {
      const info = ((filter.priority << 16) | allProtocols) >>> 0;
      header.write(writer, { index: filter.index, handle: onlyHandle, parent: filter.hook, info });
      schema.write(writer, { kind: "bpf" });
      if (type === RTM_NEWTFILTER) writeOptions(writer, bpfSchema, { ...filter, flags: directAction });
    },
  };
}

type FilterRequest = Pick<BpfFilter, "index" | "hook" | "priority" | "classid"> & {
  readonly name?: string;
  readonly descriptor?: number;
  readonly id?: number;
};

/** Sets the filter, or exchanges its program for this one at once. `descriptor`: of the program, in this process. EINVAL without a clsact qdisc. */
export function replaceBpfFilter(filter: Omit<BpfFilter, "programId"> & { readonly descriptor: number }): Request {
  return writeFilter("set", RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, filter);
}

/** ENOENT if there is none. */
export function deleteBpfFilter(filter: Pick<BpfFilter, "index" | "hook" | "priority">): Request {
  return writeFilter("delete", RTM_DELTFILTER, 0, filter);
}

/** As the kernel tells of it. */
export function tellBpfFilter({ programId, ...filter }: BpfFilter): Request {
  return writeFilter("tell of", RTM_NEWTFILTER, 0, { ...filter, id: programId });
}

/** The eBPF filters at one hook of a device. EINVAL without a clsact qdisc. */
export function listBpfFilters(index: number, hook: number): Query<BpfFilter> {
  return {
    type: RTM_GETTFILTER,
    flags: 0,
    describe: () => `list filters of link ${index}`,
    write: (writer) => header.write(writer, { index, parent: hook }),
    read: readBpfFilter,
  };
}

/** Of a request to set a filter: the descriptor of its program; 0: it names none. */
export function readBpfFilterDescriptor(bytes: Uint8Array, view: DataView, start: number, end: number): number {
  const { options } = schema.read(bytes, view, start + header.length, end);
  return options === undefined ? 0 : (bpfSchema.read(bytes, view, options[0], options[1]).descriptor ?? 0);
}

/** Reads the payload of RTM_NEWTFILTER; `undefined`: it is of another kind, or tells of a priority and no filter. */
export function readBpfFilter(bytes: Uint8Array, view: DataView, start: number, end: number): BpfFilter | undefined {
  const { index, handle, parent, info } = header.read(view, start, end);
  const { kind, options } = schema.read(bytes, view, start + header.length, end);
  if (kind !== "bpf" || options === undefined || handle === 0) return undefined;
  const { name = "", id = 0, classid } = bpfSchema.read(bytes, view, options[0], options[1]);
  const filter = { index, hook: parent, priority: info >>> 16, name, programId: id };
  return classid === undefined ? filter : { ...filter, classid };
}
