import { bitsOf, type Direction, type Rate, type RateLimits, smallestBurst } from "../../model/bandwidth.ts";
import type { Vni } from "../../model/index.ts";
import { type HtbClass, tcHandle } from "../../netlink/index.ts";
import { deviceMtuOf, type LocalEndpoint, type NetworkSettings } from "../desired.ts";

/** Major number of the htb of each direction. */
const major = 1;
export const treeHandle = tcHandle(major);
/** Minor number of the class of the network, below which those of its endpoints are. */
export const networkMinor = 0xffff;
/** Minor numbers of endpoints: 1…32766. Those above are of qdiscs below theirs. */
export const endpointMinors = 0x7ffe;

/** More than any device sends. */
export const unlimited = 1e12;
/** htb wants a rate of its own for each class: that of one without a guarantee. */
export const leastRate = 8_000;

/** What the program in `class-program.ts` makes of the index of a port: 1…32766. */
export function minorOf(portIndex: number): number {
  return (portIndex % endpointMinors) + 1;
}

/** What the endpoint itself may; `undefined`: as much as its network. */
export function endpointLimits(
  { endpointBandwidth }: NetworkSettings,
  endpoint: LocalEndpoint | undefined,
  direction: Direction,
): RateLimits | undefined {
  return endpoint?.bandwidth?.[direction] ?? endpointBandwidth?.[direction];
}

export type WantedClass = Required<Omit<HtbClass, "statistics" | "leaf">>;

/** Of all endpoints of the network here together. */
export function networkClass(settings: NetworkSettings, direction: Direction, index: number): WantedClass {
  const { limit, burst } = settings.bandwidth?.[direction] ?? {};
  const rate = limit === undefined ? unlimited : bitsOf(limit);
  const octets = burst ?? burstOf(rate);
  const handle = tcHandle(major, networkMinor);
  return {
    index,
    handle,
    parent: treeHandle,
    rate,
    ceil: rate,
    burst: octets,
    ceilBurst: octets,
    // It takes no turns, and the kernel would not change it once there are classes below.
    quantum: largestQuantum,
    priority: 0,
  };
}

/** Of one endpoint: it has its guarantee, and what others leave up to its limit. */
export function endpointClass(
  settings: NetworkSettings,
  endpoint: LocalEndpoint,
  direction: Direction,
  place: { readonly index: number; readonly port: number },
): WantedClass {
  const { guarantee, limit, burst } = endpointLimits(settings, endpoint, direction) ?? {};
  const shared = networkClass(settings, direction, place.index);
  const rate = guarantee === undefined ? leastRate : bitsOf(guarantee);
  const ceil = Math.max(rate, Math.min(limit === undefined ? unlimited : bitsOf(limit), shared.rate));
  return {
    index: place.index,
    handle: tcHandle(major, minorOf(place.port)),
    parent: shared.handle,
    rate,
    ceil,
    burst: burstOf(rate),
    ceilBurst: burst ?? burstOf(ceil),
    quantum: quantumOf(shared.rate, deviceMtuOf(settings)),
    priority: 0,
  };
}

/** The class of who leaves it: what waits goes at once. */
export function openClass(wanted: WantedClass): WantedClass {
  return { ...wanted, ceil: unlimited, ceilBurst: burstOf(unlimited) };
}

/** Major number of the htb that networks share the underlay by: the letters WE, so that nobody else means it by a priority. */
export const shareMajor = 0x5745;
/** Minor numbers of networks: 1…65534. */
const shareMinors = 0xfffe;

/** A network's part of what this node sends over the underlay. */
export interface UnderlayShare {
  readonly vni: Vni;
  readonly guarantee?: Rate;
}

/**
 * The class of each network, which follows from the VNIs that there are: the rest of a division, and where two have the same, the
 * higher VNI has the next that is free.
 */
export function shareHandles(vnis: Iterable<Vni>): ReadonlyMap<Vni, number> {
  const taken = new Set<number>();
  const handles = new Map<Vni, number>();
  for (const vni of [...vnis].sort((a, b) => a - b).slice(0, shareMinors)) {
    let minor = (vni % shareMinors) + 1;
    while (taken.has(minor)) minor = (minor % shareMinors) + 1;
    taken.add(minor);
    handles.set(vni, tcHandle(shareMajor, minor));
  }
  return handles;
}

export const shareTree = tcHandle(shareMajor);

/** Of all networks of this node together. */
export function underlayClass(rate: Rate, index: number): WantedClass {
  const bits = bitsOf(rate);
  return {
    index,
    handle: tcHandle(shareMajor, networkMinor),
    parent: shareTree,
    rate: bits,
    ceil: bits,
    burst: burstOf(bits),
    ceilBurst: burstOf(bits),
    quantum: largestQuantum,
    priority: 0,
  };
}

/**
 * Of each network, by the handle of its class: it has its guarantee, and what others leave. One without a guarantee has an equal part of what
 * is guaranteed to nobody, counted in powers of two, so that not all classes change whenever a network comes or goes: what has
 * room there need not wait for the others' turns.
 */
export function shareClasses(
  all: WantedClass,
  shares: readonly UnderlayShare[],
  handles: ReadonlyMap<Vni, number>,
  mtu: number,
): readonly WantedClass[] {
  const guaranteed = shares.reduce((sum, { guarantee }) => sum + (guarantee === undefined ? 0 : bitsOf(guarantee)), 0);
  const others = shares.filter(({ guarantee }) => guarantee === undefined).length;
  const part = Math.max(0, all.rate - guaranteed) / 2 ** Math.ceil(Math.log2(Math.max(1, others)));
  const usual = Math.max(leastRate, Math.floor(part / 8) * 8);
  const { index, handle: parent, ceil, ceilBurst } = all;
  return shares.flatMap(({ vni, guarantee }) => {
    const handle = handles.get(vni);
    const rate = Math.min(all.rate, guarantee === undefined ? usual : bitsOf(guarantee));
    const burst = burstOf(rate);
    const quantum = quantumOf(ceil, mtu);
    return handle === undefined ? [] : [{ index, handle, parent, rate, ceil, burst, ceilBurst, quantum, priority: 0 }];
  });
}
/** What 4 ms let through: more than timers of the kernel are late by. */
function burstOf(rate: number): number {
  return Math.max(smallestBurst, Math.round((rate / 8) * 0.004));
}

const largestQuantum = 60_000;
/** Bits per second up to which packets of segmentation offload are taken apart: 64 KiB take 1 ms there. */
export const segmentedBelow = 500e6;
/** Octets of the header of a frame, with two VLAN tags. */
const frameHeader = 22;

/** Octets of the largest frame of a device with this MTU. */
export function frameOf(mtu: number): number {
  return mtu + frameHeader;
}

/** Octets in a turn: what one packet may have at least, so that all share alike, and half a millisecond of what they share. */
function quantumOf(rate: number, mtu: number): number {
  return rate < segmentedBelow ? Math.max(frameOf(mtu), Math.round((rate / 8) * 0.0005)) : largestQuantum;
}
