import { isDeepStrictEqual } from "node:util";
import type { NetworkState } from "../api/convert.ts";
import { type Cidr, cidrContains, cidrOf, hostPrefix, type InterfaceAddress, prefixLengthOf } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { isSameList } from "../base/lists.ts";
import type {
  DesiredNetwork,
  Floating,
  KernelObject,
  LocalEndpoint,
  NetworkSettings,
  NodeDataplane,
} from "../dataplane/index.ts";
import { nodeGateways } from "../model/anycast-gateway.ts";
import type { Endpoint, Network, Node } from "../model/index.ts";
import { effectiveMtu as effectiveMtuOf, maximumMtu } from "../model/mtu.ts";
import { partsOfPeer } from "../model/names.ts";
import { defaultGroup } from "../model/network-rules.ts";
import { isAnsweredThere } from "../model/node-address.ts";
import { peersInForce } from "../model/peering.ts";
import { declaredIps } from "../model/resources.ts";
import { blockGateway } from "../model/subnet.ts";
import { EndpointNames } from "./names/endpoint-names.ts";
import { type Attachment, hasPort, type PortAttachment, type ReplicaChange } from "./replica.ts";
import { Fold, type WayTo } from "./sources/fold.ts";
import { type CarriedNetwork, ServerSource } from "./sources/server.ts";
import { staticPlaces } from "./sources/static.ts";
import type { UnderlayState } from "./underlay.ts";
import { type Way, type WayNow, waysNow } from "./ways.ts";

/** What of the underlay decides how networks are carried. */
export type UnderlayContext = Pick<
  UnderlayState,
  "vteps" | "mtu" | "interfaceIndex" | "interfaces" | "onLink" | "prefixes"
>;

/**
 * What the dataplane shall do, put together: networks as the server says, ports for what is attached here, and places
 * elsewhere as the sources say.
 */
export class DesiredState {
  readonly #node: string;
  readonly #dataplane: NodeDataplane;
  readonly #attachments: ReadonlyMap<string, Attachment>;
  readonly #networks = new Map<string, NetworkState>();
  /** The networks that the dataplane has. */
  readonly #carried = new Map<string, CarriedNetwork>();
  readonly #server: ServerSource;
  /** Endpoints that belong to this node, or have a port here. */
  readonly #own = new Map<string, Endpoint>();
  /** Endpoints about whose place on, to or from this node something is to be done, or goes on. */
  readonly #moving = new Map<string, Endpoint>();
  readonly #policyTenants = new Set<string>();
  /** What endpoints are called. */
  readonly names = new EndpointNames();
  #underlay: UnderlayContext = {
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
    this.#server = new ServerSource(options.node, this.#carried);
  }

  get networks(): ReadonlyMap<string, NetworkState> {
    return this.#networks;
  }

  get nodes(): ReadonlyMap<string, Node> {
    return this.#server.nodes;
  }

  /** Tenants whose policies are known, and whom these speak of. */
  get policyTenants(): ReadonlySet<string> {
    return this.#policyTenants;
  }

  /** The policies of a tenant and the endpoints that they speak of, by name and id. */
  policiesOf(tenant: string): { readonly policies: Iterable<string>; readonly members: Iterable<string> } {
    if (!this.#policyTenants.has(tenant)) return { policies: [], members: [] };
    const { policies, members } = this.#dataplane.policies.of(tenant);
    return { policies: policies.keys(), members: members.keys() };
  }

  /** Endpoints that belong to this node, or have a port here, by id and as the server says. */
  get own(): ReadonlyMap<string, Endpoint> {
    return this.#own;
  }

  /**
   * Endpoints of this node that another makes ready to take over, those that this node makes ready for, and those that left it, or that
   * it stands by for no more: by id and as the server says.
   */
  get moving(): ReadonlyMap<string, Endpoint> {
    return this.#moving;
  }

  /** While a network changes the way its packets travel: the ways that are received on beside the one that is sent on. */
  standbyOf(network: string): readonly Way[] {
    const state = this.#networks.get(network);
    return state === undefined ? [] : waysNow(state).standby;
  }

  setUnderlay(underlay: UnderlayContext): void {
    this.#underlay = underlay;
    for (const state of this.#networks.values()) this.#putNetwork(state);
  }

  apply(change: ReplicaChange): void {
    switch (change.kind) {
      case "network": {
        const { network } = change.state;
        const before = this.#networks.get(network.name)?.network;
        this.#networks.set(network.name, change.state);
        this.#server.setNetwork(network);
        this.#server.setPeers(
          network.name,
          this.#peersOf(network).map((peer) => peer.name),
        );
        this.#putNetwork(change.state);
        this.#peerChanged(before, network);
        break;
      }
      case "network-removed": {
        const before = this.#networks.get(change.name)?.network;
        this.#networks.delete(change.name);
        this.#carried.delete(change.name);
        this.names.removeNetwork(change.name);
        this.#server.removeNetwork(change.name);
        this.#dataplane.problems.forget(({ kind, network }) => kind === "MTU" && network === change.name);
        for (const endpoints of [this.#own, this.#moving])
          for (const { id, network } of endpoints.values()) if (network === change.name) endpoints.delete(id);
        this.#dataplane.removeNetwork(change.name);
        this.#peerChanged(before, undefined);
        break;
      }
      case "node": {
        const before = this.nodes.get(change.node.name);
        this.#server.putNode(change.node);
        if (before?.underlayMtu !== change.node.underlayMtu)
          for (const state of this.#networks.values()) this.#judgeMtu(state);
        break;
      }
      case "node-removed":
        this.#server.removeNode(change.name);
        for (const state of this.#networks.values()) this.#judgeMtu(state);
        break;
      case "endpoint":
        this.#putEndpoint(change.endpoint);
        break;
      case "endpoint-removed":
        this.names.remove(change.network, change.id);
        this.#server.removeEndpoint(change.network, change.id);
        this.#dataplane.networks.get(change.network)?.removeHere(change.id);
        this.#dataplane.networks.get(change.network)?.setForwarded(change.id, undefined);
        this.#moving.delete(change.id);
        this.#occupying(change.network, () => this.#own.delete(change.id));
        break;
      case "block":
        this.#server.putBlock(change.block);
        this.#blockChanged(change.block.network, change.block.cidr, change.block.node === this.#node);
        break;
      case "block-removed":
        this.#server.removeBlock(change.network, change.cidr);
        this.#blockChanged(change.network, change.cidr, false);
        break;
      case "policy":
        this.#dataplane.policies.put(change.policy);
        this.#policyTenants.add(change.policy.tenant);
        break;
      case "policy-removed":
        this.#dataplane.policies.remove(change.name);
        break;
      case "policy-member":
        this.#dataplane.policies.putMember(change.member);
        break;
      case "policy-member-removed":
        this.#dataplane.policies.removeMember(change.id);
        break;
      case "policies-removed": {
        const { policies, members } = this.#dataplane.policies.of(change.tenant);
        for (const name of [...policies.keys()]) this.#dataplane.policies.remove(name);
        for (const id of [...members.keys()]) this.#dataplane.policies.removeMember(id);
        this.#policyTenants.delete(change.tenant);
        break;
      }
    }
  }

  /** The addresses of an endpoint of this node, each with the length of what is on its link: subnet, or block. */
  addressesOf(endpoint: Pick<Endpoint, "ips" | "learnedIps">, { name, mode, subnets }: Network): InterfaceAddress[] {
    return interfaceAddresses(declaredIps(endpoint), mode === "l2" ? subnets : this.#server.ownBlocks(name));
  }

  /** The blocks of an l3 network that this node owns. */
  ownBlocks(network: string): readonly Cidr[] {
    return this.#server.ownBlocks(network);
  }

  /** The attachment of an endpoint came or went. */
  attachmentChanged(id: string): void {
    const endpoint = this.#own.get(id) ?? this.#moving.get(id);
    if (endpoint !== undefined) this.#placeHere(endpoint);
  }

  /** Of an l3 network what is elsewhere is in the block of its node; it is told for its name alone. */
  #putEndpoint(endpoint: Endpoint): void {
    const { id, network, node } = endpoint;
    this.names.put(endpoint);
    const isInBlock = this.#networks.get(network)?.network.mode === "l3" && node !== this.#node;
    if (isInBlock) this.#server.removeEndpoint(network, id);
    else this.#server.putEndpoint(endpoint);
    this.#placeHere(endpoint);
  }

  /** A network that asks for more than the underlay carries is set to less, or loses what is larger: that is told. */
  #judgeMtu({ network, change, effectiveMtu }: NetworkState): void {
    const object = mtuObject(network.name);
    const others = [...this.nodes.values()].filter(
      ({ name, vtepAddresses }) => name !== this.#node && vtepAddresses[network.underlay] !== undefined,
    );
    const carried = effectiveMtuOf(network, [{ name: this.#node, underlayMtu: this.#underlay.mtu }, ...others]);
    if (!carried.ok) this.#dataplane.problems.failed(object, carried.error);
    // While its way changes, a network's MTU is what every way carries.
    else if (network.mtu !== undefined && change === undefined && effectiveMtu < network.mtu)
      this.#dataplane.problems.failed(object, elsewhere(network.name, network.mtu, effectiveMtu));
    else this.#dataplane.problems.cleared(object);
  }

  #putNetwork(state: NetworkState): void {
    this.#judgeMtu(state);
    const settings = this.#settingsOf(state, waysNow(state));
    if (settings === undefined) return;
    const { name } = settings;
    const known = this.#dataplane.networks.get(name);
    const isSame = isDeepStrictEqual(known?.settings, settings);
    const network = known !== undefined && isSame ? known : this.#dataplane.putNetwork(settings);
    this.#carry(state.network, network);
    // MTU and learning of ports follow the network's, and so do the routes inside.
    if (isSame) return;
    for (const endpoints of [this.#moving, this.#own])
      for (const endpoint of [...endpoints.values()]) if (endpoint.network === name) this.#placeHere(endpoint);
  }

  /** The peers of the network with which that is in force, as far as this node is told of them. */
  #peersOf(network: Network): Network[] {
    return peersInForce(network, (name) => this.#networks.get(name)?.network);
  }

  /** What others make of a network that names them as peers, or did. */
  #peerChanged(before: Network | undefined, after: Network | undefined): void {
    if (before !== undefined && after !== undefined && isSameAsPeer(before, after)) return;
    for (const named of new Set([...(before?.peers ?? []), ...(after?.peers ?? [])])) {
      const peer = this.#networks.get(partsOfPeer(named).network);
      if (peer !== undefined) this.#putNetwork(peer);
    }
  }

  /** Lets the network have what is elsewhere: what it has already, what waited for it, and by the ways that it has now. */
  #carry({ name, mode, underlay, vteps }: Network, network: DesiredNetwork): void {
    const carried = this.#carried.get(name) ?? { underlay, fold: new Fold(network, (vtep) => this.#wayTo(name, vtep)) };
    const { fold } = carried;
    fold.moveTo(network);
    fold.setListed("static", staticPlaces({ vteps }));
    fold.waysChanged();
    if (mode === "l3") this.#setLocalBlocks(name, network);
    if (this.#carried.has(name)) return;
    this.#carried.set(name, carried);
    this.#server.networkCame(name);
  }

  /** `undefined`: this node has no place for the network. */
  #settingsOf({ network, placement }: NetworkState, now: WayNow): NetworkSettings | undefined {
    const { way, standby, mtu, deviceMtu } = now;
    const { vteps } = this.#underlay;
    const localVtep = vteps[network.underlay];
    if (localVtep === undefined) return undefined;
    const multicast = this.#multicastOf(network);
    if (multicast === "unusable") return undefined;
    const isServed = network.gateway === undefined || this.#isOccupied(network.name);
    return {
      name: network.name,
      tenant: network.tenant,
      placement,
      vni: network.vni,
      mode: network.mode,
      subnets: network.subnets,
      mtu,
      ...(deviceMtu === undefined ? {} : { deviceMtu }),
      ...(way.transport === undefined ? {} : { transport: way.transport }),
      standby: standby.flatMap(({ transport }) => transport ?? []),
      localVtep,
      flood: network.flood === "none" ? "none" : network.discovery === "static" ? "listed" : "head-end",
      floodsUnknown: network.flood !== "groups",
      arpSuppression: network.arpSuppression,
      learning: network.learning,
      localLearning: network.learningLimit > 0,
      vlanTags: network.vlanTags,
      antiSpoof: network.antiSpoof,
      stormControl: network.stormControl,
      answersDhcp: network.dhcp !== undefined,
      answersAtNodeAddress: isAnsweredThere(network),
      policyDefault: network.policyDefault,
      ...(network.bandwidth === undefined ? {} : { bandwidth: network.bandwidth }),
      ...(network.endpointBandwidth === undefined ? {} : { endpointBandwidth: network.endpointBandwidth }),
      ...(network.dscp === undefined ? {} : { dscp: network.dscp }),
      ageing: network.ageing,
      ...(multicast === undefined ? {} : { multicast }),
      gateways: this.#gatewaysOf(network),
      egress: network.egress && isServed,
      egressBlocked: network.egressBlocked,
      hostAccess: network.hostAccess && isServed,
      // One that this node has no place for leads nowhere.
      peers: this.#peersOf(network)
        .filter(({ underlay }) => vteps[underlay] !== undefined)
        .map(({ name, tenant, subnets }) => ({ network: name, tenant, subnets })),
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
      return this.#server.ownBlocks(network.name).map((cidr) => ({
        address: blockGateway(cidr),
        prefixLength: prefixLengthOf(cidr),
      }));
    return interfaceAddresses(nodeGateways(network), network.subnets);
  }

  /** Whether something of the network is here. Else the node does no more than to route into it from others of its tenant. */
  #isOccupied(name: string): boolean {
    if (this.#server.ownBlocks(name).length > 0) return true;
    return this.#own.values().some(({ network }) => network === name);
  }

  /** Changes what is here of the network, which may be the first of it, or the last. */
  #occupying(name: string, change: () => unknown): void {
    const state = this.#networks.get(name);
    const { gateway, egress = false, hostAccess = false } = state?.network ?? {};
    const matters = gateway !== undefined && (egress || hostAccess);
    const before = matters && this.#isOccupied(name);
    change();
    if (state !== undefined && matters && this.#isOccupied(name) !== before) this.#putNetwork(state);
  }

  /** A block that is, or was, this node's changes the bridge. */
  #blockChanged(name: string, cidr: Cidr, isOwn: boolean): void {
    const state = this.#networks.get(name);
    const wasOwn = this.#dataplane.networks.get(name)?.localBlocks.has(cidr) === true;
    if (state !== undefined && (isOwn || wasOwn)) this.#putNetwork(state);
  }

  #setLocalBlocks(name: string, network: DesiredNetwork): void {
    const isDirect = this.#waysOf(name).some((each) => each.isDirect);
    network.setLocalBlocks(this.#server.ownBlocks(name).map((cidr) => ({ cidr, isDirect })));
  }

  /** The ways that the network is received on, first the one that it is sent on. */
  #waysOf(name: string): readonly Way[] {
    const state = this.#networks.get(name);
    if (state === undefined) return [];
    const { way, standby } = waysNow(state);
    return [way, ...standby];
  }

  #wayTo(name: string, vtep: IpAddress): ReturnType<WayTo> {
    const [isDirect = false, ...others] = this.#waysOf(name).map((way) => this.#isDirect(way, vtep));
    return { isDirect, isFromLink: isDirect || others.includes(true) };
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

  /** What of the endpoint is here: a port where it is attached, whatever its place, or what was learned behind one. */
  #placeHere(endpoint: Endpoint): void {
    const { id } = endpoint;
    const belongsHere = endpoint.node === this.#node;
    const attachment = this.#attachments.get(id);
    const port =
      attachment !== undefined && attachment.state !== "releasing" && hasPort(attachment) ? attachment : undefined;
    const isHere = belongsHere || port !== undefined;
    this.#follow(endpoint, port !== undefined);
    if (!isHere && !this.#own.has(id)) return;
    this.#occupying(endpoint.network, () => (isHere ? this.#own.set(id, endpoint) : this.#own.delete(id)));
    const network = this.#dataplane.networks.get(endpoint.network);
    const declared = this.#networks.get(endpoint.network)?.network;
    if (network === undefined || declared === undefined) return;
    if (belongsHere && endpoint.attachment === "learned")
      network.putLearned({ id, mac: endpoint.mac, ips: endpoint.ips });
    else if (port === undefined) {
      network.removeHere(id);
      return;
    } else
      network.putLocal({
        ...portOf(port),
        ...insideOf(endpoint, network.settings),
        addresses: withOwnLink(this.addressesOf(endpoint, declared), network.settings, port),
        ...(!belongsHere && endpoint.standby?.node === this.#node ? { standsBy: true } : {}),
      });
    network.setFloating(id, belongsHere ? floatingOf(endpoint) : []);
  }

  /** What goes on about its move, as far as this node has to do with it. */
  #follow(endpoint: Endpoint, hasPort: boolean): void {
    const { id, network, node, mac, standby, formerNodes = [] } = endpoint;
    const standsHere = standby?.node === this.#node;
    const leftHere = node !== this.#node && formerNodes.includes(this.#node);
    const isLeaving = node === this.#node && standby !== undefined;
    // What this node is about to have again it sends nowhere.
    const isForwarded = isLeaving || (leftHere && !standsHere);
    this.#dataplane.networks.get(network)?.setForwarded(id, isForwarded ? mac : undefined);
    if (isLeaving || standsHere || leftHere || (hasPort && node !== this.#node)) this.#moving.set(id, endpoint);
    else this.#moving.delete(id);
  }
}

/**
 * On the host everything passes the router, so that what its rules translate they translate back, also between two on one bridge: a
 * container has nobody on its link but the gateway. An engine that gives addresses itself has its own way.
 */
function withOwnLink(
  addresses: readonly InterfaceAddress[],
  { placement }: NetworkSettings,
  { place }: PortAttachment,
): readonly InterfaceAddress[] {
  if (placement !== "host" || place.kind !== "netns") return addresses;
  return addresses.map(({ address }) => ({ address, prefixLength: prefixLengthOf(hostPrefix(address)) }));
}

/** What is kept of it here alone. */
function portOf({
  place,
  allowedAddresses,
  bandwidth,
  published,
}: PortAttachment): Pick<LocalEndpoint, "place" | "allowedAddresses" | "bandwidth" | "published"> {
  return {
    place,
    allowedAddresses,
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(published === undefined ? {} : { published }),
  };
}

/** Whether a network is the same to its peers. */
function isSameAsPeer(one: Network, other: Network): boolean {
  return (
    one.gateway === other.gateway &&
    one.tenant === other.tenant &&
    isSameList(one.peers, other.peers) &&
    isSameList(one.subnets, other.subnets)
  );
}

/** What of the endpoint its interface shall have, but for addresses. */
function insideOf(
  { id, mac, ips, learnedIps, labels }: Endpoint,
  settings: NetworkSettings,
): Pick<LocalEndpoint, "id" | "mac" | "learnedIps" | "labels" | "gateways"> {
  const gateways = settings.gateways
    .filter(({ address, prefixLength }) => ips.some((ip) => cidrContains(cidrOf(address, prefixLength), ip)))
    .map(({ address }) => address);
  return {
    id,
    mac,
    gateways,
    ...(learnedIps === undefined ? {} : { learnedIps }),
    ...(labels === undefined ? {} : { labels }),
  };
}

function floatingOf({ floatingAddresses = [] }: Endpoint): Floating[] {
  return floatingAddresses.map(({ name, endpoint, announce }) => ({
    outside: name,
    inside: endpoint,
    isAnnounced: announce === "link",
  }));
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

/** Each address with the length of the prefix that holds it. */
export function interfaceAddresses(ips: readonly IpAddress[], subnets: readonly Cidr[]): InterfaceAddress[] {
  return ips.flatMap((address) => {
    const subnet = subnets.find((candidate) => cidrContains(candidate, address));
    return subnet === undefined ? [] : [{ address, prefixLength: prefixLengthOf(subnet) }];
  });
}
