import type { NetworkState } from "../api/convert.ts";
import { cidrContains, type InterfaceAddress, prefixLengthOf } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import type { DesiredNetwork, NetworkSettings, NodeDataplane } from "../dataplane/index.ts";
import type { Endpoint, Network, Node } from "../model/index.ts";
import type { Attachment, ReplicaChange } from "./replica.ts";

/**
 * Turns what the server says into what the dataplane shall do: which endpoints are this node's and hang where, and
 * behind which VTEP the others are.
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
  #localVteps: { readonly ipv4?: IpAddress; readonly ipv6?: IpAddress } = {};

  constructor(node: string, dataplane: NodeDataplane, attachments: ReadonlyMap<string, Attachment>) {
    this.#node = node;
    this.#dataplane = dataplane;
    this.#attachments = attachments;
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

  setLocalVteps(vteps: { readonly ipv4?: IpAddress; readonly ipv6?: IpAddress }): void {
    this.#localVteps = vteps;
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
        for (const endpoints of [this.#own, this.#unplaced])
          for (const { id, network } of endpoints.values()) if (network === change.name) endpoints.delete(id);
        this.#dataplane.removeNetwork(change.name);
        break;
      case "node":
        this.#putNode(change.node);
        break;
      case "node-removed":
        this.#nodes.delete(change.name);
        break;
      case "endpoint":
        this.#place(change.endpoint);
        break;
      case "endpoint-removed":
        this.#dataplane.networks.get(change.network)?.remove(change.id);
        this.#own.delete(change.id);
        this.#unplaced.delete(change.id);
        break;
    }
  }

  /** The attachment of one of this node's endpoints came or went. */
  attachmentChanged(id: string): void {
    const endpoint = this.#own.get(id);
    if (endpoint !== undefined) this.#place(endpoint);
  }

  #putNetwork(state: NetworkState): void {
    const localVtep = this.#localVteps[state.network.underlay];
    if (localVtep === undefined) return;
    const settings: NetworkSettings = {
      name: state.network.name,
      tenant: state.network.tenant,
      vni: state.network.vni,
      mtu: state.effectiveMtu,
      port: state.network.port,
      localVtep,
      flood: state.network.flood,
      arpSuppression: state.network.arpSuppression,
    };
    const known = this.#dataplane.networks.get(settings.name);
    if (known !== undefined && isSame(known.settings, settings)) return;
    const network = this.#dataplane.putNetwork(settings);
    if (known === undefined) return;
    if (network === known) {
      // The MTU of ports follows the network's.
      network.markPorts();
      return;
    }
    for (const remote of known.remotes.values()) network.putRemote(remote);
    for (const endpoint of this.#own.values()) if (endpoint.network === settings.name) this.#place(endpoint);
  }

  #putNode(node: Node): void {
    const before = this.#nodes.get(node.name);
    this.#nodes.set(node.name, node);
    for (const endpoint of [...this.#unplaced.values()]) if (endpoint.node === node.name) this.#place(endpoint);
    if (before === undefined || node.name === this.#node) return;
    for (const family of ["ipv4", "ipv6"] as const) {
      const vtep = node.vtepAddresses[family];
      const old = before.vtepAddresses[family];
      if (old === undefined || vtep === undefined || old === vtep) continue;
      for (const network of this.#dataplane.networks.values())
        for (const remote of [...network.remotes.values()])
          if (remote.node === node.name && remote.vtep === old) network.putRemote({ ...remote, vtep });
    }
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

  #placeLocal(endpoint: Endpoint, { subnets }: Network, network: DesiredNetwork): void {
    this.#unplaced.delete(endpoint.id);
    const attachment = this.#attachments.get(endpoint.id);
    if (attachment === undefined || attachment.state === "releasing") {
      network.remove(endpoint.id);
      return;
    }
    network.putLocal({
      id: endpoint.id,
      mac: endpoint.mac,
      addresses: interfaceAddresses(endpoint.ips, subnets),
      netns: attachment.netns,
      interface: attachment.interface,
      inode: attachment.inode,
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
    network.putRemote({ id: endpoint.id, mac: endpoint.mac, ips: endpoint.ips, node: node.name, vtep });
  }
}

/** Each address with the prefix length of its subnet. */
export function interfaceAddresses(ips: readonly IpAddress[], subnets: Network["subnets"]): InterfaceAddress[] {
  return ips.flatMap((address) => {
    const subnet = subnets.find((candidate) => cidrContains(candidate, address));
    return subnet === undefined ? [] : [{ address, prefixLength: prefixLengthOf(subnet) }];
  });
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}

function isSame(a: NetworkSettings, b: NetworkSettings): boolean {
  return (Object.keys(b) as (keyof NetworkSettings)[]).every((field) => a[field] === b[field]);
}
