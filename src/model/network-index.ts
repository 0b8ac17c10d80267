import { type Cidr, hostPrefix } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import { PrefixIndex } from "../base/prefix-index.ts";
import { encapsulations } from "./encapsulation.ts";
import type { Network, NetworkDraft, Vni } from "./resources.ts";
import { isRoutedByHost } from "./routed-by-host.ts";

/**
 * Networks by what no two of them can have, so that a new one is compared with few, however many there are. Which of these it
 * contradicts, and why, is the business of `conflicts.ts`.
 */
export class NetworkIndex {
  readonly #byName = new Map<string, Network>();
  readonly #byVni = new Map<Vni, Network>();
  readonly #byTenant = new Map<string, PrefixIndex<Network>>();
  readonly #routedByHost = new PrefixIndex<Network>();
  /** By UDP port, and there by what must be the same of all that use it. */
  readonly #byPort = new Map<number, Map<string, Set<Network>>>();
  /** Whose packets say nothing of their network, by encapsulation and underlay. */
  readonly #keyless = new Map<string, Set<Network>>();
  /** Those that list VTEPs, by these. */
  readonly #byVtep = new Map<IpAddress, Set<Network>>();
  /** Those that name peers, by tenant. */
  readonly #withPeers = new Map<string, Set<Network>>();

  get(name: string): Network | undefined {
    return this.#byName.get(name);
  }

  /** The networks of a tenant; those with several subnets more than once. */
  ofTenant(name: string): Iterable<Network> {
    return this.#byTenant.get(name)?.values() ?? [];
  }

  /** The networks that hosts route themselves and that have a subnet with the address. */
  routedTo(address: IpAddress): Iterable<Network> {
    return this.#routedByHost.overlapping(hostPrefix(address));
  }

  /** The networks of a tenant that have a subnet that overlaps one of these; some more than once. */
  overlappingIn(tenant: string, subnets: readonly Cidr[]): Iterable<Network> {
    return overlapping(this.#byTenant.get(tenant), subnets);
  }

  /** The networks of a tenant that name peers. */
  withPeers(tenant: string): Iterable<Network> {
    return this.#withPeers.get(tenant) ?? [];
  }

  /** The networks that list a VTEP. */
  withVtep(address: IpAddress): Iterable<Network> {
    return this.#byVtep.get(address) ?? [];
  }

  /** In the place of one of its name. */
  put(network: Network): void {
    this.delete(network.name);
    this.#byName.set(network.name, network);
    this.#byVni.set(network.vni, network);
    const ofTenant = this.#byTenant.get(network.tenant) ?? new PrefixIndex<Network>();
    this.#byTenant.set(network.tenant, ofTenant);
    for (const subnet of network.subnets) {
      ofTenant.add(subnet, network);
      if (isRoutedByHost(network)) this.#routedByHost.add(subnet, network);
    }
    const ofPort = this.#byPort.get(network.port) ?? new Map<string, Set<Network>>();
    if (network.port !== 0) this.#byPort.set(network.port, ofPort);
    put(ofPort, portUse(network), network);
    if (isKeyless(network)) put(this.#keyless, keylessUse(network), network);
    for (const vtep of network.vteps) put(this.#byVtep, vtep, network);
    if (network.peers.length > 0) put(this.#withPeers, network.tenant, network);
  }

  delete(name: string): void {
    const network = this.#byName.get(name);
    if (network === undefined) return;
    this.#byName.delete(name);
    // Another may have taken it over, as the store allows and the rules do not.
    if (this.#byVni.get(network.vni) === network) this.#byVni.delete(network.vni);
    const ofTenant = this.#byTenant.get(network.tenant);
    for (const subnet of network.subnets) {
      ofTenant?.delete(subnet, network);
      if (isRoutedByHost(network)) this.#routedByHost.delete(subnet, network);
    }
    if (ofTenant?.isEmpty === true) this.#byTenant.delete(network.tenant);
    const ofPort = this.#byPort.get(network.port);
    if (ofPort !== undefined) take(ofPort, portUse(network), network);
    if (ofPort?.size === 0) this.#byPort.delete(network.port);
    if (isKeyless(network)) take(this.#keyless, keylessUse(network), network);
    for (const vtep of network.vteps) take(this.#byVtep, vtep, network);
    if (network.peers.length > 0) take(this.#withPeers, network.tenant, network);
  }

  /**
   * The networks that one might contradict, each once, never one of its own name: a VNI, subnets, a port or the packets are alike. Of
   * many that would contradict it for the same reason, the use of a port, one. Those that are not `current` are passed over.
   */
  *rivals(network: NetworkDraft, isCurrent: (rival: Network) => boolean = () => true): Generator<Network> {
    const told = new Set<string>();
    const isRival = (other: Network): boolean => other.name !== network.name && isCurrent(other);
    for (const rival of this.#alike(network, isRival)) {
      if (told.has(rival.name) || !isRival(rival)) continue;
      told.add(rival.name);
      yield rival;
    }
  }

  *#alike(network: NetworkDraft, isRival: (other: Network) => boolean): Generator<Network> {
    const { vni, tenant, subnets, port } = network;
    const ofVni = vni === undefined ? undefined : this.#byVni.get(vni);
    if (ofVni !== undefined) yield ofVni;
    yield* overlapping(this.#byTenant.get(tenant), subnets);
    if (isRoutedByHost(network)) yield* overlapping(this.#routedByHost, subnets);
    for (const [use, networks] of this.#byPort.get(port) ?? [])
      if (use !== portUse(network)) yield* Iterator.from(networks).filter(isRival).take(1);
    if (isKeyless(network)) yield* this.#keyless.get(keylessUse(network)) ?? [];
  }
}

function* overlapping(index: PrefixIndex<Network> | undefined, subnets: readonly Cidr[]): Generator<Network> {
  for (const subnet of subnets) if (index !== undefined) yield* index.overlapping(subnet);
}

type Use = Pick<Network, "encapsulation" | "underlay" | "discovery">;

/** On a port all is of one encapsulation, and either with multicast discovery or without. */
function portUse({ encapsulation, underlay, discovery }: Use): string {
  return `${encapsulation} ${underlay} ${discovery === "multicast" ? discovery : ""}`;
}

function keylessUse({ encapsulation, underlay }: Use): string {
  return `${encapsulation} ${underlay}`;
}

function isKeyless({ encapsulation }: Use): boolean {
  const { key, devices } = encapsulations[encapsulation];
  return key === undefined && devices === "per-vtep";
}

function put<Key>(sets: Map<Key, Set<Network>>, key: Key, network: Network): void {
  sets.set(key, (sets.get(key) ?? new Set()).add(network));
}

function take<Key>(sets: Map<Key, Set<Network>>, key: Key, network: Network): void {
  const set = sets.get(key);
  set?.delete(network);
  if (set?.size === 0) sets.delete(key);
}
