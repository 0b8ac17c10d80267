import type { Network } from "./resources.ts";

/** How packets of a network travel between nodes: the fields of {@link Network} that say it. */
export type WayFields = Pick<Network, "encapsulation" | "port" | "crossSubnet">;

/** `mtu`: octets of the largest inner packet that all nodes carry on it. */
type SizedWay = WayFields & { readonly mtu: number };

/**
 * `receive`: packets are received on the new way, too, and sent as before. `send`: they are sent on the new way, and
 * received on all. After it there is no change any more, and the old ways end.
 */
export type Phase = "receive" | "send";

/** A change of a network's way or MTU that is under way. The new ones are the network's own. */
export interface NetworkChange {
  readonly phase: Phase;
  /** The way that is sent on in the phase `receive`, and further ones that are received on as long as the change lasts. */
  readonly previous: readonly [WayFields, ...WayFields[]];
  /** Octets of the largest inner packet that anybody may send when it begins. */
  readonly mtu: number;
  /** The same that devices let pass as long as it lasts: what anybody may send, before it and after it. */
  readonly deviceMtu: number;
  /** When the phase began: milliseconds since 1970. */
  readonly since: number;
  /** Nodes that were not in place when the time for an earlier phase was over. */
  readonly leftBehind: readonly string[];
}

/** Nodes whose names a change remembers. */
export const mostNamed = 12;

/**
 * What leads a network from the way and MTU that it has to those of `after`; `undefined`: they are the same. During another
 * change every way stays open that anybody may send on: what the phase sends on becomes the first of the previous ones.
 * `mtu`: what it is now, as {@link mtusInPhase} says.
 */
export function beginChange(
  before: SizedWay,
  underWay: NetworkChange | undefined,
  after: SizedWay,
  { mtu, now }: { readonly mtu: number; readonly now: number },
): NetworkChange | undefined {
  if (isSameWay(before, after) && before.mtu === after.mtu) return underWay;
  const [first, ...others] = underWay?.previous ?? [before];
  // Who is not in the phase yet sends what was so before.
  const largest = Math.max(mtu, underWay?.mtu ?? 0);
  const [sent, ...received] = underWay?.phase === "receive" ? [first, before, ...others] : [before, first, ...others];
  return {
    phase: "receive",
    previous: [sent, ...distinctWays(received).filter((way) => !isSameWay(way, sent) && !isSameWay(way, after))],
    mtu: largest,
    deviceMtu: Math.max(largest, after.mtu),
    since: now,
    leftBehind: underWay?.leftBehind ?? [],
  };
}

/** The nodes that a change leaves behind with a phase that ends without those of `left`. */
export function leftBehindWith({ leftBehind }: NetworkChange, left: readonly string[]): readonly string[] {
  return [...new Set([...leftBehind, ...left])].slice(0, mostNamed);
}

/** The phase after this one; `undefined`: the change is over. */
export function nextPhase(change: NetworkChange, now: number, left: readonly string[]): NetworkChange | undefined {
  if (change.phase === "send") return undefined;
  return { ...change, phase: "send", since: now, leftBehind: leftBehindWith(change, left) };
}

/** The way that is sent on, and others that are received on beside it. */
export function waysInPhase(
  wanted: WayFields,
  change: NetworkChange | undefined,
): { readonly sent: WayFields; readonly standby: readonly WayFields[] } {
  if (change === undefined) return { sent: wanted, standby: [] };
  const sent = change.phase === "receive" ? change.previous[0] : wanted;
  return { sent, standby: distinctWays([wanted, ...change.previous]).filter((way) => !isSameWay(way, sent)) };
}

/**
 * Octets of the largest inner packet that endpoints send, and of the largest that devices let pass: whatever phase each of two
 * nodes is in, the one lets pass what the other sends. `wanted`: once the change is over; `carried`: on a way of before.
 * What comes to be wanted meanwhile and is more than devices let pass waits for another change.
 */
export function mtusInPhase(
  wanted: number,
  change: NetworkChange | undefined,
  carried: (way: WayFields) => number,
): { readonly mtu: number; readonly deviceMtu: number } {
  if (change === undefined) return { mtu: wanted, deviceMtu: wanted };
  const onAllWays = Math.min(wanted, change.deviceMtu, ...change.previous.map(carried));
  return {
    mtu: change.phase === "receive" ? Math.min(onAllWays, change.mtu) : onAllWays,
    deviceMtu: change.deviceMtu,
  };
}

export function isSameWay(a: WayFields, b: WayFields): boolean {
  return a.encapsulation === b.encapsulation && a.port === b.port && a.crossSubnet === b.crossSubnet;
}

function distinctWays(ways: readonly WayFields[]): WayFields[] {
  return ways.filter((way, index) => ways.findIndex((other) => isSameWay(way, other)) === index);
}
