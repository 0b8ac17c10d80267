import { bitsOf, type Direction, type RateLimits, smallestBurst } from "../../model/bandwidth.ts";
import { type HtbClass, tcHandle } from "../../netlink/index.ts";
import type { LocalEndpoint, NetworkSettings } from "../desired.ts";

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
    quantum: quantumOf(shared.rate),
    priority: 0,
  };
}

/** The class of who leaves it: what waits goes at once. */
export function openClass(wanted: WantedClass): WantedClass {
  return { ...wanted, ceil: unlimited, ceilBurst: burstOf(unlimited) };
}

/** What 4 ms let through: more than timers of the kernel are late by. */
function burstOf(rate: number): number {
  return Math.max(smallestBurst, Math.round((rate / 8) * 0.004));
}

const largestQuantum = 60_000;
/** Octets in a turn: 5 ms of the network's limit, within a frame and the largest packet of segmentation offload. */
function quantumOf(rate: number): number {
  return Math.min(largestQuantum, Math.max(1_514, Math.round((rate / 8) * 0.005)));
}
