/** The routed networks of one tenant, and the nodes that have something in any of them. */
interface Group {
  readonly networks: Set<string>;
  /** In how many of the networks each node has something. */
  readonly nodes: Map<string, number>;
}

/**
 * Which nodes send into a network in which they may have nothing: those that have something in it or in another network
 * that is routed with it, and those that have something in a peer of it. What each node has is counted, so that news of one
 * endpoint costs one step.
 */
export class RoutedNodes {
  /** By network and node. */
  readonly #holdings = new Map<string, Map<string, number>>();
  readonly #groups = new Map<string, Group>();
  /** The tenant of each routed network. */
  readonly #tenants = new Map<string, string>();
  /** Of networks that have peers, both ways. */
  readonly #peers = new Map<string, Set<string>>();
  readonly #onChange: (network: string, node: string, routes: boolean) => void;

  /** `onChange`: the node routes into the network from now on, or does no more. */
  constructor(onChange: (network: string, node: string, routes: boolean) => void) {
    this.#onChange = onChange;
  }

  /** The nodes that route into the network. */
  of(network: string): ReadonlySet<string> {
    const nodes = new Set(this.#groupOf(network)?.nodes.keys());
    for (const peer of this.#peersOf(network)) for (const node of this.#holders(peer)) nodes.add(node);
    return nodes;
  }

  /** Whether the node does. */
  has(network: string, node: string): boolean {
    return this.#groupOf(network)?.nodes.has(node) === true || this.#routesFromPeer(network, node);
  }

  /** The network is one of the tenant's routed networks. */
  setRouted(network: string, tenant: string): void {
    if (this.#tenants.get(network) === tenant) return;
    this.setUnrouted(network);
    const group = this.#groups.get(tenant) ?? { networks: new Set(), nodes: new Map() };
    this.#groups.set(tenant, group);
    for (const node of group.nodes.keys()) if (!this.has(network, node)) this.#onChange(network, node, true);
    this.#tenants.set(network, tenant);
    group.networks.add(network);
    for (const node of this.#holders(network)) this.#enter(group, node);
  }

  /** It is none of them. */
  setUnrouted(network: string): void {
    const group = this.#groupOf(network);
    const tenant = this.#tenants.get(network);
    if (group === undefined || tenant === undefined) return;
    for (const node of this.#holders(network)) this.#leave(group, node);
    group.networks.delete(network);
    this.#tenants.delete(network);
    for (const node of group.nodes.keys()) if (!this.has(network, node)) this.#onChange(network, node, false);
    if (group.networks.size === 0) this.#groups.delete(tenant);
  }

  /** The networks of other tenants that it is routed with, as they are with it. */
  setPeers(network: string, peers: Iterable<string>): void {
    const after = new Set(peers);
    const before = new Set(this.#peersOf(network));
    for (const peer of before.difference(after)) {
      this.#setPeer(network, peer, false);
      this.#setPeer(peer, network, false);
      for (const node of this.#holders(peer)) if (!this.has(network, node)) this.#onChange(network, node, false);
      for (const node of this.#holders(network)) if (!this.has(peer, node)) this.#onChange(peer, node, false);
    }
    for (const peer of after.difference(before)) {
      for (const node of this.#holders(peer)) if (!this.has(network, node)) this.#onChange(network, node, true);
      for (const node of this.#holders(network)) if (!this.has(peer, node)) this.#onChange(peer, node, true);
      this.#setPeer(network, peer, true);
      this.#setPeer(peer, network, true);
    }
  }

  /** It is here no more, with all that is in it. */
  removeNetwork(network: string): void {
    this.setPeers(network, []);
    this.setUnrouted(network);
    this.#holdings.delete(network);
  }

  /** One more thing in the network is on the node. */
  came(network: string, node: string): void {
    const holdings = this.#holdings.get(network) ?? new Map<string, number>();
    this.#holdings.set(network, holdings);
    const count = holdings.get(node) ?? 0;
    if (count === 0)
      for (const peer of this.#peersOf(network)) if (!this.has(peer, node)) this.#onChange(peer, node, true);
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
    if (holdings.size === 0) this.#holdings.delete(network);
    const group = this.#groupOf(network);
    if (group !== undefined) this.#leave(group, node);
    for (const peer of this.#peersOf(network)) if (!this.has(peer, node)) this.#onChange(peer, node, false);
  }

  #groupOf(network: string): Group | undefined {
    const tenant = this.#tenants.get(network);
    return tenant === undefined ? undefined : this.#groups.get(tenant);
  }

  /** The nodes that have something in the network. */
  #holders(network: string): Iterable<string> {
    return this.#holdings.get(network)?.keys() ?? [];
  }

  #peersOf(network: string): Iterable<string> {
    return this.#peers.get(network) ?? [];
  }

  #routesFromPeer(network: string, node: string): boolean {
    for (const peer of this.#peersOf(network)) if (this.#holdings.get(peer)?.has(node) === true) return true;
    return false;
  }

  #setPeer(network: string, peer: string, is: boolean): void {
    const peers = this.#peers.get(network) ?? new Set();
    if (is) this.#peers.set(network, peers.add(peer));
    else peers.delete(peer);
    if (peers.size === 0) this.#peers.delete(network);
  }

  #enter({ networks, nodes }: Group, node: string): void {
    const count = nodes.get(node) ?? 0;
    if (count === 0)
      for (const network of networks) if (!this.#routesFromPeer(network, node)) this.#onChange(network, node, true);
    nodes.set(node, count + 1);
  }

  #leave({ networks, nodes }: Group, node: string): void {
    const count = nodes.get(node) ?? 0;
    if (count > 1) {
      nodes.set(node, count - 1);
      return;
    }
    nodes.delete(node);
    for (const network of networks) if (!this.#routesFromPeer(network, node)) this.#onChange(network, node, false);
  }
}
