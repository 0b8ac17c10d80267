import type { Cidr } from "../../base/cidr.ts";
import type { NetworkSettings } from "../desired.ts";
import { peeringDevice } from "../kernel-names.ts";

/** One network of a tenant's and one of another's that packets pass between, by the device that leads to that tenant's namespace. */
export interface Peering {
  readonly device: string;
  readonly own: readonly Cidr[];
  readonly foreign: readonly Cidr[];
}

export function peeringsOf(networks: readonly NetworkSettings[]): Peering[] {
  return networks.flatMap(({ subnets, peers }) =>
    peers.map((peer) => ({ device: peeringDevice(peer.tenant), own: subnets, foreign: peer.subnets })),
  );
}

/** The tenants that peers of the networks are of, each with the subnets of these. */
export function peerTenants(networks: readonly NetworkSettings[]): ReadonlyMap<string, readonly Cidr[]> {
  const tenants = new Map<string, Set<Cidr>>();
  for (const { tenant, subnets } of networks.flatMap(({ peers }) => peers))
    tenants.set(tenant, (tenants.get(tenant) ?? new Set()).union(new Set(subnets)));
  return new Map(Array.from(tenants, ([tenant, subnets]) => [tenant, [...subnets].sort()]));
}
