import { type Attribute, AttributeSchema, binary, nested, string, u16, u32 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";
import {
  type FilterPlace,
  listFilters,
  RTM_NEWTFILTER,
  readBpfFilterHead,
  writeBpfFilterHead,
  writeOptions,
} from "./traffic-control.ts";

/** linux/pkt_cls.h: TC_ACT_STOLEN: the packet is somebody else's from here on. */
const stolen = 4;
/** linux/tc_act/tc_mirred.h: TCA_EGRESS_REDIR. */
const egressRedirect = 1;

/** linux/tc_act/tc_mirred.h: `struct tc_mirred`. */
const mirredLayout = new FixedHeader("tc_mirred", [
  ["actionIndex", "u32"],
  ["capabilities", "u32"],
  ["action", "s32"],
  ["references", "s32"],
  ["bindings", "s32"],
  ["direction", "s32"],
  ["to", "u32"],
]);

const mirred: Attribute<number> = {
  code: 2,
  write: (writer, to) => mirredLayout.write(writer, { action: stolen, direction: egressRedirect, to }),
  read: (_bytes, view, offset, length) => {
    const { direction, action, to } = mirredLayout.read(view, offset, offset + length);
    return direction === egressRedirect && action === stolen ? to : undefined;
  },
};
const mirredSchema = new AttributeSchema("TCA_MIRRED", { to: mirred });
/** linux/pkt_cls.h: `TCA_ACT_*`. */
const actionSchema = new AttributeSchema("TCA_ACT", { kind: string(1), options: nested(2, mirredSchema) });
/** The first of a filter's actions. */
const actionsSchema = new AttributeSchema("TCA_BPF_ACT", { first: nested(1, actionSchema) });
/** linux/pkt_cls.h: `TCA_BPF_*`. */
const bpfSchema = new AttributeSchema("TCA_BPF", {
  actions: nested(1, actionsSchema),
  instructions: u16(4),
  program: binary(5),
  descriptor: u32(6),
  name: string(7),
});

/** A classic BPF program of one instruction, BPF_RET | BPF_K: every packet is meant. */
const everyPacket = Uint8Array.of(0x06, 0, 0, 0, 0xff, 0xff, 0xff, 0xff);

/** Packets that pass a hook of a device go to another device as if they were sent by that. tc-mirred(8) */
export interface RedirectFilter extends FilterPlace {
  /** Index of the other device, in the same namespace. */
  readonly to: number;
  /** An eBPF program that says which packets are meant; absent: every one. */
  readonly program?: { readonly descriptor: number; readonly name: string };
}

/** Sets the filter, or has it lead elsewhere. EINVAL without a clsact qdisc. */
export function replaceRedirectFilter(filter: RedirectFilter): Request {
  return {
    type: RTM_NEWTFILTER,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    describe: () => `set redirection ${filter.priority} on link ${filter.index}`,
    write: (writer) => {
      writeBpfFilterHead(writer, filter);
      const first = { kind: "mirred", options: { to: filter.to } };
      const which = filter.program ?? { instructions: 1, program: everyPacket };
      writeOptions(writer, bpfSchema, { actions: { first }, ...which });
    },
  };
}

/** The redirections at one hook of a device. EINVAL without a clsact qdisc. */
export function listRedirectFilters(index: number, hook: number): Query<RedirectFilter> {
  return listFilters("redirections", { index, hook }, readRedirectFilter);
}

/** Reads the payload of RTM_NEWTFILTER; `undefined`: it is another kind of filter. */
export function readRedirectFilter(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): RedirectFilter | undefined {
  const head = readBpfFilterHead(bytes, view, start, end);
  if (head === undefined) return undefined;
  const to = bpfSchema.read(bytes, view, ...head.options).actions?.first?.options?.to;
  return to === undefined ? undefined : { ...head.place, to };
}
