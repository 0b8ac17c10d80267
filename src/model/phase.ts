import type { Network } from "./resources.ts";

/** How packets of a network travel between nodes: the fields of {@link Network} that say it. */
export type WayFields = Pick<Network, "encapsulation" | "port" | "crossSubnet">;

/**
 * `receive`: packets are received on the new way, too, and sent as before. `send`: they are sent on the new way, and
 * received on all. After it there is no change any more, and the old ways end.
 */
export type Phase = "receive" | "send";

/** A change of a network's way that is under way. The new way is the network's own. */
export interface NetworkChange {
  readonly phase: Phase;
  /** The way that is sent on in the phase `receive`, and further ones that are received on as long as the change lasts. */
  readonly previous: readonly [WayFields, ...WayFields[]];
  /** Octets of the largest inner packet while it lasts: what was so before it. */
  readonly mtu: number;
  /** When the phase began: milliseconds since 1970. */
  readonly since: number;
  /** Nodes that were not in place when the time for an earlier phase was over. */
  readonly leftBehind: readonly string[];
}

/** Nodes whose names a change remembers. */
export const mostNamed = 12;

/**
 * What leads a network from the way that it has to that of `after`; `undefined`: it is the same way. During another
 * change every way stays open that anybody may send on: what the phase sends on becomes the first of the previous ones.
 */
export function beginChange(
  before: WayFields,
  underWay: NetworkChange | undefined,
  after: WayFields,
  { mtu, now }: { readonly mtu: number; readonly now: number },
): NetworkChange | undefined {
  if (isSameWay(before, after)) return underWay;
  const [first, ...others] = underWay?.previous ?? [before];
  const [sent, ...received] = underWay?.phase === "receive" ? [first, before, ...others] : [before, first, ...others];
  return {
    phase: "receive",
    previous: [sent, ...distinctWays(received).filter((way) => !isSameWay(way, sent) && !isSameWay(way, after))],
    mtu,
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

export function isSameWay(a: WayFields, b: WayFields): boolean {
  return a.encapsulation === b.encapsulation && a.port === b.port && a.crossSubnet === b.crossSubnet;
}

function distinctWays(ways: readonly WayFields[]): WayFields[] {
  return ways.filter((way, index) => ways.findIndex((other) => isSameWay(way, other)) === index);
}
