import { readFileSync } from "node:fs";
import { type Attribute, AttributeSchema, type AttributeValues, u32, u64 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";
import { header, schema, statisticsOf, type TrafficStatistics, writeOptions } from "./traffic-control.ts";
import type { MessageWriter } from "./writer.ts";

/** linux/rtnetlink.h */
export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
export const RTM_NEWTCLASS = 40;
export const RTM_DELTCLASS = 41;
const RTM_GETTCLASS = 42;

/** linux/pkt_sched.h: where a queueing discipline hangs, instead of a class. */
export const qdiscParent = {
  /** What the device sends. */
  root: 0xffff_ffff,
  /** `clsact`: hooks for filters in both directions; `ingress` occupies the same place. */
  clsact: 0xffff_fff1,
} as const;

/** The handle of the clsact qdisc is fixed. linux/pkt_sched.h: TC_H_CLSACT. */
const clsactHandle = 0xffff_0000;

/** An attribute that is a C structure of numbers. */
function structure<Values extends object>(
  code: number,
  layout: {
    write(writer: MessageWriter, values: Partial<Values>): void;
    read(view: DataView, start: number, end: number): Values;
  },
): Attribute<Partial<Values>> {
  return {
    code,
    write: (writer, value) => layout.write(writer, value),
    read: (_bytes, view, offset, length) => layout.read(view, offset, offset + length),
  };
}

/**
 * In a `struct tc_ratespec` (linux/pkt_sched.h, 12 octets) the link layer says that the kernel computes transmission
 * times itself and wants no table of them: TC_LINKLAYER_ETHERNET.
 */
const linkLayerEthernet = 1;
/** A rate that does not fit 32 bits is told by an attribute of its own; this stands in its place. */
const rateElsewhere = 0xffff_ffff;

/** linux/pkt_sched.h: `TCA_HTB_*`. */
const htbSchema = new AttributeSchema("TCA_HTB", {
  /** Of a class. */
  parameters: structure(
    1,
    new FixedHeader("tc_htb_opt", [
      ["rateCellLog", "pad8"],
      ["rateLinkLayer", "u8"],
      ["rateOverhead", "pad16"],
      ["rateCellAlign", "pad16"],
      ["rateMinimum", "pad16"],
      ["rate", "u32"],
      ["ceilCellLog", "pad8"],
      ["ceilLinkLayer", "u8"],
      ["ceilOverhead", "pad16"],
      ["ceilCellAlign", "pad16"],
      ["ceilMinimum", "pad16"],
      ["ceil", "u32"],
      ["buffer", "u32"],
      ["ceilBuffer", "u32"],
      ["quantum", "u32"],
      ["level", "u32"],
      ["priority", "u32"],
    ]),
  ),
  /** Of the qdisc. */
  init: structure(
    2,
    new FixedHeader("tc_htb_glob", [
      ["version", "u32"],
      ["rateToQuantum", "u32"],
      ["defaultClass", "u32"],
      ["debug", "u32"],
      ["directPackets", "u32"],
    ]),
  ),
  rate64: u64(6),
  ceil64: u64(7),
});

/** linux/pkt_sched.h: `TCA_TBF_*`. */
const tbfSchema = new AttributeSchema("TCA_TBF", {
  parameters: structure(
    1,
    new FixedHeader("tc_tbf_qopt", [
      ["rateCellLog", "pad8"],
      ["rateLinkLayer", "u8"],
      ["rateOverhead", "pad16"],
      ["rateCellAlign", "pad16"],
      ["rateMinimum", "pad16"],
      ["rate", "u32"],
      ["peakCellLog", "pad8"],
      ["peakLinkLayer", "u8"],
      ["peakOverhead", "pad16"],
      ["peakCellAlign", "pad16"],
      ["peakMinimum", "pad16"],
      ["peak", "u32"],
      ["limit", "u32"],
      ["buffer", "u32"],
      ["mtu", "u32"],
    ]),
  ),
  rate64: u64(4),
  burst: u32(6),
});

/** linux/pkt_sched.h: `struct tc_fifo_qopt`, all that TCA_OPTIONS have. */
const fifoOptions = new FixedHeader("tc_fifo_qopt", [["limit", "u32"]]);

/** Hierarchical token bucket: classes with a guaranteed rate and a ceiling. */
export interface HtbSettings {
  /** Minor number of the class for what no filter assigns; 0: sent at once, without limit. */
  readonly defaultClass?: number;
}

/** Token bucket filter: one rate. */
export interface TbfSettings {
  /** Bits per second. */
  readonly rate: number;
  /** Octets that may be sent at once; at least rate ÷ 8 ÷ the kernel's tick rate (250 Hz) to reach the rate. */
  readonly burst: number;
  /** Octets that wait at most; what exceeds them is dropped. */
  readonly limit: number;
}

export interface Qdisc {
  /** Index of the device. */
  readonly index: number;
  /** `htb`, `tbf`, `clsact`, `noqueue`, `fq_codel`, … */
  readonly kind: string;
  /** Major number in the upper 16 bits, see {@link tcHandle}; 0 for what the kernel put there by itself. */
  readonly handle: number;
  /** One of {@link qdiscParent}, or the handle of a class. */
  readonly parent: number;
  readonly htb?: HtbSettings;
  readonly tbf?: TbfSettings;
  /** Of `bfifo`: octets that wait at most; what exceeds them is dropped. */
  readonly limit?: number;
  /** As the kernel told it. */
  readonly statistics?: TrafficStatistics;
}

/** A class of an htb qdisc. */
export interface HtbClass {
  /** Index of the device. */
  readonly index: number;
  readonly handle: number;
  /** The qdisc's handle, or that of the class above. */
  readonly parent: number;
  /** Guaranteed, in bits per second. A multiple of 8. */
  readonly rate: number;
  /** The most while others leave bandwidth unused, in bits per second. Default: the rate. */
  readonly ceil?: number;
  /** Octets that may be sent at once at the ceiling's speed. Default as with `tc`: 1600 and what the rate sends in a nanosecond tick. */
  readonly burst?: number;
  /** Octets that may be sent at once at the device's speed. Default: in the same way, from the ceiling. */
  readonly ceilBurst?: number;
  /** Octets that the class sends before it is the turn of the next. Default: rate ÷ 8 ÷ 10, within 1000…200000. */
  readonly quantum?: number;
  /** 0…7; lower ones take unused bandwidth first. */
  readonly priority?: number;
  /** As the kernel told it: the handle of the qdisc that hangs on the class; 0: the default one. */
  readonly leaf?: number;
  /** As the kernel told it. What was dropped is told by the qdisc that hangs on the class. */
  readonly statistics?: TrafficStatistics;
}

/** `tcHandle(1, 0x10)` is what `tc` writes as `1:10`. Both numbers have 16 bits. */
export function tcHandle(major: number, minor = 0): number {
  return ((major << 16) | minor) >>> 0;
}

/** `1:10`, as `tc` writes it: both numbers in hexadecimal. */
export function formatTcHandle(handle: number): string {
  const minor = handle & 0xffff;
  return `${(handle >>> 16).toString(16)}:${minor === 0 ? "" : minor.toString(16)}`;
}

/** The qdisc that gives a device's clsact hooks. */
export function clsactQdisc(index: number): Qdisc {
  return { index, kind: "clsact", handle: clsactHandle, parent: qdiscParent.clsact };
}

function writeQdisc(operation: string, type: number, flags: number, qdisc: Qdisc): Request {
  return {
    type,
    flags,
    describe: () => `${operation} qdisc ${qdisc.kind} ${formatTcHandle(qdisc.handle)} on link ${qdisc.index}`,
    write: (writer) => {
      header.write(writer, { index: qdisc.index, handle: qdisc.handle, parent: qdisc.parent });
      schema.write(writer, { kind: qdisc.kind });
      if (type === RTM_DELQDISC) return;
      if (qdisc.kind === "htb")
        writeOptions(writer, htbSchema, {
          init: { version: 3, rateToQuantum: 10, defaultClass: qdisc.htb?.defaultClass ?? 0 },
        });
      if (qdisc.tbf !== undefined) writeOptions(writer, tbfSchema, tbfAttributes(qdisc.tbf));
      if (qdisc.limit !== undefined) writeFifoOptions(writer, qdisc.limit);
    },
  };
}

/** Makes the qdisc; EEXIST if its place is taken by one that was put there on purpose. */
export function createQdisc(qdisc: Qdisc): Request {
  return writeQdisc("create", RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, qdisc);
}

/** Makes the qdisc in place of the one that is there, or changes the one with this handle. An htb cannot be changed: EINVAL. */
export function replaceQdisc(qdisc: Qdisc): Request {
  return writeQdisc("set", RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, qdisc);
}

/** Takes the qdisc away with its classes and filters; the kernel's default comes back. */
export function deleteQdisc(qdisc: Qdisc): Request {
  return writeQdisc("delete", RTM_DELQDISC, 0, qdisc);
}

/** Qdiscs of one device or of all, the kernel's defaults among them. */
export function listQdiscs(filter: { readonly index?: number } = {}): Query<Qdisc> {
  return {
    type: RTM_GETQDISC,
    flags: 0,
    describe: () => "list qdiscs",
    write: (writer) => {
      header.write(writer, { index: filter.index ?? 0 });
      schema.write(writer, {});
    },
    // The kernel takes no device as a filter of this dump.
    read: (bytes, view, start, end) => {
      const qdisc = readQdisc(bytes, view, start, end);
      return filter.index === undefined || qdisc?.index === filter.index ? qdisc : undefined;
    },
  };
}

/** The qdisc with this handle. ENOENT: there is none. */
export function getQdisc(index: number, handle: number): Query<Qdisc> {
  return {
    type: RTM_GETQDISC,
    // As with classes.
    flags: NLM_F_ECHO,
    describe: () => `look up qdisc ${formatTcHandle(handle)} on link ${index}`,
    write: (writer) => {
      header.write(writer, { index, handle });
      schema.write(writer, {});
    },
    read: readQdisc,
  };
}

/** Reads the payload of RTM_NEWQDISC or RTM_DELQDISC. */
export function readQdisc(bytes: Uint8Array, view: DataView, start: number, end: number): Qdisc | undefined {
  const fixed = header.read(view, start, end);
  const { kind, options: place, statistics: told } = schema.read(bytes, view, start + header.length, end);
  if (kind === undefined) return undefined;
  const statistics = statisticsOf(told);
  const qdisc = {
    index: fixed.index,
    kind,
    handle: fixed.handle,
    parent: fixed.parent,
    ...(statistics === undefined ? {} : { statistics }),
  };
  if (place === undefined) return qdisc;
  if (kind === "bfifo") return { ...qdisc, limit: fifoOptions.read(view, place[0], place[1]).limit };
  if (kind === "htb") {
    const { init } = htbSchema.read(bytes, view, place[0], place[1]);
    return init === undefined ? qdisc : { ...qdisc, htb: { defaultClass: init.defaultClass ?? 0 } };
  }
  if (kind === "tbf") {
    const { parameters, rate64 } = tbfSchema.read(bytes, view, place[0], place[1]);
    if (parameters === undefined) return qdisc;
    const octetRate = wholeRate(parameters.rate, rate64);
    return {
      ...qdisc,
      tbf: {
        rate: octetRate * 8,
        burst: octetsIn(parameters.buffer ?? 0, octetRate),
        limit: parameters.limit ?? 0,
      },
    };
  }
  return qdisc;
}

function writeClass(operation: string, type: number, flags: number, entry: HtbClass): Request {
  return {
    type,
    flags,
    describe: () => `${operation} htb class ${formatTcHandle(entry.handle)} on link ${entry.index}`,
    write: (writer) => {
      header.write(writer, { index: entry.index, handle: entry.handle, parent: entry.parent });
      schema.write(writer, { kind: "htb" });
      if (type === RTM_NEWTCLASS) writeOptions(writer, htbSchema, htbAttributes(entry));
    },
  };
}

/** Makes the class; EEXIST if the handle has one. */
export function createHtbClass(entry: HtbClass): Request {
  return writeClass("create", RTM_NEWTCLASS, NLM_F_CREATE | NLM_F_EXCL, entry);
}

/** Makes the class, or changes the one that is there; packets that wait in it stay. */
export function replaceHtbClass(entry: HtbClass): Request {
  return writeClass("set", RTM_NEWTCLASS, NLM_F_CREATE | NLM_F_REPLACE, entry);
}

/** EBUSY while filters or classes below refer to it. */
export function deleteHtbClass(entry: Pick<HtbClass, "index" | "handle" | "parent">): Request {
  return writeClass("delete", RTM_DELTCLASS, 0, { ...entry, rate: 0 });
}

/** The htb classes of one device. */
export function listHtbClasses(index: number): Query<HtbClass> {
  return {
    type: RTM_GETTCLASS,
    flags: 0,
    describe: () => `list htb classes of link ${index}`,
    write: (writer) => header.write(writer, { index }),
    read: readHtbClass,
  };
}

/** One class. ENOENT: there is none; EINVAL, EOPNOTSUPP: the device has no htb. */
export function getHtbClass(index: number, handle: number): Query<HtbClass> {
  return {
    type: RTM_GETTCLASS,
    // net/sched/sch_api.c: without it those who listen to events hear the answer, and nobody else.
    flags: NLM_F_ECHO,
    describe: () => `look up htb class ${formatTcHandle(handle)} on link ${index}`,
    write: (writer) => header.write(writer, { index, handle }),
    read: readHtbClass,
  };
}

/** Reads the payload of RTM_NEWTCLASS or RTM_DELTCLASS; `undefined` when the class is of another kind. */
export function readHtbClass(bytes: Uint8Array, view: DataView, start: number, end: number): HtbClass | undefined {
  const fixed = header.read(view, start, end);
  const { kind, options: place, statistics: told } = schema.read(bytes, view, start + header.length, end);
  const statistics = statisticsOf(told);
  if (kind !== "htb" || place === undefined) return undefined;
  const { parameters, rate64, ceil64 } = htbSchema.read(bytes, view, place[0], place[1]);
  if (parameters === undefined) return undefined;
  const rate = wholeRate(parameters.rate, rate64);
  const ceil = wholeRate(parameters.ceil, ceil64);
  return {
    index: fixed.index,
    handle: fixed.handle,
    // The kernel says "root" of a class that hangs directly below the qdisc.
    parent: fixed.parent === qdiscParent.root ? (fixed.handle & 0xffff_0000) >>> 0 : fixed.parent,
    rate: rate * 8,
    ceil: ceil * 8,
    burst: octetsIn(parameters.buffer ?? 0, rate),
    ceilBurst: octetsIn(parameters.ceilBuffer ?? 0, ceil),
    quantum: parameters.quantum ?? 0,
    priority: parameters.priority ?? 0,
    ...(fixed.info === 0 ? {} : { leaf: fixed.info }),
    ...(statistics === undefined ? {} : { statistics }),
  };
}

/** Whether what the kernel tells of a class is what it was told; it keeps bursts as times, in whole ticks. */
export function isSameHtbClass(wanted: Required<Omit<HtbClass, "statistics" | "leaf">>, actual: HtbClass): boolean {
  const isBurst = (octets: number, told: number | undefined, rate: number): boolean =>
    told !== undefined && Math.abs(told - octets) <= rate / 8 / ticksPerSecond() + 1;
  return (
    wanted.parent === actual.parent &&
    wanted.rate === actual.rate &&
    wanted.ceil === actual.ceil &&
    wanted.quantum === actual.quantum &&
    wanted.priority === actual.priority &&
    isBurst(wanted.burst, actual.burst, wanted.rate) &&
    isBurst(wanted.ceilBurst, actual.ceilBurst, wanted.ceil)
  );
}

function tbfAttributes(settings: TbfSettings): AttributeValues<typeof tbfSchema.set> {
  const rate = octetsPerSecond(settings.rate);
  return {
    parameters: {
      rateLinkLayer: linkLayerEthernet,
      rate: Math.min(rate, rateElsewhere),
      limit: settings.limit,
      buffer: ticksFor(settings.burst, rate),
    },
    burst: settings.burst,
    rate64: rate >= rateElsewhere ? BigInt(rate) : undefined,
  };
}

/** The burst of `tc`: one packet of 1600 octets and what the rate sends in one tick of its clock of nanoseconds. */
function defaultBurst(rate: number): number {
  return Math.floor(rate / 1e9) + 1600;
}

function htbAttributes(entry: HtbClass): AttributeValues<typeof htbSchema.set> {
  const rate = octetsPerSecond(entry.rate);
  const ceil = octetsPerSecond(entry.ceil ?? entry.rate);
  return {
    parameters: {
      rateLinkLayer: linkLayerEthernet,
      rate: Math.min(rate, rateElsewhere),
      ceilLinkLayer: linkLayerEthernet,
      ceil: Math.min(ceil, rateElsewhere),
      buffer: ticksFor(entry.burst ?? defaultBurst(rate), rate),
      ceilBuffer: ticksFor(entry.ceilBurst ?? defaultBurst(ceil), ceil),
      quantum: entry.quantum ?? Math.min(200_000, Math.max(1000, Math.floor(rate / 10))),
      priority: entry.priority ?? 0,
    },
    rate64: rate >= rateElsewhere ? BigInt(rate) : undefined,
    ceil64: ceil >= rateElsewhere ? BigInt(ceil) : undefined,
  };
}

/** TCA_OPTIONS of a fifo are the structure itself. */
function writeFifoOptions(writer: MessageWriter, limit: number): void {
  const start = writer.beginAttribute(2);
  fifoOptions.write(writer, { limit });
  writer.endAttribute(start);
}

function octetsPerSecond(bitsPerSecond: number): number {
  const rate = Math.floor(bitsPerSecond / 8);
  if (rate < 1) throw new RangeError(`a rate of ${bitsPerSecond} bit/s is less than one octet per second`);
  return rate;
}

function wholeRate(rate: number | undefined, rate64: bigint | undefined): number {
  return rate64 === undefined ? (rate ?? 0) : Number(rate64);
}

/** The time that `octets` take at `rate` octets per second, in ticks of the packet scheduler, rounded up. */
function ticksFor(octets: number, rate: number): number {
  return Math.min(0xffff_ffff, Math.ceil((octets * ticksPerSecond()) / rate));
}

/** The inverse of {@link ticksFor}; off by the octets of one tick at most. */
function octetsIn(ticks: number, rate: number): number {
  return Math.floor((ticks * rate) / ticksPerSecond());
}

let knownTicksPerSecond: number | undefined;

/**
 * The clock of the packet scheduler. /proc/net/psched: nanoseconds per microsecond, nanoseconds per tick, ticks per
 * second of the clock, all in hexadecimal; 64 ns per tick since Linux 2.6.31.
 */
function ticksPerSecond(): number {
  if (knownTicksPerSecond === undefined) {
    const [nanoseconds, perTick, resolution] = readFileSync("/proc/net/psched", "utf8")
      .split(" ")
      .map((text) => Number.parseInt(text, 16)) as [number, number, number];
    knownTicksPerSecond = (nanoseconds / perTick) * resolution;
  }
  return knownTicksPerSecond;
}
