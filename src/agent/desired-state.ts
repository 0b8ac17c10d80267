import { isDeepStrictEqual } from "node:util";
import type { NetworkState } from "../api/convert.ts";
import { type Cidr, cidrContains, cidrOf, type InterfaceAddress, prefixLengthOf } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type {
  DesiredNetwork,
  KernelObject,
  NetworkSettings,
  NodeDataplane,
  RemoteEndpoint,
} from "../dataplane/index.ts";
import type { Block, Endpoint, Network, Node } from "../model/index.ts";
import { maximumMtu, usableMtu } from "../model/mtu.ts";
import { defaultGroup } from "../model/network-rules.ts";
import { declaredIps } from "../model/resources.ts";
import { blockGateway } from "../model/subnet.ts";
import type { Attachment, ReplicaChange } from "./replica.ts";
import type { UnderlayState } from "./underlay.ts";
import { type Way, type WayNow, waysNow } from "./ways.ts";

/** What of the underlay decides how networks are carried. */
export type UnderlayPlace = Pick<
  UnderlayState,
  "vteps" | "mtu" | "interfaceIndex" | "interfaces" | "onLink" | "prefixes"
>;

/**
 * Turns what the server says into what the dataplane shall do: which endpoints are this node's and hang where, and
 * behind which VTEP the others, or their blocks, are.
 */
export class DesiredState {
  readonly #node: string;
  readonly #dataplane: NodeDataplane;
  readonly #attachments: ReadonlyMap<string, Attachment>;
  readonly #nodes = new Map<string, Node>();
  readonly #networks = new Map<string, NetworkState>();
  /** Endpoints whose node has no VTEP for their network, until it has one. */
  readonly #unplaced = new Map<string, Endpoint>();
  /** Endpoints of this node. */
  readonly #own = new Map<string, Endpoint>();
  /** Blocks of all nodes, by network. */
  readonly #blocks = new Map<string, Map<Cidr, Block>>();
  #underlay: UnderlayPlace = {
    vteps: {},
    mtu: maximumMtu,
    interfaceIndex: 0,
    interfaces: new Map(),
    onLink: new Map(),
    prefixes: [],
  };

  constructor(options: {
    readonly node: string;
    readonly dataplane: NodeDataplane;
    readonly attachments: ReadonlyMap<string, Attachment>;
  }) {
    this.#node = options.node;
    this.#dataplane = options.dataplane;
    this.#attachments = options.attachments;
  }

  get networks(): ReadonlyMap<string, NetworkState> {
    return this.#networks;
  }

  get nodes(): ReadonlyMap<string, Node> {
    return this.#nodes;
  }

  /** Endpoints of this node by id, as the server says. */
  get own(): ReadonlyMap<string, Endpoint> {
    return this.#own;
  }

  /** The blocks of a network, of all nodes. */
  blocksOf(network: string): ReadonlyMap<Cidr, Block> {
    return this.#blocks.get(network) ?? noBlocks;
  }

  /** While a network changes the way its packets travel: the ways that are received on beside the one that is sent on. */
  standbyOf(network: string): readonly Way[] {
    const state = this.#networks.get(network);
    return state === undefined ? [] : waysNow(state).standby;
  }

  setUnderlay(underlay: UnderlayPlace): void {
    this.#underlay = underlay;
    for (const state of this.#networks.values()) this.#putNetwork(state);
  }

  apply(change: ReplicaChange): void {
    switch (change.kind) {
      case "network":
        this.#networks.set(change.state.network.name, change.state);
        this.#putNetwork(change.state);
        break;
      case "network-removed":
        this.#networks.delete(change.name);
        this.#blocks.delete(change.name);
        this.#dataplane.problems.forget(({ kind, network }) => kind === "MTU" && network === change.name);
        for (const endpoints of [this.#own, this.#unplaced])
          for (const { id, network } of endpoints.values()) if (network === change.name) endpoints.delete(id);
        this.#dataplane.removeNetwork(change.name);
        break;
      case "node":
        this.#putNode(change.node);
        break;
      case "node-removed":
        this.#nodes.delete(change.name);
        for (const state of this.#networks.values()) this.#judgeMtu(state);
        break;
      case "endpoint":
        this.#place(change.endpoint);
        break;
      case "endpoint-removed":
        this.#dataplane.networks.get(change.network)?.remove(change.id);
        this.#own.delete(change.id);
        this.#unplaced.delete(change.id);
        break;
      case "block":
        this.#blocksToChange(change.block.network).set(change.block.cidr, change.block);
        this.#placeBlock(change.block.network, change.block.cidr);
        break;
      case "block-removed":
        this.#blocksToChange(change.network).delete(change.cidr);
        this.#placeBlock(change.network, change.cidr);
        break;
    }
  }

  /** The addresses of an endpoint of this node, each with the length of what is on its link: subnet, or block. */
  addressesOf(endpoint: Pick<Endpoint, "ips" | "learntIps">, { name, mode, subnets }: Network): InterfaceAddress[] {
    return interfaceAddresses(declaredIps(endpoint), mode === "l2" ? subnets : this.#ownBlocks(name));
  }

  /** The attachment of one of this node's endpoints came or went. */
  attachmentChanged(id: string): void {
    const endpoint = this.#own.get(id);
    if (endpoint !== undefined) this.#place(endpoint);
  }

  /** A network that asks for more than the underlay carries is set to less, or loses what is larger: that is told. */
  #judgeMtu({ network, change, effectiveMtu }: NetworkState): void {
    const object = mtuObject(network.name);
    const others = [...this.#nodes.values()].filter(
      ({ name, vtepAddresses }) => name !== this.#node && vtepAddresses[network.underlay] !== undefined,
    );
    const { problem } = usableMtu(network, [{ name: this.#node, underlayMtu: this.#underlay.mtu }, ...others]);
    if (problem !== undefined) this.#dataplane.problems.failed(object, problem);
    // While its way changes, a network's MTU is what every way carries.
    else if (network.mtu !== undefined && change === undefined && effectiveMtu < network.mtu)
      this.#dataplane.problems.failed(object, elsewhere(network.name, network.mtu, effectiveMtu));
    else this.#dataplane.problems.cleared(object);
  }

  #putNetwork(state: NetworkState): void {
    this.#judgeMtu(state);
    const settings = this.#settingsOf(state.network, waysNow(state));
    if (settings === undefined) return;
    const known = this.#dataplane.networks.get(settings.name);
    const before = known?.settings;
    if (known !== undefined && isDeepStrictEqual(before, settings)) {
      this.#placeBlocks(settings.name);
      return;
    }
    const network = this.#dataplane.putNetwork(settings);
    this.#placeBlocks(settings.name);
    if (network === known) {
      // MTU and learning of ports follow the network's, and so do the routes inside.
      for (const endpoint of this.#own.values()) if (endpoint.network === settings.name) this.#place(endpoint);
      return;
    }
    if (known === undefined) {
      for (const endpoint of [...this.#unplaced.values()])
        if (endpoint.network === settings.name) this.#place(endpoint);
      return;
    }
    for (const remote of known.remotes.values()) network.putRemote(remote);
    for (const endpoint of this.#own.values()) if (endpoint.network === settings.name) this.#place(endpoint);
  }

  /** `undefined`: this node has no place for the network. */
  #settingsOf(network: Network, now: WayNow): NetworkSettings | undefined {
    const { way, standby, mtu } = now;
    const { vteps } = this.#underlay;
    const localVtep = vteps[network.underlay];
    if (localVtep === undefined) return undefined;
    const multicast = this.#multicastOf(network);
    if (multicast === "unusable") return undefined;
    return {
      name: network.name,
      tenant: network.tenant,
      vni: network.vni,
      mode: network.mode,
      subnets: network.subnets,
      mtu,
      ...(way.transport === undefined ? {} : { transport: way.transport }),
      standby: standby.flatMap(({ transport }) => transport ?? []),
      localVtep,
      flood: network.flood,
      arpSuppression: network.arpSuppression,
      learning: network.learning,
      localLearning: network.learningLimit > 0,
      vlanTags: network.vlanTags,
      ageing: network.ageing,
      staticVteps: network.vteps,
      ...(multicast === undefined ? {} : { multicast }),
      gateways: this.#gatewaysOf(network),
      egress: network.egress,
      egressBlocked: network.egressBlocked,
      hostAccess: network.hostAccess,
    };
  }

  #multicastOf({ name, vni, underlay, discovery, multicast }: Network): NetworkSettings["multicast"] | "unusable" {
    if (discovery !== "multicast") return undefined;
    const { interfaces, interfaceIndex } = this.#underlay;
    const wanted = multicast?.interface;
    const index = wanted === undefined ? interfaceIndex : interfaces.get(wanted);
    const problem = { kind: "multicast", network: name };
    if (index === undefined) {
      this.#dataplane.problems.failed(
        problem,
        new WeftError({
          code: "failed-precondition",
          attempted: `join the multicast group of network ${name}`,
          reason: `this node has no interface ${wanted}`,
          hint: "name one that every node has, or none: then it is the one with the VTEP address",
        }),
      );
      return "unusable";
    }
    this.#dataplane.problems.cleared(problem);
    return {
      address: multicast?.group ?? defaultGroup(vni, underlay),
      ttl: multicast?.ttl ?? 1,
      interfaceIndex: index,
    };
  }

  /** Addresses of the bridge: of l3 networks those of this node's blocks, of l2 networks the gateways if the node is to be them. */
  #gatewaysOf(network: Network): InterfaceAddress[] {
    if (network.mode === "l3")
      return this.#ownBlocks(network.name).map((cidr) => ({
        address: blockGateway(cidr),
        prefixLength: prefixLengthOf(cidr),
      }));
    return network.egress || network.hostAccess ? interfaceAddresses(network.gateways, network.subnets) : [];
  }

  #ownBlocks(network: string): Cidr[] {
    return [...this.blocksOf(network).values()].filter(({ node }) => node === this.#node).map(({ cidr }) => cidr);
  }

  #blocksToChange(network: string): Map<Cidr, Block> {
    const blocks = this.#blocks.get(network) ?? new Map<Cidr, Block>();
    this.#blocks.set(network, blocks);
    return blocks;
  }

  /** A block came, went, or has another owner. One of this node's changes the bridge, one of another the routes. */
  #placeBlock(networkName: string, cidr: Cidr): void {
    const state = this.#networks.get(networkName);
    const network = this.#dataplane.networks.get(networkName);
    if (state === undefined || network === undefined) return;
    const block = this.blocksOf(networkName).get(cidr);
    if (block?.node === this.#node || network.localBlocks.has(cidr)) this.#putNetwork(state);
    this.#placeRemoteBlock(state.network, network, cidr, block);
  }

  /** All blocks of a network: their ways may have changed with the network's. */
  #placeBlocks(networkName: string): void {
    const state = this.#networks.get(networkName);
    const network = this.#dataplane.networks.get(networkName);
    if (state?.network.mode !== "l3" || network === undefined) return;
    const { way, standby } = waysNow(state);
    const isDirect = [way, ...standby].some((each) => each.isDirect);
    network.setLocalBlocks(this.#ownBlocks(networkName).map((cidr) => ({ cidr, isDirect })));
    for (const [cidr, block] of this.blocksOf(networkName)) this.#placeRemoteBlock(state.network, network, cidr, block);
  }

  #placeRemoteBlock({ name, underlay }: Network, network: DesiredNetwork, cidr: Cidr, block: Block | undefined): void {
    const vtep = block === undefined ? undefined : this.#nodes.get(block.node)?.vtepAddresses[underlay];
    if (block === undefined || block.node === this.#node || vtep === undefined) {
      network.removeBlock(cidr);
      return;
    }
    const state = this.#networks.get(name);
    if (state === undefined) return;
    const { way, standby } = waysNow(state);
    const isDirect = this.#isDirect(way, vtep);
    const isFromLink = isDirect || standby.some((other) => this.#isDirect(other, vtep));
    const wanted = { cidr, node: block.node, vtep, isDirect, isFromLink };
    if (!isDeepStrictEqual(network.blocks.get(cidr), wanted)) network.putBlock(wanted);
  }

  /** Without a tunnel everybody is; else those on a link of this node. */
  #isDirect({ transport, isDirect }: Way, vtep: IpAddress): boolean {
    return isDirect && (transport === undefined || this.#isOnLink(vtep));
  }

  /** As the routes say. A VTEP that is new has not been looked up; it is on a link if an address of this node says so. */
  #isOnLink(vtep: IpAddress): boolean {
    const { onLink, prefixes } = this.#underlay;
    return onLink.get(vtep) ?? prefixes.some((prefix) => cidrContains(prefix, vtep));
  }

  #putNode(node: Node): void {
    const before = this.#nodes.get(node.name);
    this.#nodes.set(node.name, node);
    if (before?.underlayMtu !== node.underlayMtu) for (const state of this.#networks.values()) this.#judgeMtu(state);
    for (const endpoint of [...this.#unplaced.values()]) if (endpoint.node === node.name) this.#place(endpoint);
    if (node.name === this.#node) return;
    for (const [networkName, blocks] of this.#blocks)
      for (const { cidr, node: owner } of blocks.values()) if (owner === node.name) this.#placeBlock(networkName, cidr);
    if (before === undefined) return;
    for (const family of ["ipv4", "ipv6"] as const) {
      const vtep = node.vtepAddresses[family];
      const old = before.vtepAddresses[family];
      if (old === undefined || old === vtep) continue;
      for (const network of this.#dataplane.networks.values())
        for (const remote of [...network.remotes.values()]) {
          if (remote.node !== node.name || remote.vtep !== old) continue;
          if (vtep === undefined) this.#displace(remote, network);
          else network.putRemote({ ...remote, vtep });
        }
    }
  }

  /** Its node has no VTEP any more: the address is another node's. It waits for the node to say where it is. */
  #displace({ id, mac, ips, node, isLearnt }: RemoteEndpoint, network: DesiredNetwork): void {
    network.remove(id);
    const attachment = isLearnt === true ? "learned" : "netns";
    const endpoint: Endpoint = { id, network: network.settings.name, node, mac, ips, attachment, sequence: 0 };
    this.#unplaced.set(id, endpoint);
  }

  #place(endpoint: Endpoint): void {
    const state = this.#networks.get(endpoint.network);
    const network = this.#dataplane.networks.get(endpoint.network);
    if (endpoint.node === this.#node) this.#own.set(endpoint.id, endpoint);
    else this.#own.delete(endpoint.id);
    if (state === undefined || network === undefined) {
      this.#unplaced.set(endpoint.id, endpoint);
      return;
    }
    if (endpoint.node === this.#node) this.#placeLocal(endpoint, state.network, network);
    else this.#placeRemote(endpoint, state.network, network);
  }

  #placeLocal(endpoint: Endpoint, declared: Network, network: DesiredNetwork): void {
    this.#unplaced.delete(endpoint.id);
    if (endpoint.attachment === "learned") {
      network.putLearnt({ id: endpoint.id, mac: endpoint.mac, ips: endpoint.ips });
      return;
    }
    const attachment = this.#attachments.get(endpoint.id);
    if (attachment === undefined || attachment.state === "releasing") {
      network.remove(endpoint.id);
      return;
    }
    network.putLocal({
      id: endpoint.id,
      mac: endpoint.mac,
      addresses: this.addressesOf(endpoint, declared),
      ...(endpoint.learntIps === undefined ? {} : { learntIps: endpoint.learntIps }),
      netns: attachment.netns,
      interface: attachment.interface,
      inode: attachment.inode,
      routePriority: attachment.routePriority,
      gateways: network.settings.gateways
        .filter(({ address, prefixLength }) =>
          endpoint.ips.some((ip) => cidrContains(cidrOf(address, prefixLength), ip)),
        )
        .map(({ address }) => address),
    });
  }

  #placeRemote(endpoint: Endpoint, { underlay }: Network, network: DesiredNetwork): void {
    const node = this.#nodes.get(endpoint.node);
    const vtep = node?.vtepAddresses[underlay];
    if (node === undefined || vtep === undefined) {
      this.#unplaced.set(endpoint.id, endpoint);
      return;
    }
    this.#unplaced.delete(endpoint.id);
    const known = network.remote(endpoint.id);
    const isKnown = known?.mac === endpoint.mac && known.vtep === vtep && known.node === node.name;
    if (isKnown && sameTexts(known.ips, endpoint.ips)) return;
    // The name that all endpoints of the node share, not one of each.
    network.putRemote({
      id: endpoint.id,
      mac: endpoint.mac,
      ips: endpoint.ips,
      node: node.name,
      vtep,
      ...(endpoint.attachment === "learned" ? { isLearnt: true } : {}),
    });
  }
}

function mtuObject(network: string): KernelObject {
  return { kind: "MTU", network };
}

/** The node that carries less shares no network with this one, so that it is not known here. */
function elsewhere(network: string, asked: number, carried: number): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted: `compute the MTU of network ${network}`,
    reason: `it asks for ${asked}, and the node with the smallest underlay MTU carries ${carried}`,
    hint: "see weft node list; raise the underlay MTU of that node, or set the network's mtu to what it carries",
  });
}

const noBlocks: ReadonlyMap<Cidr, Block> = new Map();

/** Each address with the length of the prefix that holds it. */
export function interfaceAddresses(ips: readonly IpAddress[], subnets: readonly Cidr[]): InterfaceAddress[] {
  return ips.flatMap((address) => {
    const subnet = subnets.find((candidate) => cidrContains(candidate, address));
    return subnet === undefined ? [] : [{ address, prefixLength: prefixLengthOf(subnet) }];
  });
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}
