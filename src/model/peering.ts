import { cidrsOverlap } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import type { Declared } from "./declared.ts";
import { partsOfPeer, peerName } from "./names.ts";
import type { Network, NetworkDraft } from "./resources.ts";

type Peer = Pick<Network, "name" | "tenant" | "gateway" | "peers">;

/** Whether two networks are routed with each other although their tenants are not the same: each names the other. */
export function arePeers(one: Peer, other: Peer): boolean {
  return (
    one.tenant !== other.tenant &&
    one.gateway !== undefined &&
    other.gateway !== undefined &&
    one.peers.includes(peerName(other)) &&
    other.peers.includes(peerName(one))
  );
}

/** The peers of a network with which that is in force. `find`: networks by their names. */
export function peersInForce<Found extends Peer>(network: Peer, find: (name: string) => Found | undefined): Found[] {
  return network.peers.flatMap((name) => {
    const peer = find(partsOfPeer(name).network);
    return peer !== undefined && arePeers(network, peer) ? [peer] : [];
  });
}

/** What keeps a network from being routed with one that it names; `undefined`: nothing, that is in force. `peer`: the network of that name. */
export function peeringObstacle(network: Peer, named: string, peer: Peer | undefined): string | undefined {
  const { tenant, network: name } = partsOfPeer(named);
  if (peer !== undefined && arePeers(network, peer)) return undefined;
  if (peer?.tenant === tenant) return `waits for network ${name} of tenant ${tenant} to declare it, too`;
  const other = peer === undefined ? "" : `; that of this name is of tenant ${peer.tenant}`;
  return `waits for network ${name} of tenant ${tenant} to be declared${other}`;
}

/**
 * Why a network cannot have the peers and subnets that it asks for: some destination would be in two of the networks that one tenant's
 * namespace routes to: its own, and the peers of these.
 */
export function checkPeers(network: NetworkDraft, attempted: string, declared: Declared): WeftError[] {
  const errors: WeftError[] = [];
  const told = new Set<string>();
  for (const [one, other] of ambiguous(network, declared)) {
    const pair = [one.name, other.name].sort().join(" ");
    if (told.has(pair)) continue;
    told.add(pair);
    const [prefix, overlapping] = overlapOf(one, other) ?? [];
    const reason = `subnet ${prefix} of ${labelOf(one)} overlaps ${overlapping} of ${labelOf(other)}, and by their peers one node would route to both`;
    errors.push(
      new WeftError({
        code: "already-exists",
        attempted,
        reason,
        hint: "choose a prefix that none of them uses, or name that peer no more: weft network set NAME --peer none",
      }),
    );
  }
  return errors;
}

/** Networks that overlap and that nodes would route to in one namespace, because the network is as it shall be. */
function* ambiguous(network: NetworkDraft, declared: Declared): Generator<readonly [NetworkDraft, NetworkDraft]> {
  const find = (name: string): NetworkDraft | undefined =>
    name === network.name ? network : declared.get("network", name);
  const overlapping = (one: NetworkDraft, others: Iterable<NetworkDraft>) =>
    Iterator.from(others).filter((other) => other.name !== one.name && overlapOf(one, other) !== undefined);
  /** Networks of others that the tenant is routed to. */
  const foreign = function* (tenant: string): Generator<NetworkDraft> {
    for (const { name } of declared.withPeers(tenant)) {
      const own = find(name);
      if (own !== undefined && name !== network.name) yield* peersInForce(own, find);
    }
    if (tenant === network.tenant) yield* peersInForce(network, find);
  };
  for (const other of overlapping(network, foreign(network.tenant))) yield [network, other];
  for (const peer of peersInForce(network, find)) {
    for (const [one, tenant] of [
      [network, peer.tenant],
      [peer, network.tenant],
    ] as const) {
      // As it was it counts no more.
      const there = Iterator.from(declared.overlappingIn(tenant, one.subnets)).filter(
        ({ name }) => name !== network.name,
      );
      for (const other of overlapping(one, there)) yield [one, other];
      for (const other of overlapping(one, foreign(tenant))) yield [one, other];
    }
  }
}

function overlapOf(one: NetworkDraft, other: NetworkDraft): readonly [string, string] | undefined {
  for (const subnet of one.subnets) {
    const prefix = other.subnets.find((each) => cidrsOverlap(each, subnet));
    if (prefix !== undefined) return [subnet, prefix];
  }
  return undefined;
}

function labelOf({ name, tenant }: NetworkDraft): string {
  return `network ${name} of tenant ${tenant}`;
}
