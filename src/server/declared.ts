import type { Cidr } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import type { Declared } from "../model/declared.ts";
import { FloatingIndex } from "../model/floating-index.ts";
import type { DeclaredKind, PlainKind, Resources } from "../model/kinds.ts";
import { NetworkIndex } from "../model/network-index.ts";
import type { Policy } from "../model/policy/index.ts";
import type { FloatingAddress, Network, NetworkDraft, Node, Tenant, Vni } from "../model/resources.ts";
import type { State, Versioned } from "./state.ts";

/** What the state has, and before it what a transaction that is being made puts there. Neither is copied. */
export class DeclaredSoFar implements Declared {
  readonly #state: State;
  readonly #plain = new Map<string, Resources[PlainKind]>();
  readonly #floating = new FloatingIndex();
  /** By tenant, and there by name. */
  readonly #policies = new Map<string, Map<string, Policy>>();
  readonly #networks = new NetworkIndex();
  readonly #takenVnis = new Set<Vni>();
  /** Where the last search from a number has ended: nothing before is free. */
  readonly #searched = new Map<number, number>();

  constructor(state: State) {
    this.#state = state;
  }

  get<Kind extends DeclaredKind>(kind: Kind, name: string): Resources[Kind] | undefined {
    const found = kind === "network" ? this.#network(name) : this.#plainOf(kind as PlainKind, name);
    return found as Resources[Kind] | undefined;
  }

  put<Kind extends DeclaredKind>(kind: Kind, value: Resources[Kind]): void {
    if (kind !== "network") {
      this.#plain.set(`${kind} ${value.name}`, value as Resources[PlainKind]);
      if (kind === "floating-address") this.#floating.put(value as FloatingAddress);
      if (kind === "policy") this.#putPolicy(value as Policy);
      return;
    }
    const network = value as Network;
    this.#networks.put(network);
    this.takeVni(network.vni);
  }

  /** It is not to be chosen. */
  takeVni(vni: Vni): void {
    this.#takenVnis.add(vni);
  }

  /** The first VNI from `from` on that nobody has. */
  freeVni(from: number): number | undefined {
    const { takenVnis } = this.#state;
    let vni = takenVnis.firstFree(this.#searched.get(from) ?? from);
    while (vni !== undefined && this.#takenVnis.has(vni as Vni)) vni = takenVnis.firstFree(vni + 1);
    if (vni !== undefined) this.#searched.set(from, vni);
    return vni;
  }

  *rivalsOf(network: NetworkDraft): Iterable<Network> {
    const isCurrent = ({ name }: Network): boolean => this.#networks.get(name) === undefined;
    yield* this.#state.networkIndex.rivals(network, isCurrent);
    yield* this.#networks.rivals(network);
  }

  *tenantsOnHosts(): Iterable<Tenant> {
    for (const { value } of this.#state.plain.tenant.values())
      if (value.placement === "host" && !this.#plain.has(`tenant ${value.name}`)) yield value;
    for (const [key, value] of this.#plain)
      if (key.startsWith("tenant ") && (value as Tenant).placement === "host") yield value as Tenant;
  }

  *networksOf(tenant: string): Iterable<Network> {
    yield* this.#merged((index) => index.ofTenant(tenant));
  }

  *overlappingIn(tenant: string, subnets: readonly Cidr[]): Iterable<Network> {
    yield* this.#merged((index) => index.overlappingIn(tenant, subnets));
  }

  *withPeers(tenant: string): Iterable<Network> {
    yield* this.#merged((index) => index.withPeers(tenant));
  }

  *policiesOf(tenant: string): Iterable<Policy> {
    for (const policy of this.#state.policies.get(tenant)?.policies.values() ?? [])
      if (!this.#plain.has(`policy ${policy.name}`)) yield policy;
    yield* this.#policies.get(tenant)?.values() ?? [];
  }

  *routedTo(address: IpAddress): Iterable<Network> {
    yield* this.#merged((index) => index.routedTo(address));
  }

  *withVtep(address: IpAddress): Iterable<Network> {
    yield* this.#merged((index) => index.withVtep(address));
  }

  floatingAt(network: string, endpoint: IpAddress): FloatingAddress | undefined {
    const known = this.#state.floating.at(network, endpoint);
    const isCurrent = known !== undefined && this.#floating.get(known.name) === undefined;
    return isCurrent ? known : this.#floating.at(network, endpoint);
  }

  *floatingOf(network: string): Iterable<FloatingAddress> {
    yield* this.#mergedFloating((index) => index.ofNetwork(network));
  }

  *floatingWithin(prefixes: readonly Cidr[]): Iterable<FloatingAddress> {
    for (const prefix of prefixes) yield* this.#mergedFloating((index) => index.within(prefix));
  }

  nodeAt(address: IpAddress): Node | undefined {
    return this.#state.nodeAt(address);
  }

  *nodes(): Iterable<Node> {
    for (const { value } of this.#state.nodes.values()) yield value;
  }

  /** The tenant of a policy does not change. */
  #putPolicy(policy: Policy): void {
    const ofTenant = this.#policies.get(policy.tenant) ?? new Map<string, Policy>();
    this.#policies.set(policy.tenant, ofTenant.set(policy.name, policy));
  }

  /** What the state has, but for what is put in its place, and what is put there. */
  *#merged(find: (index: NetworkIndex) => Iterable<Network>): Generator<Network> {
    for (const network of find(this.#state.networkIndex))
      if (this.#networks.get(network.name) === undefined) yield network;
    yield* find(this.#networks);
  }

  *#mergedFloating(find: (index: FloatingIndex) => Iterable<FloatingAddress>): Generator<FloatingAddress> {
    for (const floating of find(this.#state.floating))
      if (this.#floating.get(floating.name) === undefined) yield floating;
    yield* find(this.#floating);
  }

  #network(name: string): Network | undefined {
    return this.#networks.get(name) ?? this.#state.networks.get(name)?.network;
  }

  #plainOf(kind: PlainKind, name: string): Resources[PlainKind] | undefined {
    const table: ReadonlyMap<string, Versioned<Resources[PlainKind]>> = this.#state.plain[kind];
    return this.#plain.get(`${kind} ${name}`) ?? table.get(name)?.value;
  }
}
