/** The routed networks of one tenant, and the nodes that have something in any of them. */
interface Group {
  readonly networks: Set<string>;
  /** In how many of the networks each node has something. */
  readonly nodes: Map<string, number>;
}

/**
 * Which nodes send into a network in which they may have nothing: those that have something in it or in another network
 * that is routed with it. What each node has is counted, so that news of one endpoint costs one step.
 */
export class RoutedNodes {
  /** By network and node. */
  readonly #holdings = new Map<string, Map<string, number>>();
  readonly #groups = new Map<string, Group>();
  /** The tenant of each routed network. */
  readonly #tenants = new Map<string, string>();
  readonly #onChange: (network: string, node: string, routes: boolean) => void;

  /** `onChange`: the node routes into the network from now on, or does no more. */
  constructor(onChange: (network: string, node: string, routes: boolean) => void) {
    this.#onChange = onChange;
  }

  /** The nodes that route into the network. */
  *of(network: string): Iterable<string> {
    yield* this.#groupOf(network)?.nodes.keys() ?? [];
  }

  /** Whether the node does. */
  has(network: string, node: string): boolean {
    return this.#groupOf(network)?.nodes.has(node) === true;
  }

  /** The network is one of the tenant's routed networks. */
  setRouted(network: string, tenant: string): void {
    if (this.#tenants.get(network) === tenant) return;
    this.setUnrouted(network);
    const group = this.#groups.get(tenant) ?? { networks: new Set(), nodes: new Map() };
    this.#groups.set(tenant, group);
    this.#tenants.set(network, tenant);
    group.networks.add(network);
    for (const node of group.nodes.keys()) this.#onChange(network, node, true);
    for (const node of this.#holdings.get(network)?.keys() ?? []) this.#enter(group, node);
  }

  /** It is none of them. */
  setUnrouted(network: string): void {
    const group = this.#groupOf(network);
    const tenant = this.#tenants.get(network);
    if (group === undefined || tenant === undefined) return;
    for (const node of this.#holdings.get(network)?.keys() ?? []) this.#leave(group, node);
    for (const node of group.nodes.keys()) this.#onChange(network, node, false);
    group.networks.delete(network);
    this.#tenants.delete(network);
    if (group.networks.size === 0) this.#groups.delete(tenant);
  }

  /** It is here no more, with all that is in it. */
  removeNetwork(network: string): void {
    this.setUnrouted(network);
    this.#holdings.delete(network);
  }

  /** One more thing in the network is on the node. */
  came(network: string, node: string): void {
    const holdings = this.#holdings.get(network) ?? new Map<string, number>();
    this.#holdings.set(network, holdings);
    const count = holdings.get(node) ?? 0;
    holdings.set(node, count + 1);
    const group = this.#groupOf(network);
    if (count === 0 && group !== undefined) this.#enter(group, node);
  }

  /** One less is. */
  left(network: string, node: string): void {
    const holdings = this.#holdings.get(network);
    const count = holdings?.get(node);
    if (holdings === undefined || count === undefined) return;
    if (count > 1) {
      holdings.set(node, count - 1);
      return;
    }
    holdings.delete(node);
    const group = this.#groupOf(network);
    if (group !== undefined) this.#leave(group, node);
  }

  #groupOf(network: string): Group | undefined {
    const tenant = this.#tenants.get(network);
    return tenant === undefined ? undefined : this.#groups.get(tenant);
  }

  #enter({ networks, nodes }: Group, node: string): void {
    const count = nodes.get(node) ?? 0;
    nodes.set(node, count + 1);
    if (count === 0) for (const network of networks) this.#onChange(network, node, true);
  }

  #leave({ networks, nodes }: Group, node: string): void {
    const count = nodes.get(node) ?? 0;
    if (count > 1) {
      nodes.set(node, count - 1);
      return;
    }
    nodes.delete(node);
    for (const network of networks) this.#onChange(network, node, false);
  }
}
