import type { IpAddress } from "../base/ip.ts";
import type { Declared } from "../model/declared.ts";
import type { DeclaredKind, PlainKind, Resources } from "../model/kinds.ts";
import { NetworkIndex } from "../model/network-index.ts";
import type { Policy } from "../model/policy/index.ts";
import type { FloatingAddress, Network, NetworkDraft, Node, Vni } from "../model/resources.ts";
import type { State, Versioned } from "./state.ts";

/** What the state has, and before it what a transaction that is being made puts there. Neither is copied. */
export class DeclaredSoFar implements Declared {
  readonly #state: State;
  readonly #plain = new Map<string, Resources[PlainKind]>();
  readonly #floatingAddresses = new Map<string, FloatingAddress>();
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
      if (kind === "floating-address") this.#floatingAddresses.set(value.name, value as FloatingAddress);
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

  *networksOf(tenant: string): Iterable<Network> {
    for (const network of this.#state.networkIndex.ofTenant(tenant))
      if (this.#networks.get(network.name) === undefined) yield network;
    yield* this.#networks.ofTenant(tenant);
  }

  *policiesOf(tenant: string): Iterable<Policy> {
    for (const policy of this.#state.policies.get(tenant)?.policies.values() ?? [])
      if (!this.#plain.has(`policy ${policy.name}`)) yield policy;
    yield* this.#policies.get(tenant)?.values() ?? [];
  }

  *routedTo(address: IpAddress): Iterable<Network> {
    for (const network of this.#state.networkIndex.routedTo(address))
      if (this.#networks.get(network.name) === undefined) yield network;
    yield* this.#networks.routedTo(address);
  }

  *floatingAddresses(): Iterable<FloatingAddress> {
    for (const { value } of this.#state.plain["floating-address"].values())
      if (!this.#floatingAddresses.has(value.name)) yield value;
    yield* this.#floatingAddresses.values();
  }

  *nodes(): Iterable<Node> {
    for (const { value } of this.#state.nodes.values()) yield value;
  }

  /** The tenant of a policy does not change. */
  #putPolicy(policy: Policy): void {
    const ofTenant = this.#policies.get(policy.tenant) ?? new Map<string, Policy>();
    this.#policies.set(policy.tenant, ofTenant.set(policy.name, policy));
  }

  #network(name: string): Network | undefined {
    return this.#networks.get(name) ?? this.#state.networks.get(name)?.network;
  }

  #plainOf(kind: PlainKind, name: string): Resources[PlainKind] | undefined {
    const table: ReadonlyMap<string, Versioned<Resources[PlainKind]>> = this.#state.plain[kind];
    return this.#plain.get(`${kind} ${name}`) ?? table.get(name)?.value;
  }
}
