import type { Cidr } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import type { DeclaredKind, Resources } from "./kinds.ts";
import type { Policy } from "./policy/index.ts";
import type { FloatingAddress, Network, NetworkDraft, Node, Tenant } from "./resources.ts";

/** All that is declared, and where nodes are, for rules to look at what they need of it. */
export interface Declared {
  get<Kind extends DeclaredKind>(kind: Kind, name: string): Resources[Kind] | undefined;
  /** Networks that may contradict one: all that are alike in anything, each once, and never one of its name. */
  rivalsOf(network: NetworkDraft): Iterable<Network>;
  /** Those with placement `host`. */
  tenantsOnHosts(): Iterable<Tenant>;
  networksOf(tenant: string): Iterable<Network>;
  /** The networks of a tenant that have a subnet that overlaps one of these; some more than once. */
  overlappingIn(tenant: string, subnets: readonly Cidr[]): Iterable<Network>;
  /** The networks of a tenant that name peers. */
  withPeers(tenant: string): Iterable<Network>;
  policiesOf(tenant: string): Iterable<Policy>;
  /** Those that hosts route themselves and that have a subnet with the address. */
  routedTo(address: IpAddress): Iterable<Network>;
  /** The networks that list a VTEP. */
  withVtep(address: IpAddress): Iterable<Network>;
  /** The floating address that stands for the endpoint with an address in a network. */
  floatingAt(network: string, endpoint: IpAddress): FloatingAddress | undefined;
  floatingOf(network: string): Iterable<FloatingAddress>;
  /** Floating addresses that are in one of these themselves. */
  floatingWithin(prefixes: readonly Cidr[]): Iterable<FloatingAddress>;
  /** The node with a VTEP address. */
  nodeAt(address: IpAddress): Node | undefined;
}
