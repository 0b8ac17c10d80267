import { type Cidr, networkAddress, prefixLengthOf } from "../base/cidr.ts";
import type { IpFamily } from "../base/ip.ts";
import { AttributeSchema, ipAddress, string, u8, u32 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./message.ts";
import type { Query, Request } from "./request.ts";

/** linux/rtnetlink.h */
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
const RTM_GETRULE = 34;

const AF_INET = 2;
const AF_INET6 = 10;
/** linux/fib_rules.h: look the destination up in a table. */
const FR_ACT_TO_TBL = 1;

/** linux/fib_rules.h: `struct fib_rule_hdr`. */
const header = new FixedHeader("fib_rule_hdr", [
  ["family", "u8"],
  ["destinationLength", "u8"],
  ["sourceLength", "u8"],
  ["tos", "u8"],
  ["table", "u8"],
  ["reserved1", "pad8"],
  ["reserved2", "pad8"],
  ["action", "u8"],
  ["flags", "u32"],
]);

/** linux/fib_rules.h: `FRA_*`. */
const schema = new AttributeSchema("FRA", {
  destination: ipAddress(1),
  source: ipAddress(2),
  inputInterface: string(3),
  priority: u32(6),
  mark: u32(10),
  table: u32(15),
  markMask: u32(16),
  outputInterface: string(17),
  protocol: u8(21),
});

/** Which routing table a packet is looked up in. */
export interface Rule {
  readonly family: IpFamily;
  readonly table: number;
  /** Rules are tried in ascending order. */
  readonly priority: number;
  /** Who wrote it: RTPROT_*. */
  readonly protocol: number;
  readonly source?: Cidr;
  readonly destination?: Cidr;
  readonly inputInterface?: string;
  readonly outputInterface?: string;
  readonly mark?: number;
  readonly markMask?: number;
}

function writeRule(operation: string, type: number, flags: number, rule: Rule): Request {
  return {
    type,
    flags,
    describe: () => `${operation} IPv${rule.family} rule ${rule.priority} to table ${rule.table}`,
    write: (writer) => {
      header.write(writer, {
        family: rule.family === 4 ? AF_INET : AF_INET6,
        destinationLength: rule.destination === undefined ? 0 : prefixLengthOf(rule.destination),
        sourceLength: rule.source === undefined ? 0 : prefixLengthOf(rule.source),
        table: rule.table < 256 ? rule.table : 0,
        action: FR_ACT_TO_TBL,
      });
      schema.write(writer, {
        destination: rule.destination === undefined ? undefined : networkAddress(rule.destination),
        source: rule.source === undefined ? undefined : networkAddress(rule.source),
        inputInterface: rule.inputInterface,
        priority: rule.priority,
        mark: rule.mark,
        table: rule.table,
        markMask: rule.markMask,
        outputInterface: rule.outputInterface,
        protocol: rule.protocol,
      });
    },
  };
}

/** Makes the rule; EEXIST if an equal one is there. */
export function createRule(rule: Rule): Request {
  return writeRule("create", RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
}

export function deleteRule(rule: Rule): Request {
  return writeRule("delete", RTM_DELRULE, 0, rule);
}

/** Rules of one family; those that look up a table, and no others. */
export function listRules(family: IpFamily): Query<Rule> {
  return {
    type: RTM_GETRULE,
    flags: 0,
    describe: () => `list IPv${family} rules`,
    write: (writer) => header.write(writer, { family: family === 4 ? AF_INET : AF_INET6 }),
    read: readRule,
  };
}

/** Reads the payload of RTM_NEWRULE or RTM_DELRULE. */
export function readRule(bytes: Uint8Array, view: DataView, start: number, end: number): Rule | undefined {
  const fixed = header.read(view, start, end);
  if (fixed.action !== FR_ACT_TO_TBL || (fixed.family !== AF_INET && fixed.family !== AF_INET6)) return undefined;
  const values = schema.read(bytes, view, start + header.length, end);
  const { destination, source, table, priority, protocol, ...rest } = values;
  return {
    ...rest,
    family: fixed.family === AF_INET ? 4 : 6,
    table: table ?? fixed.table,
    priority: priority ?? 0,
    protocol: protocol ?? 0,
    ...(destination === undefined ? {} : { destination: `${destination}/${fixed.destinationLength}` as Cidr }),
    ...(source === undefined ? {} : { source: `${source}/${fixed.sourceLength}` as Cidr }),
  } as Rule;
}
