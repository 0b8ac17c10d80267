import { type Attribute, AttributeSchema, binary, nested, string, u16 } from "./attribute.ts";
import { RTM_DELTFILTER, RTM_NEWTFILTER } from "./filter.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";
import { header, schema, writeOptions } from "./traffic-control.ts";

/** linux/rtnetlink.h */
const RTM_GETTFILTER = 46;
/** linux/if_ether.h: ETH_P_ALL in network byte order. */
const allProtocols = 0x0300;
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
});

/** A classic BPF program of one instruction, BPF_RET | BPF_K: every packet is meant. */
const everyPacket = Uint8Array.of(0x06, 0, 0, 0, 0xff, 0xff, 0xff, 0xff);

/** Of one priority there is one filter. */
const onlyHandle = 1;

/** Every packet that passes a hook of a device goes to another device as if it were sent by that. tc-mirred(8) */
export interface RedirectFilter {
  /** Index of the device. */
  readonly index: number;
  /** One of `filterHook`. */
  readonly hook: number;
  /** 1…65535; lower ones come first. */
  readonly priority: number;
  /** Index of the other device, in the same namespace. */
  readonly to: number;
}

function writeFilter(operation: string, type: number, flags: number, filter: Omit<RedirectFilter, "to">): Request {
  return {
    type,
    flags,
    describe: () => `${operation} redirection ${filter.priority} on link ${filter.index}`,
    write: (writer) => {
      const info = ((filter.priority << 16) | allProtocols) >>> 0;
      header.write(writer, { index: filter.index, handle: onlyHandle, parent: filter.hook, info });
      schema.write(writer, { kind: "bpf" });
      if (!("to" in filter)) return;
      const first = { kind: "mirred", options: { to: filter.to as number } };
      writeOptions(writer, bpfSchema, { actions: { first }, instructions: 1, program: everyPacket });
    },
  };
}

/** Sets the filter, or has it lead elsewhere. EINVAL without a clsact qdisc. */
export function replaceRedirectFilter(filter: RedirectFilter): Request {
  return writeFilter("set", RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, filter);
}

/** ENOENT if there is none. */
export function deleteRedirectFilter({ index, hook, priority }: Omit<RedirectFilter, "to">): Request {
  return writeFilter("delete", RTM_DELTFILTER, 0, { index, hook, priority });
}

/** The redirections at one hook of a device. EINVAL without a clsact qdisc. */
export function listRedirectFilters(index: number, hook: number): Query<RedirectFilter> {
  return {
    type: RTM_GETTFILTER,
    flags: 0,
    describe: () => `list redirections of link ${index}`,
    write: (writer) => header.write(writer, { index, parent: hook }),
    read: readRedirectFilter,
  };
}

/** Reads the payload of RTM_NEWTFILTER; `undefined`: it is another kind of filter. */
function readRedirectFilter(bytes: Uint8Array, view: DataView, start: number, end: number): RedirectFilter | undefined {
  const { index, handle, parent, info } = header.read(view, start, end);
  const { kind, options } = schema.read(bytes, view, start + header.length, end);
  if (kind !== "bpf" || options === undefined || handle === 0) return undefined;
  const to = bpfSchema.read(bytes, view, options[0], options[1]).actions?.first?.options?.to;
  return to === undefined ? undefined : { index, hook: parent, priority: info >>> 16, to };
}
