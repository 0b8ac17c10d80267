import { type Cidr, cidrContains, type InterfaceAddress, networkAddress } from "../base/cidr.ts";
import { familyOf, type IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import type { TapSettings } from "../linux/index.ts";
import type { Dscp } from "../model/dscp.ts";
import { encapsulations, type TunnelTransport } from "../model/encapsulation.ts";
import type { AllowedAddress, Bandwidth, Learning, NetworkMode, Placement, StormControl, Vni } from "../model/index.ts";
import { minimumMtu } from "../model/mtu.ts";
import type { Labels } from "../model/policy/index.ts";
import type { PublishedPort } from "../model/published-port.ts";
import { type EndpointsBy, type RemoteEndpoint, RemoteEndpoints, type RemotePlace } from "./remote-endpoints.ts";
import type { Floating } from "./uplink/request.ts";

/** The group that a network floods to, and the underlay interface that joins it. */
export interface MulticastGroup {
  readonly address: IpAddress;
  /** Hops that frames may take. */
  readonly ttl: number;
  readonly interfaceIndex: number;
}

/** A network of another tenant that packets of this one are routed to, and from. */
export interface PeerNetwork {
  readonly network: string;
  readonly tenant: string;
  readonly subnets: readonly Cidr[];
}

/** What one network shall be on this node, but for its endpoints and blocks. */
export interface NetworkSettings {
  readonly name: string;
  readonly tenant: string;
  /** Of its tenant: where its devices and routes are. */
  readonly placement: Placement;
  readonly vni: Vni;
  readonly mode: NetworkMode;
  readonly subnets: readonly Cidr[];
  /** Octets of the largest inner packet that endpoints, and this node as a gateway, send. */
  readonly mtu: number;
  /** The same that devices let pass, where that is more: other nodes may send so, yet or already. */
  readonly deviceMtu?: number;
  /** How packets leave; absent: not in a tunnel. */
  readonly transport?: TunnelTransport;
  /** Tunnels that are received from as well, because other nodes may send so, yet or still. */
  readonly standby: readonly TunnelTransport[];
  /** This node's VTEP address. */
  readonly localVtep: IpAddress;
  /** Who gets a copy of each flooded frame where there is no group: all peers, those that are listed, or nobody. */
  readonly flood: "head-end" | "listed" | "none";
  /** Whether frames to MAC addresses that nobody is known to have are flooded as broadcast is, rather than dropped. */
  readonly floodsUnknown: boolean;
  readonly arpSuppression: boolean;
  readonly learning: Learning;
  /** Whether MACs behind ports are learned that nobody declared. */
  readonly localLearning: boolean;
  /** Whether frames with a VLAN tag pass. */
  readonly vlanTags: boolean;
  /** Whether endpoints send with addresses of their own alone. */
  readonly antiSpoof: boolean;
  readonly stormControl: StormControl;
  /** Whether this node answers DHCP and router solicitations of its endpoints, which go no further then. */
  readonly answersDhcp: boolean;
  /** Whether it answers them at {@link nodeAddress}, from which nothing goes further then. */
  readonly answersAtNodeAddress: boolean;
  /** What becomes of packets of its endpoints of which no policy says anything. */
  readonly policyDefault: "allow" | "deny";
  /** Of all endpoints here together. */
  readonly bandwidth?: Bandwidth;
  /** Of each endpoint that has none of its own. */
  readonly endpointBandwidth?: Bandwidth;
  /** Of outer packets. Absent: 0. */
  readonly dscp?: Dscp;
  /** Seconds after which what was learned and not heard of is forgotten. */
  readonly ageing: number;
  readonly multicast?: MulticastGroup;
  /** Addresses of the bridge: this node is the gateway of its endpoints. */
  readonly gateways: readonly InterfaceAddress[];
  /** Endpoints reach the outside through this node. */
  readonly egress: boolean;
  /** Prefixes that they do not reach all the same. */
  readonly egressBlocked: readonly Cidr[];
  /** This node reaches the endpoints on it. */
  readonly hostAccess: boolean;
  /** Each of them has this one as a peer, too. */
  readonly peers: readonly PeerNetwork[];
}

/** Octets of the largest inner packet that devices let pass. */
export function deviceMtuOf({ mtu, deviceMtu = mtu }: Pick<NetworkSettings, "mtu" | "deviceMtu">): number {
  return deviceMtu;
}

/** What the other end of an endpoint's port is in. */
export type PortPlace = NamespacePlace | DevicePlace | SandboxPlace;

/** A container's namespace, in which the end is its interface. */
export interface NamespacePlace {
  readonly kind: "netns";
  /** Path of the namespace that the interface is put into. */
  readonly netns: string;
  readonly interface: string;
  /** The namespace that the path must mean; 0: whichever it means. */
  readonly inode: number;
  /** 1 to 99,999: of several networks of one container the one with the lowest gives the default route. */
  readonly routePriority: number;
}

/** The host's own namespace, in which the end is joined with a device: what one of both receives the other sends. */
export interface DevicePlace {
  readonly kind: "device";
  /** Its name. */
  readonly device: string;
  /** It is a tap that weft makes; absent: it is somebody else's. */
  readonly tap?: TapSettings;
}

/**
 * A sandbox of a container engine's. The end is put into the host's own namespace, and down; the engine moves it into the sandbox,
 * and gives it name, addresses and routes there.
 */
export interface SandboxPlace {
  readonly kind: "sandbox";
  /** Path of the sandbox's namespace, as the engine says; empty: it has not said. It may be a path of the engine's alone. */
  readonly netns: string;
}

/** An endpoint that has a port here: a veth pair, of which one end is on the network's bridge. */
export interface LocalEndpoint {
  readonly id: string;
  readonly mac: MacAddress;
  readonly addresses: readonly InterfaceAddress[];
  /** Further addresses that were found to be in use with its MAC: nothing of them is set up here. */
  readonly learnedIps?: readonly IpAddress[];
  readonly place: PortPlace;
  /** What it may send with beside its own addresses. */
  readonly allowedAddresses?: readonly AllowedAddress[];
  /** In place of what the network says for each endpoint, in the directions that it has. */
  readonly bandwidth?: Bandwidth;
  /** Ports of this node that lead to it. Absent: none. */
  readonly published?: readonly PublishedPort[];
  /** What policies know it by. Absent: none. */
  readonly labels?: Labels;
  /** It is on another node yet: its port sends nothing, and gets nothing. */
  readonly standsBy?: boolean;
  /** This node's addresses towards which its default routes go; none: it gets none. */
  readonly gateways?: readonly IpAddress[];
}

/** An endpoint of this node that was found behind a port and never declared: the bridge has its MAC from the traffic. */
export interface LearnedEndpoint {
  readonly id: string;
  readonly mac: MacAddress;
  readonly ips: readonly IpAddress[];
}

/** A block that has its place elsewhere. */
export interface RemoteBlock extends RemotePlace {
  readonly cidr: Cidr;
  /** Reached without a tunnel: the VTEP is on a link of this node. */
  readonly isDirect: boolean;
  /** Packets from it may come without a tunnel: it is direct, or was or will be in a moment. */
  readonly isFromLink: boolean;
}

/** A block of this node. */
export interface LocalBlock {
  readonly cidr: Cidr;
  /** Others reach it without a tunnel. */
  readonly isDirect: boolean;
}

/** Who looks at the rows that a change touches. */
export interface RowMarks {
  /** Where frames for the MAC go. */
  mac(mac: MacAddress): unknown;
  /** Which MAC the address has. */
  ip(ip: IpAddress): unknown;
  /** Where packets for the block, or the subnet, go. */
  block(cidr: Cidr): unknown;
  /** Whether the VTEP, or the group, gets copies of what is flooded. */
  flooded(vtep: IpAddress): unknown;
}

/** Who looks at the devices that a change touches. */
export interface DeviceMarks {
  /** All of them: settings of the network are others. */
  settings(): void;
  /** The VTEP came or went. */
  peer(vtep: IpAddress): unknown;
  /** The port of the endpoint came, went or changed, or its MAC came back to it from elsewhere. */
  port(endpoint: string): unknown;
  /** Other endpoints that left this node are forwarded to, or at other places. */
  forwarding(): unknown;
}

/**
 * What one network shall be on this node. Changes mark the rows that they touch, so that the work that follows
 * grows with the change and not with the network.
 *
 * That an endpoint has a port here and that its place is elsewhere are two facts, and while it moves both hold. Its rows lead
 * to the place elsewhere as long as there is one: of two ports the one that the sources name has the traffic.
 */
export class DesiredNetwork {
  settings: NetworkSettings;
  readonly #remotes = new RemoteEndpoints();
  readonly #locals = new Map<string, LocalEndpoint>();
  readonly #localsByIp = new Map<IpAddress, LocalEndpoint>();
  readonly #localsByMac = new Map<MacAddress, LocalEndpoint>();
  readonly #learned = new Map<string, LearnedEndpoint>();
  /** Addresses that were found behind ports here. */
  readonly #learnedMacs = new Map<IpAddress, MacAddress>();
  /** Endpoints at whose ports nothing is learned for a while: it was too much. */
  readonly #deaf = new Set<string>();
  /** Addresses of the underlay that stand for endpoints here, by endpoint. */
  readonly #floating = new Map<string, readonly Floating[]>();
  /** MACs of endpoints that left this node, by endpoint. */
  readonly #forwarded = new Map<string, MacAddress>();
  readonly #blocks = new Map<Cidr, RemoteBlock>();
  readonly #localBlocks = new Map<Cidr, LocalBlock>();
  /** VTEPs of what is elsewhere, with how much is behind each. */
  readonly #vteps = new Map<IpAddress, number>();
  /** VTEPs that are named for the network as a whole, among them such as do not run weft. */
  #remoteVteps: readonly IpAddress[] | undefined;
  #peers: ReadonlySet<IpAddress> | undefined;
  #listed: ReadonlySet<IpAddress> = noVteps;
  /** VTEPs of nodes that route into it from others. */
  readonly #routers = new Set<IpAddress>();
  /**
   * Of a layer-2 network whose endpoints are all told: addresses that lost a MAC, and which, since somebody last took
   * note and cleared it.
   */
  readonly formerMacs = new Map<IpAddress, MacAddress>();
  #rows: RowMarks | undefined;
  #devices: DeviceMarks | undefined;

  constructor(settings: NetworkSettings) {
    this.settings = settings;
  }

  /** From now on told what changes touch; what was before they must look at by themselves. */
  markedBy(rows: RowMarks, devices: DeviceMarks): void {
    this.#rows = rows;
    this.#devices = devices;
  }

  setSettings(settings: NetworkSettings): void {
    const before = this.settings;
    const flooded = this.floodList;
    this.settings = settings;
    this.#peers = undefined;
    this.#devices?.settings();
    this.#floodsFormerly(flooded);
    for (const subnet of differing(before.subnets, settings.subnets)) this.#rows?.block(subnet);
    if (resolvesLocals(before) !== resolvesLocals(settings)) this.#markLocalIps();
    const { transport, learning } = settings;
    // Other tunnels and other learning mean other places for every row.
    if (!sameTransport(before.transport, transport) || before.learning !== learning) this.#markRows();
    // With an MTU that IPv6 can use come its rows, and go with one that it cannot.
    if (before.mtu < minimumMtu[6] !== settings.mtu < minimumMtu[6]) this.#markRows();
  }

  /** Takes VTEPs that are named for the network as a whole. */
  setListed(vteps: readonly IpAddress[]): void {
    const { peers, floodList } = this;
    this.#listed = new Set(vteps);
    this.#peers = undefined;
    for (const vtep of differing(peers, this.peers)) this.#devices?.peer(vtep);
    this.#floodsFormerly(floodList);
  }

  /** A node behind the VTEP routes into the network from others, whether it has something in it or not. */
  setRouter(vtep: IpAddress, routes: boolean): void {
    if (this.#routers.has(vtep) === routes) return;
    if (routes) this.#routers.add(vtep);
    else this.#routers.delete(vtep);
    if (this.#isNamed(vtep)) return;
    this.#peers = undefined;
    this.#devices?.peer(vtep);
  }

  /** The place of the endpoint is elsewhere; whether it has a port here, too, is another question. */
  putRemote(endpoint: RemoteEndpoint): void {
    this.#removeLearned(endpoint.id);
    const before = this.#remotes.get(endpoint.id);
    if (before !== undefined) this.#forget(before);
    for (const ip of endpoint.ips) if (this.macOf(ip) !== endpoint.mac) this.#leaveMac(ip);
    this.#remotes.put(endpoint);
    if (this.#forwarded.has(endpoint.id)) this.#devices?.forwarding();
    this.#rows?.mac(endpoint.mac);
    for (const ip of endpoint.ips) this.#rows?.ip(ip);
    this.#usePeer(endpoint.vtep);
  }

  putBlock(block: RemoteBlock): void {
    const before = this.#blocks.get(block.cidr);
    this.#blocks.set(block.cidr, block);
    this.#rows?.block(block.cidr);
    this.#usePeer(block.vtep);
    if (before !== undefined) this.#leavePeer(before.vtep);
  }

  removeBlock(cidr: Cidr): void {
    const block = this.#blocks.get(cidr);
    if (block === undefined) return;
    this.#blocks.delete(cidr);
    this.#rows?.block(cidr);
    this.#leavePeer(block.vtep);
  }

  setLocalBlocks(blocks: readonly LocalBlock[]): void {
    const before = [...this.#localBlocks.keys()];
    this.#localBlocks.clear();
    for (const block of blocks) this.#localBlocks.set(block.cidr, block);
    for (const cidr of differing(before, this.#localBlocks.keys())) this.#rows?.block(cidr);
  }

  putLearned(endpoint: LearnedEndpoint): void {
    this.removeRemote(endpoint.id);
    this.#setLearnedIps(this.#learned.get(endpoint.id), endpoint);
    this.#learned.set(endpoint.id, endpoint);
  }

  /** The endpoint has a port here; whether its place is elsewhere is another question. */
  putLocal(endpoint: LocalEndpoint): void {
    const before = this.#locals.get(endpoint.id);
    if (before !== undefined) this.#forgetMac(before);
    this.#locals.set(endpoint.id, endpoint);
    this.#localsByMac.set(endpoint.mac, endpoint);
    for (const { address } of endpoint.addresses) {
      if (this.#localsByIp.get(address)?.mac !== endpoint.mac) this.#rows?.ip(address);
      if (this.macOf(address) !== endpoint.mac) this.#leaveMac(address);
      this.#localsByIp.set(address, endpoint);
    }
    if (before !== undefined) this.#forgetIps(before);
    this.#setLearnedIps(learnedOf(before), learnedOf(endpoint));
    this.#devices?.port(endpoint.id);
  }

  /** Takes the addresses of the underlay that stand for an endpoint here. The uplink is compared with them in each pass. */
  setFloating(id: string, floating: readonly Floating[]): void {
    if (floating.length === 0) this.#floating.delete(id);
    else this.#floating.set(id, floating);
  }

  /** What other nodes send here to an endpoint of this MAC, which has left this node or is about to, goes on to its place; `undefined`: no more. */
  setForwarded(id: string, mac: MacAddress | undefined): void {
    if (this.#forwarded.get(id) === mac) return;
    if (mac === undefined) this.#forwarded.delete(id);
    else this.#forwarded.set(id, mac);
    this.#devices?.forwarding();
  }

  /** MACs of endpoints that are forwarded to as soon as their places are elsewhere, by endpoint. None where tunnels learn for themselves. */
  get forwarded(): ReadonlyMap<string, MacAddress> {
    return this.settings.learning === "control-plane" ? this.#forwarded : noForwarded;
  }

  /** Of all endpoints here. */
  get floating(): Floating[] {
    return [...this.#floating.values()].flat();
  }

  /** Whether anything is learned at the endpoint's port, in a network that learns. */
  setDeaf(id: string, isDeaf: boolean): void {
    if (this.#deaf.has(id) === isDeaf || !this.#locals.has(id)) return;
    if (isDeaf) this.#deaf.add(id);
    else this.#deaf.delete(id);
    this.#devices?.port(id);
  }

  /** The settings as they are for the port of an endpoint. */
  settingsOfPort(id: string): NetworkSettings {
    return this.#deaf.has(id) ? { ...this.settings, localLearning: false } : this.settings;
  }

  /** The endpoint is gone, wherever it was. */
  remove(id: string): void {
    this.removeRemote(id);
    this.removeHere(id);
  }

  /** Nothing of the endpoint is here any more: no port, nor what was learned. */
  removeHere(id: string): void {
    this.#floating.delete(id);
    this.removeLocal(id);
    this.#removeLearned(id);
  }

  removeRemote(id: string): void {
    const endpoint = this.#remotes.get(id);
    if (endpoint !== undefined) this.#forget(endpoint);
  }

  removeLocal(id: string): void {
    const endpoint = this.#locals.get(id);
    if (endpoint === undefined) return;
    this.#setLearnedIps(learnedOf(endpoint), undefined);
    this.#deaf.delete(id);
    this.#locals.delete(id);
    this.#forgetMac(endpoint);
    this.#forgetIps(endpoint);
    this.#devices?.port(id);
  }

  remote(id: string): RemoteEndpoint | undefined {
    return this.#remotes.get(id);
  }

  local(id: string): LocalEndpoint | undefined {
    return this.#locals.get(id);
  }

  /** FDB of the tunnel: MAC → remote endpoint. None where the kernel learns from what it receives. */
  get remotesByMac(): EndpointsBy<MacAddress> {
    return this.settings.learning === "control-plane" ? this.#remotes.byMac : noMacs;
  }

  /** Neighbours of the bridge: IP → remote endpoint. */
  get remotesByIp(): EndpointsBy<IpAddress> {
    return this.settings.learning === "control-plane" ? this.#remotes.byIp : noIps;
  }

  /** Neighbours of the bridge: IP → endpoint here that was given the address. None where the bridge need not know. */
  get localsByIp(): ReadonlyMap<IpAddress, LocalEndpoint> {
    return resolvesLocals(this.settings) ? this.#localsByIp : noLocals;
  }

  /** The endpoints elsewhere that have the MAC or an address of this one now, whether or not rows are made of it. */
  remotesLike({ mac, ips }: Pick<RemoteEndpoint, "mac" | "ips">): readonly RemoteEndpoint[] {
    const found = new Map<string, RemoteEndpoint>();
    for (const endpoint of [this.#remotes.byMac.get(mac), ...ips.map((ip) => this.#remotes.byIp.get(ip))])
      if (endpoint !== undefined) found.set(endpoint.id, endpoint);
    return [...found.values()];
  }

  /** The MAC that the bridge shall have for an address. It has none for IPv6 where its MTU is too small (RFC 8200 §5). */
  neighbourMac(ip: IpAddress): MacAddress | undefined {
    if (this.settings.mtu < minimumMtu[6] && familyOf(ip) === 6) return undefined;
    return this.localsByIp.get(ip)?.mac ?? this.#remoteMacOf(ip);
  }

  /** Addresses that the bridge shall have a MAC for, each once. */
  *neighbourIps(): Iterable<IpAddress> {
    const { localsByIp, remotesByIp } = this;
    for (const ip of localsByIp.keys()) if (this.neighbourMac(ip) !== undefined) yield ip;
    for (const ip of remotesByIp.keys()) if (!localsByIp.has(ip) && this.neighbourMac(ip) !== undefined) yield ip;
  }

  /** Whether an endpoint with the MAC has its place elsewhere: that, and no port here, is where its frames go. */
  isElsewhere(mac: MacAddress): boolean {
    return this.remotesByMac.has(mac);
  }

  /** Whether an endpoint here has the MAC: the bridge has it at its port, unless its place is elsewhere. */
  hasLocalMac(mac: MacAddress): boolean {
    if (this.#localsByMac.has(mac)) return true;
    for (const endpoint of this.#learned.values()) if (endpoint.mac === mac) return true;
    return false;
  }

  /** Whether the MAC was given to an endpoint, here or elsewhere: not such as were found to be in use. */
  isDeclaredMac(mac: MacAddress): boolean {
    if (this.#localsByMac.has(mac)) return true;
    const holder = this.#remotes.byMac.get(mac);
    return holder !== undefined && holder.isLearned !== true;
  }

  /** Whether the address was given to an endpoint, here or elsewhere, or to the gateway. */
  isDeclaredIp(ip: IpAddress): boolean {
    if (this.#localsByIp.has(ip) || this.settings.gateways.some(({ address }) => address === ip)) return true;
    const holder = this.#remotes.byIp.get(ip);
    return holder !== undefined && holder.isLearned !== true && holder.learnedIps?.includes(ip) !== true;
  }

  /** The addresses of all endpoints, and of the gateways. */
  *claimableIps(): Iterable<IpAddress> {
    yield* this.#localsByIp.keys();
    yield* this.#remotes.byIp.keys();
    for (const { address } of this.settings.gateways) yield address;
  }

  /** The MACs of endpoints with a port here, and of those elsewhere, each once. */
  *macs(): Iterable<MacAddress> {
    yield* this.#localsByMac.keys();
    for (const mac of this.#remotes.byMac.keys()) if (!this.#localsByMac.has(mac)) yield mac;
  }

  /** Whether {@link macs} has it. */
  hasMac(mac: MacAddress): boolean {
    return this.#localsByMac.has(mac) || this.#remotes.byMac.has(mac);
  }

  /** The MAC that an address has, whether or not the bridge need know. None of what was learned here, which told so itself. */
  macOf(ip: IpAddress): MacAddress | undefined {
    return this.#localsByIp.get(ip)?.mac ?? this.#remoteMacOf(ip);
  }

  /** Endpoints here that were learned, by id. */
  get learned(): ReadonlyMap<string, LearnedEndpoint> {
    return this.#learned;
  }

  /** Blocks of other nodes. */
  get blocks(): ReadonlyMap<Cidr, RemoteBlock> {
    return this.#blocks;
  }

  get localBlocks(): ReadonlyMap<Cidr, LocalBlock> {
    return this.#localBlocks;
  }

  get remotes(): Pick<RemoteEndpoints, "size" | "values"> {
    return this.#remotes;
  }

  get locals(): ReadonlyMap<string, LocalEndpoint> {
    return this.#locals;
  }

  /** VTEPs that are named for the network as a whole, among them such as do not run weft. */
  get listed(): ReadonlySet<IpAddress> {
    return this.#listed;
  }

  /** VTEPs of nodes that route into it from others. */
  get routers(): ReadonlySet<IpAddress> {
    return this.#routers;
  }

  /** VTEPs that something of the network is behind. The same list until it changes. */
  get remoteVteps(): readonly IpAddress[] {
    this.#remoteVteps ??= [...this.#vteps.keys()];
    return this.#remoteVteps;
  }

  /**
   * VTEPs that packets of this network are exchanged with: {@link remoteVteps}, those that are listed for it, and those of nodes
   * that route into it. The same set until it changes.
   */
  get peers(): ReadonlySet<IpAddress> {
    if (this.#peers === undefined) {
      const peers = new Set([...this.#vteps.keys(), ...this.#listed, ...this.#routers]);
      peers.delete(this.settings.localVtep);
      this.#peers = peers;
    }
    return this.#peers;
  }

  /** Whether {@link peers} has the VTEP. */
  hasPeer(vtep: IpAddress): boolean {
    return vtep !== this.settings.localVtep && (this.#isNamed(vtep) || this.#routers.has(vtep));
  }

  /** Whether something of the network is behind the VTEP, or may be: it is one of those that are listed. */
  #isNamed(vtep: IpAddress): boolean {
    return this.#vteps.has(vtep) || this.#listed.has(vtep);
  }

  /** Who gets a copy of each flooded frame: VTEPs, or the one group. */
  get floodList(): readonly IpAddress[] {
    const { multicast } = this.settings;
    const candidates = multicast === undefined ? [...this.peers] : [multicast.address];
    return candidates.filter((each) => this.floodsTo(each));
  }

  /** Whether {@link floodList} has the VTEP or group. */
  floodsTo(vtep: IpAddress): boolean {
    const { mode, flood, multicast } = this.settings;
    if (mode === "l3" || flood === "none") return false;
    if (multicast !== undefined) return multicast.address === vtep;
    if (vtep === this.settings.localVtep || !this.#isNamed(vtep)) return false;
    return flood === "head-end" || this.#listed.has(vtep);
  }

  /** Whether the prefix lies in one of the network's subnets. */
  owns(prefix: Cidr): boolean {
    return this.settings.subnets.some((subnet) => cidrContains(subnet, networkAddress(prefix)));
  }

  #markRows(): void {
    for (const mac of this.#remotes.byMac.keys()) this.#rows?.mac(mac);
    for (const ip of this.#remotes.byIp.keys()) this.#rows?.ip(ip);
    this.#markLocalIps();
    for (const cidr of this.#blocks.keys()) this.#rows?.block(cidr);
  }

  /** Marks what leads to these VTEPs. */
  markRowsTo(vteps: ReadonlySet<IpAddress | undefined>): void {
    for (const { vtep, mac } of this.#remotes.values()) if (vteps.has(vtep)) this.#rows?.mac(mac);
    for (const { vtep, cidr } of this.#blocks.values()) if (vteps.has(vtep)) this.#rows?.block(cidr);
  }

  /** FDB entries refer to VTEPs by nexthops: those of a tunnel that serves all VTEPs. */
  get usesNexthops(): boolean {
    const { transport, learning } = this.settings;
    if (transport === undefined || learning !== "control-plane") return false;
    return encapsulations[transport.encapsulation].devices === "shared";
  }

  /** A row whose MAC or IP another endpoint has taken over meanwhile stays with that one. */
  #forget(endpoint: RemoteEndpoint): void {
    for (const ip of endpoint.ips) if (this.#remotes.byIp.get(ip)?.id === endpoint.id) this.#leaveMac(ip);
    this.#remotes.remove(endpoint.id);
    this.#rows?.mac(endpoint.mac);
    const local = this.#localsByMac.get(endpoint.mac);
    if (local !== undefined) this.#devices?.port(local.id);
    for (const ip of endpoint.ips) this.#rows?.ip(ip);
    this.#leavePeer(endpoint.vtep);
  }

  #removeLearned(id: string): void {
    this.#setLearnedIps(this.#learned.get(id), undefined);
    this.#learned.delete(id);
  }

  #forgetMac(endpoint: LocalEndpoint): void {
    if (this.#localsByMac.get(endpoint.mac) === endpoint) this.#localsByMac.delete(endpoint.mac);
  }

  #forgetIps(endpoint: LocalEndpoint): void {
    for (const { address } of endpoint.addresses)
      if (this.#localsByIp.get(address) === endpoint) {
        this.#leaveMac(address);
        this.#localsByIp.delete(address);
        this.#rows?.ip(address);
      }
  }

  #setLearnedIps(before: LearnedIps | undefined, after: LearnedIps | undefined): void {
    for (const ip of before?.ips ?? []) {
      if (this.#learnedMacs.get(ip) !== before?.mac || (after?.mac === before?.mac && after?.ips.includes(ip)))
        continue;
      this.#leaveMac(ip);
      this.#learnedMacs.delete(ip);
    }
    for (const ip of after?.ips ?? []) if (after !== undefined) this.#learnedMacs.set(ip, after.mac);
  }

  #leaveMac(ip: IpAddress): void {
    const { mode, learning } = this.settings;
    const mac = this.macOf(ip) ?? this.#learnedMacs.get(ip);
    if (mode === "l2" && learning === "control-plane" && mac !== undefined && !this.formerMacs.has(ip))
      this.formerMacs.set(ip, mac);
  }

  #remoteMacOf(ip: IpAddress): MacAddress | undefined {
    return this.settings.learning === "control-plane" ? this.#remotes.macOf(ip) : undefined;
  }

  #markLocalIps(): void {
    for (const ip of this.#localsByIp.keys()) this.#rows?.ip(ip);
  }

  #usePeer(vtep: IpAddress): void {
    const users = this.#vteps.get(vtep) ?? 0;
    this.#vteps.set(vtep, users + 1);
    if (users === 0) this.#peersChanged(vtep);
  }

  #leavePeer(vtep: IpAddress): void {
    const users = (this.#vteps.get(vtep) ?? 1) - 1;
    if (users > 0) this.#vteps.set(vtep, users);
    else {
      this.#vteps.delete(vtep);
      this.#peersChanged(vtep);
    }
  }

  #floodsFormerly(flooded: readonly IpAddress[]): void {
    for (const vtep of differing(flooded, this.floodList)) this.#rows?.flooded(vtep);
  }

  #peersChanged(vtep: IpAddress): void {
    this.#remoteVteps = undefined;
    this.#peers = undefined;
    this.#devices?.peer(vtep);
    this.#rows?.flooded(vtep);
  }
}

/** What is in one of the two alone. */
function differing<Value>(before: Iterable<Value>, after: Iterable<Value>): ReadonlySet<Value> {
  return new Set(before).symmetricDifference(new Set(after));
}

type LearnedIps = Pick<LearnedEndpoint, "mac" | "ips">;

function learnedOf(endpoint: LocalEndpoint | undefined): LearnedIps | undefined {
  return endpoint?.learnedIps === undefined ? undefined : { mac: endpoint.mac, ips: endpoint.learnedIps };
}

const noVteps: ReadonlySet<IpAddress> = new Set();
const noForwarded: ReadonlyMap<string, MacAddress> = new Map();
const noMacs: EndpointsBy<MacAddress> = new Map();
const noIps: EndpointsBy<IpAddress> = new Map();
const noLocals: ReadonlyMap<IpAddress, LocalEndpoint> = new Map();

/**
 * Whether the bridge holds this node's own endpoints as neighbours: as a gateway it sends to them, and nobody else shall
 * tell it where; with suppression it keeps questions for them from the tunnels.
 */
function resolvesLocals({ gateways, arpSuppression }: NetworkSettings): boolean {
  return gateways.length > 0 || arpSuppression;
}

function sameTransport(a: TunnelTransport | undefined, b: TunnelTransport | undefined): boolean {
  return a?.encapsulation === b?.encapsulation && a?.port === b?.port;
}
