import type { Cidr } from "../../base/cidr.ts";
import type { Source } from "../../dataplane/index.ts";
import type { Block, Endpoint, Network, Node } from "../../model/index.ts";
import { RoutedNodes } from "../../model/routed-nodes.ts";
import type { EndpointWord, Fold, Word } from "./fold.ts";
import { PassingNodes } from "./passing-nodes.ts";

/** A network that this node carries, and where the sources' words of it go. */
export interface CarriedNetwork {
  readonly underlay: Network["underlay"];
  readonly fold: Fold;
}

/** An endpoint that has no place: its network is not carried here, or its node has no VTEP for it. */
interface Unplaced {
  readonly network: string;
  readonly node: string;
  readonly endpoint: Pick<EndpointWord, "id" | "mac" | "ips" | "isLearned" | "learnedIps">;
}

/** What the server's watch says of places: endpoints and blocks belong to nodes, and nodes have VTEPs. */
export class ServerSource {
  readonly #self: string;
  readonly #own: Source;
  readonly #networks: ReadonlyMap<string, CarriedNetwork>;
  readonly #nodes = new Map<string, Node>();
  /** By node: one object for all that is there. */
  readonly #sources = new Map<string, Source>();
  readonly #unplaced = new Map<string, Unplaced>();
  /** Blocks of all nodes, by network. */
  readonly #blocks = new Map<string, Map<Cidr, Block>>();
  readonly #routed = new RoutedNodes((network, node, routes) => this.#routerChanged(network, node, routes));
  readonly #passing = new PassingNodes((network, node, passes) => this.#routerChanged(network, node, passes));

  /** `self`: the name of this node. */
  constructor(self: string, networks: ReadonlyMap<string, CarriedNetwork>) {
    this.#self = self;
    this.#own = { name: "server", node: self };
    this.#networks = networks;
  }

  get nodes(): ReadonlyMap<string, Node> {
    return this.#nodes;
  }

  /** The network's blocks of this node. */
  ownBlocks(network: string): Cidr[] {
    return [...this.#blocksOf(network)].filter(({ node }) => node === this.#self).map(({ cidr }) => cidr);
  }

  /** The network is carried from now on. */
  networkCame(name: string): void {
    for (const unplaced of [...this.#unplaced.values()]) if (unplaced.network === name) this.#place(unplaced);
    for (const block of this.#blocksOf(name)) this.#placeBlock(block);
    for (const nodes of [this.#routed.of(name), this.#passing.of(name)])
      for (const node of nodes) this.#routerChanged(name, node, true);
  }

  /** What the server says of the network itself. */
  setNetwork({ name, tenant, gateway }: Network): void {
    if (gateway === "distributed") this.#routed.setRouted(name, tenant);
    else this.#routed.setUnrouted(name);
  }

  /** The networks of other tenants that it is routed with. */
  setPeers(name: string, peers: Iterable<string>): void {
    this.#routed.setPeers(name, peers);
  }

  removeNetwork(name: string): void {
    this.#routed.removeNetwork(name);
    this.#passing.removeNetwork(name);
    this.#blocks.delete(name);
    for (const [id, { network }] of this.#unplaced) if (network === name) this.#unplaced.delete(id);
  }

  putNode(node: Node): void {
    const { name } = node;
    const before = this.#nodes.get(name);
    this.#nodes.set(name, node);
    if (!this.#sources.has(name)) this.#sources.set(name, { name: "server", node: name });
    if (name === this.#self) return;
    for (const unplaced of [...this.#unplaced.values()]) if (unplaced.node === name) this.#place(unplaced);
    for (const blocks of this.#blocks.values())
      for (const block of blocks.values()) if (block.node === name) this.#placeBlock(block);
    for (const [network, { underlay, fold }] of this.#networks) {
      const old = before?.vtepAddresses[underlay];
      const vtep = node.vtepAddresses[underlay];
      if (old === vtep) continue;
      for (const nodes of [this.#routed, this.#passing]) {
        if (!nodes.has(network, name)) continue;
        if (old !== undefined) fold.removeRouter(old);
        if (vtep !== undefined) fold.addRouter(vtep);
      }
      if (old === undefined) continue;
      for (const endpoint of [...fold.endpointsOf("server")]) {
        const { source, vtep: place } = endpoint;
        if (place === old && source.name === "server" && source.node === name)
          this.#place({ network, node: name, endpoint });
      }
    }
  }

  removeNode(name: string): void {
    for (const network of this.#networks.keys())
      for (const nodes of [this.#routed, this.#passing])
        if (nodes.has(network, name)) this.#routerChanged(network, name, false);
    this.#nodes.delete(name);
    this.#sources.delete(name);
  }

  putEndpoint(told: Endpoint): void {
    const { id, network, node, mac, ips, learnedIps, attachment } = told;
    this.#passing.put(told);
    const learned = learnedIps === undefined ? {} : { learnedIps };
    const before = this.#nodeOf(network, id);
    if (before !== node) this.#routed.came(network, node);
    if (before !== undefined && before !== node) this.#routed.left(network, before);
    this.#place({ network, node, endpoint: { id, mac, ips, isLearned: attachment === "learned", ...learned } });
  }

  removeEndpoint(network: string, id: string): void {
    const node = this.#nodeOf(network, id);
    if (node !== undefined) this.#routed.left(network, node);
    this.#passing.remove(network, id);
    this.#withdraw(network, id);
  }

  #withdraw(network: string, id: string): void {
    this.#unplaced.delete(id);
    this.#networks.get(network)?.fold.removeEndpoint(id, "server");
  }

  putBlock(block: Block): void {
    const blocks = this.#blocks.get(block.network) ?? new Map<Cidr, Block>();
    const before = blocks.get(block.cidr)?.node;
    if (before !== block.node) this.#routed.came(block.network, block.node);
    if (before !== undefined && before !== block.node) this.#routed.left(block.network, before);
    this.#blocks.set(block.network, blocks.set(block.cidr, block));
    this.#placeBlock(block);
  }

  removeBlock(network: string, cidr: Cidr): void {
    const node = this.#blocks.get(network)?.get(cidr)?.node;
    if (node !== undefined) this.#routed.left(network, node);
    this.#blocks.get(network)?.delete(cidr);
    this.#networks.get(network)?.fold.removeBlock(cidr, "server");
  }

  /** The node that the endpoint is on, as was said last. */
  #nodeOf(network: string, id: string): string | undefined {
    const source = this.#networks.get(network)?.fold.sourceOf(id, "server");
    return this.#unplaced.get(id)?.node ?? (source?.name === "server" ? source.node : undefined);
  }

  #routerChanged(network: string, node: string, routes: boolean): void {
    const carried = this.#networks.get(network);
    const vtep = carried && this.#nodes.get(node)?.vtepAddresses[carried.underlay];
    if (carried === undefined || vtep === undefined || node === this.#self) return;
    if (routes) carried.fold.addRouter(vtep);
    else carried.fold.removeRouter(vtep);
  }

  #blocksOf(network: string): Iterable<Block> {
    return this.#blocks.get(network)?.values() ?? [];
  }

  /** Without a VTEP it waits for the node to say where it is: its former address may be another node's. */
  #place(unplaced: Unplaced): void {
    const { network, node, endpoint } = unplaced;
    const { id } = endpoint;
    const place = this.#placeOf(node, network);
    if (place === undefined) {
      this.#withdraw(network, id);
      this.#unplaced.set(id, unplaced);
    } else {
      this.#unplaced.delete(id);
      const { vtep, source } = place;
      this.#networks.get(network)?.fold.putEndpoint({ ...endpoint, vtep, source });
    }
  }

  #placeBlock({ network, node, cidr }: Block): void {
    const fold = this.#networks.get(network)?.fold;
    const place = this.#placeOf(node, network);
    if (place === undefined) fold?.removeBlock(cidr, "server");
    else fold?.putBlock({ cidr, ...place });
  }

  #placeOf(node: string, network: string): Word | undefined {
    const underlay = this.#networks.get(network)?.underlay;
    if (underlay === undefined) return undefined;
    if (node === this.#self) return { vtep: undefined, source: this.#own };
    const source = this.#sources.get(node);
    const vtep = this.#nodes.get(node)?.vtepAddresses[underlay];
    return source === undefined || vtep === undefined ? undefined : { vtep, source };
  }
}
