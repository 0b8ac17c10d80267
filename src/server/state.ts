import { createHash, randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { kinds } from "../api/kinds.ts";
import type { Cidr } from "../base/cidr.ts";
import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { NumberSet } from "../base/number-set.ts";
import { AddressPool } from "../model/allocation.ts";
import { maxVni } from "../model/encapsulation.ts";
import { FloatingIndex } from "../model/floating-index.ts";
import { type PlainKind, plainKinds, type Resources } from "../model/kinds.ts";
import { usableMtu } from "../model/mtu.ts";
import { NetworkIndex } from "../model/network-index.ts";
import { vtepsOf } from "../model/node-registration.ts";
import { peersInForce } from "../model/peering.ts";
import { mtusInPhase, type NetworkChange } from "../model/phase.ts";
import type { Policy } from "../model/policy/index.ts";
import {
  type Block,
  type Endpoint,
  type FloatingAddress,
  type Network,
  type Node,
  type NodeSettings,
  type Placement,
  type Pod,
  passedNodes,
  type UnderlayFamily,
} from "../model/resources.ts";
import { RoutedNodes } from "../model/routed-nodes.ts";
import type { Change, RangeResult } from "../store/store.ts";
import { History } from "./history.ts";
import { type BlockState, type Identity, plainRecords, type Quarantine, type Records, records } from "./records.ts";
import { missingOn } from "./selection.ts";
import { TenantHosts } from "./tenant-hosts.ts";

/**
 * How long a released address is not given out by itself: longer than other hosts of the tenant hold the MAC of the
 * endpoint that had it.
 */
export const quarantineTime = seconds(60);

/** A value together with the revision at which the store holds it. */
export interface Versioned<Value> {
  readonly value: Value;
  readonly revision: number;
}

/** An endpoint together with the revision at which the store holds it. */
export interface StoredEndpoint extends Endpoint {
  readonly revision: number;
}

/** A block together with the revision at which the store holds it; also one that was released. */
export interface StoredBlock extends Block, BlockState {
  readonly revision: number;
}

const noEndpoints: ReadonlySet<StoredEndpoint> = new Set();

/** What one node has in a network; nothing: it routes into it from others of the tenant, or from a peer. */
export class Hosting {
  #endpoints: Set<StoredEndpoint> | undefined;
  /** It has something, or had until the change under way: others route into what is routed with the network because of that. */
  isOccupied = false;
  /** Those of the endpoints that were learned. */
  learned = 0;
  /** Blocks that it owns. */
  blocks = 0;
  /** Endpoints of other nodes that it makes ready to take over, or that it forwards to because they left it. */
  passing = 0;

  get endpoints(): ReadonlySet<StoredEndpoint> {
    return this.#endpoints ?? noEndpoints;
  }

  get isEmpty(): boolean {
    return this.endpoints.size === 0 && this.blocks === 0 && this.passing === 0;
  }

  add(endpoint: StoredEndpoint): void {
    this.#endpoints ??= new Set();
    this.#endpoints.add(endpoint);
  }

  delete(endpoint: StoredEndpoint): void {
    this.#endpoints?.delete(endpoint);
    if (this.#endpoints?.size === 0) this.#endpoints = undefined;
  }
}

/** What there is in a network that has, or had, endpoints or blocks. */
class NetworkUse {
  readonly hosts = new Map<string, Hosting>();
  readonly blocks = new Map<Cidr, StoredBlock>();
  readonly closingBlocks = new Set<Cidr>();
  readonly releasedIps = new Map<IpAddress, Versioned<Quarantine>>();
  readonly releasedMacs = new Map<MacAddress, Versioned<Quarantine>>();
  readonly moving = new Set<string>();
  readonly history: History;
  readonly pool: AddressPool;

  constructor(network: Network, historyFloor: number) {
    this.history = new History(historyFloor);
    this.pool = new AddressPool(network, {
      random: randomBytes,
      hash: (text) => createHash("sha256").update(text).digest(),
      quarantine: quarantineTime,
    });
  }
}

const empty = new Map<never, never>();
const noBlocks: ReadonlySet<Cidr> = new Set();
const noIds: ReadonlySet<string> = new Set();
const nobody: readonly string[] = [];

function none<Key, Value>(): ReadonlyMap<Key, Value> {
  return empty as ReadonlyMap<unknown, unknown> as ReadonlyMap<Key, Value>;
}

/** The policies of a tenant that has some. */
export class TenantPolicies {
  readonly tenant: string;
  /** By name. */
  readonly policies = new Map<string, Policy>();
  /** Endpoints of the tenant. */
  endpointCount: number;
  /** Which of these changed. */
  readonly history: History;

  constructor(tenant: string, endpointCount: number, historyFloor: number) {
    this.tenant = tenant;
    this.endpointCount = endpointCount;
    this.history = new History(historyFloor);
  }
}

/** A network and all that hangs on it. */
export class NetworkEntry {
  network: Network;
  revision: number;
  /** Octets of the largest inner packet that endpoints send, on every node. */
  effectiveMtu = 0;
  /** Of its tenant. */
  placement: Placement = "own";
  /** The same that devices let pass: more while a change of it is under way. */
  deviceMtu = 0;
  /** Its nodes carry more than devices let pass: that shall go by phases, which are yet to begin. */
  isMtuHeld = false;
  /** The change of its way or MTU that is under way, and the revision at which the store holds it; 0: there is none. */
  change: NetworkChange | undefined;
  changeRevision = 0;
  /** Nodes that the last change was ended without, and the revision at which it ended; 0: there is none to be named. */
  leftBehind: readonly string[] = nobody;
  leftBehindRevision = 0;
  /** The revision of the hold on it, which the next claim in it takes away; 0: there is none. */
  holdRevision = 0;
  endpointCount = 0;
  readonly #historyFloor: number;
  /** Of most of a million networks there is none. */
  #use: NetworkUse | undefined;

  constructor(network: Network, revision: number, historyFloor: number) {
    this.network = network;
    this.revision = revision;
    this.#historyFloor = historyFloor;
  }

  /** To be changed; it is empty where nothing was used. */
  get use(): NetworkUse {
    this.#use ??= new NetworkUse(this.network, this.#historyFloor);
    return this.#use;
  }

  get isUsed(): boolean {
    return this.#use !== undefined;
  }

  /**
   * The nodes that host it: those with an endpoint in it, and those that own a block of it. The routes to a block lead
   * to a node that has its bridge and its tunnel, whether an endpoint has an address of the block or not. A routed network
   * is hosted also by those that have something in another of the tenant's routed networks, or in a peer: they route into it.
   */
  get hosts(): ReadonlyMap<string, Hosting> {
    return this.#use?.hosts ?? none();
  }

  /** Of an l3 network: blocks that are owned, and such as were. */
  get blocks(): ReadonlyMap<Cidr, StoredBlock> {
    return this.#use?.blocks ?? none();
  }

  /** Blocks about to be released. */
  get closingBlocks(): ReadonlySet<Cidr> {
    return this.#use?.closingBlocks ?? noBlocks;
  }

  /** Ids of endpoints that are about to move, or have moved and are forwarded to still. */
  get moving(): ReadonlySet<string> {
    return this.#use?.moving ?? noIds;
  }

  /** What the store remembers of addresses released lately. */
  get releasedIps(): ReadonlyMap<IpAddress, Versioned<Quarantine>> {
    return this.#use?.releasedIps ?? none();
  }

  get releasedMacs(): ReadonlyMap<MacAddress, Versioned<Quarantine>> {
    return this.#use?.releasedMacs ?? none();
  }

  /** The endpoints changed after `revision`, each once; undefined: no longer known. */
  changedSince(revision: number): ReadonlySet<string> | undefined {
    if (this.#use !== undefined) return this.#use.history.since(revision);
    return revision < this.#historyFloor ? undefined : new Set();
  }

  /** Who has which address, requests under way among them. Its time is the clock's monotonic one. */
  get pool(): AddressPool {
    return this.use.pool;
  }

  *endpoints(): Generator<StoredEndpoint> {
    for (const host of this.hosts.values()) yield* host.endpoints;
  }

  /** Blocks that are owned or in quarantine; `now` is in milliseconds since 1970. */
  *heldBlocks(now: number): Generator<StoredBlock> {
    for (const block of this.blocks.values())
      if (block.released === 0 || Math.abs(now - block.released) < quarantineTime) yield block;
  }

  *ownedBlocks(): Generator<StoredBlock> {
    for (const block of this.blocks.values()) if (block.released === 0) yield block;
  }

  /** What a node that hosts it is told to be in it, in the order in which it is told. */
  partsSeenBy(node: string): PartList[] {
    const isOwnAlone = kinds.endpoint.seenBy(this.network) === "owner";
    const endpoints = isOwnAlone ? this.hosts.get(node)?.endpoints : this.endpoints();
    return [
      { of: "block", values: [...this.ownedBlocks()] },
      { of: "endpoint", values: [...(endpoints ?? [])] },
    ];
  }
}

/** What lies in a network on one of its nodes. */
export type Part =
  | { readonly of: "block"; readonly value: StoredBlock }
  | { readonly of: "endpoint"; readonly value: StoredEndpoint };
/** Parts of one kind. */
export type PartList = {
  [Of in Part["of"]]: { readonly of: Of; readonly values: readonly Extract<Part, { of: Of }>["value"][] };
}[Part["of"]];

/** What a commit changed, in the eyes of those who watch. */
export type StateChange =
  | {
      readonly kind: "part" | "part-removed";
      readonly entry: NetworkEntry;
      readonly part: Part;
      /** The networks that its node hosts because of it, and did not before: this one, and those that are routed with it. */
      readonly starts: readonly NetworkEntry[];
      /** Its node had nothing of the tenant before. */
      readonly isFirst: boolean;
      /** The node that has nothing of the network any more. */
      readonly leaves: Leaving | undefined;
    }
  /** A node comes to have to do with an endpoint of another node, or ceases to: see {@link Hosting.passing}. */
  | {
      readonly kind: "passing";
      readonly entry: NetworkEntry;
      readonly node: string;
      readonly starts: readonly NetworkEntry[];
      readonly isFirst: boolean;
      readonly leaves: Leaving | undefined;
    }
  /** Networks are routed with each other from now on, or are not any more: nodes come to route into some of them, or cease to. */
  | {
      readonly kind: "rerouted";
      readonly starts: readonly HostedNetworks[];
      readonly leaves: readonly HostedNetworks[];
    }
  /** `isToldAnew`: nodes are told of more, or less, of what is in it than before. */
  | { readonly kind: "network"; readonly entry: NetworkEntry; readonly isToldAnew?: boolean }
  /** For the server alone: see {@link NetworkEntry.isMtuHeld}. */
  | { readonly kind: "mtu-held"; readonly entry: NetworkEntry }
  /** Only with blocks are there hosts left to be told. */
  | { readonly kind: "network-removed"; readonly entry: NetworkEntry }
  | {
      readonly kind: "policy";
      readonly tenant: string;
      readonly name: string;
      /** Absent: it is gone. */
      readonly policy?: Policy;
      /** The tenant had none before. */
      readonly isFirst: boolean;
    }
  /** `pod` absent: it is gone. */
  | { readonly kind: "pod"; readonly node: string; readonly name: string; readonly pod?: Pod }
  | { readonly kind: "node"; readonly node: Node }
  | { readonly kind: "node-removed"; readonly name: string }
  | { readonly kind: "identity"; readonly name: string; readonly identity: Identity };

/** A node and networks that it hosts from now on, or no more. */
export interface HostedNetworks {
  readonly node: string;
  readonly entries: readonly NetworkEntry[];
}

/** A node that has nothing of a network any more, and what it hosts no more because of that, which may be nothing. */
export interface Leaving extends HostedNetworks {
  readonly tenant: string;
  /** It has nothing of the tenant any more. */
  readonly isLast: boolean;
}

type Emit = (change: StateChange) => void;
/** Takes over a change of a record with these names. */
type Applier = (names: readonly string[], change: Change, emit: Emit) => void;

const kindsByPrefix = new Map(
  (Object.keys(records) as (keyof typeof records)[]).map((kind) => [records[kind].prefix, kind]),
);

/**
 * The server's state in memory: what the store holds, indexed by what requests ask for. Changed by nothing but the
 * store's commits, in their order.
 */
export class State {
  /** All commits up to and including this one are in. */
  revision = 0;
  /** By name. */
  readonly plain = Object.fromEntries(plainKinds.map((kind) => [kind, new Map()])) as {
    readonly [Kind in PlainKind]: Map<string, Versioned<Resources[Kind]>>;
  };
  readonly tenants = this.plain.tenant;
  readonly networks = new Map<string, NetworkEntry>();
  /** The same by what no two of them can have. */
  readonly networkIndex = new NetworkIndex();
  readonly takenVnis = new NumberSet(maxVni);
  readonly nodes = new Map<string, Versioned<Node>>();
  /** Also of nodes that are yet to join. */
  readonly nodeSettings = new Map<string, Versioned<NodeSettings>>();
  readonly identities = new Map<string, Versioned<Identity>>();
  readonly endpoints = new Map<string, StoredEndpoint>();
  readonly floating = new FloatingIndex();
  /** Of nodes. */
  readonly #vteps = new Map<IpAddress, Node>();
  /** The networks that a node hosts. */
  readonly hosted = new Map<string, Set<NetworkEntry>>();
  /** The nodes that have something in networks of a tenant. */
  readonly tenantHosts = new TenantHosts();
  /** Of the tenants that have policies. */
  readonly policies = new Map<string, TenantPolicies>();
  /** Those of each node, by name. */
  readonly pods = new Map<string, Map<string, Pod>>();
  /** Which nodes route into networks because of what they have in others. */
  readonly #routing = new RoutedNodes((network, node, routes) => this.#routerChanged(network, node, routes));
  /** What the change under way has made nodes host, and no more, by node. */
  #starts = new Map<string, NetworkEntry[]>();
  #leaves = new Map<string, NetworkEntry[]>();
  /** The revision of the last change of who has addresses of the underlay; 0: there was none. */
  underlayRevision = 0;
  /** Blocks that nodes own. */
  blockCount = 0;
  readonly #clock: Clock;
  #mtuIsStale = false;
  /** The node with the smallest underlay MTU of those with a VTEP of the family; absent: not looked for since nodes changed. */
  readonly #smallestNodes = new Map<UnderlayFamily, Node | undefined>();
  /** Before this revision floating addresses were removed, of networks that are not known any more. */
  #removedUntil = 0;
  /** Nodes have been loaded, and what follows from all of them. */
  #isLoaded = false;
  #loading = false;
  /** Histories made while loading begin here. */
  #historyFloor = 0;
  readonly #appliers: { readonly [Kind in keyof typeof records]: Applier } = {
    identity: ([name = ""], change, emit) => this.#applyIdentity(name, change, emit),
    node: ([name = ""], change, emit) => this.#applyNode(name, change, emit),
    nodeSettings: this.#keep(records.nodeSettings, this.nodeSettings, ({ labels }) => labels),
    ...this.#keepPlain(),
    policy: ([name = ""], change, emit) => this.#applyPolicy(name, change, emit),
    pod: ([name = ""], change, emit) => this.#applyPod(name, change, emit),
    "floating-address": ([name = ""], change, emit) => this.#applyFloating(name as IpAddress, change, emit),
    network: ([name = ""], change, emit) => this.#applyNetwork(name, change, emit),
    change: ([name = ""], change, emit) => this.#applyChange(name, change, emit),
    leftBehind: ([name = ""], { value, revision }) => {
      const entry = this.networks.get(name);
      if (entry === undefined) return;
      entry.leftBehind = value === undefined ? nobody : records.leftBehind.decode(value);
      entry.leftBehindRevision = value === undefined ? 0 : revision;
    },
    hold: ([name = ""], { value, revision }) => {
      const entry = this.networks.get(name);
      if (entry !== undefined) entry.holdRevision = value === undefined ? 0 : revision;
    },
    underlay: (_, { value, revision }) => {
      this.underlayRevision = value === undefined ? 0 : revision;
    },
    block: ([network = "", ...cidr], change, emit) => this.#applyBlock(network, cidr.join("/") as Cidr, change, emit),
    endpoint: ([network = "", id = ""], change, emit) => this.#applyEndpoint(network, id, change, emit),
    quarantine: ([network = "", ...address], change) => this.#applyQuarantine(network, address, change),
  };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Takes over what the store holds. `historyFloor`: the changes after it will be told by {@link remember}, in
   * their order, before others are applied. Resolves with the revision after which changes are to be applied: the pages
   * may be as of several revisions.
   */
  async load(pages: AsyncIterable<RangeResult>, historyFloor: number): Promise<number> {
    let base = Number.POSITIVE_INFINITY;
    this.#loading = true;
    this.#historyFloor = historyFloor;
    for await (const { entries, revision } of pages) {
      base = Math.min(base, revision);
      for (const entry of entries) this.apply(entry, () => {});
    }
    this.#loading = false;
    const byRelease = (a: { released: number }, b: { released: number }): number => a.released - b.released;
    for (const entry of this.networks.values()) {
      if (!entry.isUsed) continue;
      const { pool, blocks, releasedIps } = entry;
      const released = Array.from(releasedIps, ([address, { value }]) => ({ address, released: value.released }));
      const waiting = released.sort(byRelease).map((entry) => ({ ...entry, releasedAt: this.#moment(entry.released) }));
      pool.quarantine(waiting);
      const gone = [...blocks.values()].filter((block) => block.released > 0).sort(byRelease);
      for (const { cidr, node, released } of gone) pool.blocksAt(cidr)?.disown(cidr, node, this.#moment(released));
    }
    return base;
  }

  /** A time of release on the clock's monotonic time. A wall clock that was set back makes nobody wait longer. */
  #moment(released: number): number {
    const age = Math.min(Math.max(this.#clock.now() - released, 0), quarantineTime);
    return this.#clock.monotonic() - age;
  }

  /** Takes over one change; `emit` is called while the state is exactly as of it. Of what is not kept here it knows nothing. */
  apply(change: Change, emit: Emit): void {
    const end = change.key.indexOf("/", 1) + 1;
    const kind = kindsByPrefix.get(change.key.slice(0, end));
    if (kind !== undefined) this.#appliers[kind](change.key.slice(end).split("/"), change, emit);
  }

  #keepPlain(): { readonly [Kind in PlainKind]: Applier } {
    const appliers = plainKinds.map((kind) => [
      kind,
      this.#keep<Resources[PlainKind]>(plainRecords[kind], this.plain[kind], selectionOf),
    ]);
    return Object.fromEntries(appliers);
  }

  /** What is looked up by its name alone. `selection`: what follows from it for networks. */
  #keep<Value>(
    kind: Records<Value, [name: string]>,
    table: Map<string, Versioned<Value>>,
    selection: (value: Value) => unknown,
  ): Applier {
    return ([name = ""], { value, revision }) => {
      const before = table.get(name);
      const after = value === undefined ? undefined : { value: kind.decode(value), revision };
      // A tenant is written as it was whenever its networks change.
      const [selected, selects] = [before, after].map((each) => each && selection(each.value));
      if (!isDeepStrictEqual(selected, selects)) this.#mtuIsStale = true;
      if (after === undefined) table.delete(name);
      else table.set(name, after);
    };
  }

  /** To be called after the changes of one batch: the MTU that follows from all nodes. */
  settle(revision: number, emit: Emit): void {
    this.revision = revision;
    if (this.#mtuIsStale) this.#settleMtus(emit);
    if (this.#removedUntil > 0) this.#forgetAll();
    this.#isLoaded = true;
  }

  #settleMtus(emit: Emit): void {
    this.#mtuIsStale = false;
    for (const entry of this.networks.values()) {
      const wasHeld = entry.isMtuHeld;
      if (this.#settle(entry)) emit({ kind: "network", entry });
      else if (entry.isMtuHeld && !wasHeld) emit({ kind: "mtu-held", entry });
    }
  }

  #forgetAll(): void {
    for (const entry of this.networks.values()) if (entry.isUsed) entry.use.history.forgetUntil(this.#removedUntil);
    this.#removedUntil = 0;
  }

  /** A change of an endpoint that was taken over before this process began: only for watchers that resume. */
  remember(change: Change): void {
    const { prefix } = records.endpoint;
    if (change.key.startsWith(plainRecords["floating-address"].prefix)) {
      this.#rememberFloating(change);
      return;
    }
    const [network = "", id = ""] = change.key.slice(prefix.length).split("/");
    const entry = this.networks.get(network);
    if (entry !== undefined) this.#record(entry, change.revision, id);
    // Nobody knows any more whose endpoint it was.
    else for (const { history } of this.policies.values()) history.forget(change.revision);
  }

  /** Where it stood for an endpoint of another network before, that one was written with it. */
  #rememberFloating({ value, revision }: Change): void {
    if (value === undefined) {
      this.#removedUntil = Math.max(this.#removedUntil, revision);
      return;
    }
    const { network } = plainRecords["floating-address"].decode(value) as FloatingAddress;
    const entry = this.networks.get(network);
    if (entry?.isUsed === true) entry.use.history.forgetUntil(revision);
  }

  /** An l3 network is always sent whole. */
  #record(entry: NetworkEntry, revision: number, id: string): void {
    const policies = this.policies.get(entry.network.tenant);
    policies?.history.record(revision, id, policies.endpointCount);
    if (entry.network.mode === "l2") entry.use.history.record(revision, id, entry.endpointCount);
  }

  /** The node has something more in the network, the first of it if it had nothing. Tells which networks it hosts because of that, and did not before. */
  #startHosting(entry: NetworkEntry, node: string): { starts: readonly NetworkEntry[]; isFirst: boolean } {
    const { name, tenant } = entry.network;
    const host = entry.hosts.get(node) ?? this.#addHost(entry, node);
    if (host.isOccupied) return { starts: [], isFirst: false };
    host.isOccupied = true;
    this.#routing.came(name, node);
    this.tenantHosts.add(tenant, node);
    const starts = this.#starts.get(node) ?? [];
    this.#starts.clear();
    return { starts, isFirst: this.tenantHosts.countOf(tenant, node) === 1 };
  }

  #addHost(entry: NetworkEntry, node: string): Hosting {
    const host = new Hosting();
    entry.use.hosts.set(node, host);
    if (missingOn(this, entry.network, node).length > 0) this.#mtuIsStale = true;
    const hosted = this.hosted.get(node);
    if (hosted === undefined) this.hosted.set(node, new Set([entry]));
    else hosted.add(entry);
    note(this.#starts, node, entry);
    return host;
  }

  /** To be called when the node has less of the network than before; what follows if that is nothing. */
  #stopHosting(entry: NetworkEntry, node: string): Leaving | undefined {
    const host = entry.hosts.get(node);
    if (host?.isOccupied !== true || !host.isEmpty) return undefined;
    const { name, tenant } = entry.network;
    host.isOccupied = false;
    this.#routing.left(name, node);
    if (entry.hosts.has(node) && !this.#routing.has(name, node)) this.#removeHost(entry, node);
    this.tenantHosts.remove(tenant, node);
    const entries = this.#leaves.get(node) ?? [];
    this.#leaves.clear();
    return { node, entries, tenant, isLast: this.tenantHosts.countOf(tenant, node) === 0 };
  }

  #removeHost(entry: NetworkEntry, node: string): void {
    entry.use.hosts.delete(node);
    if (missingOn(this, entry.network, node).length > 0) this.#mtuIsStale = true;
    const hosted = this.hosted.get(node);
    hosted?.delete(entry);
    if (hosted?.size === 0) this.hosted.delete(node);
    note(this.#leaves, node, entry);
  }

  #routerChanged(network: string, node: string, routes: boolean): void {
    const entry = this.networks.get(network);
    const host = entry?.hosts.get(node);
    if (entry === undefined) return;
    if (routes && host === undefined) this.#addHost(entry, node);
    else if (!routes && host?.isOccupied === false) this.#removeHost(entry, node);
  }

  /** What the network is routed with is as is declared now. */
  #reroute({ network }: NetworkEntry, emit: Emit): void {
    const { name, tenant, gateway } = network;
    if (gateway === "distributed") this.#routing.setRouted(name, tenant);
    else this.#routing.setUnrouted(name);
    const peers = peersInForce(network, (peer) => this.networks.get(peer)?.network);
    this.#routing.setPeers(
      name,
      peers.map((peer) => peer.name),
    );
    this.#tellRerouted(emit);
  }

  /** The network goes, or becomes another one of its name, and is routed with none until then. */
  #forgetRouted({ network: { name } }: NetworkEntry, emit: Emit): void {
    this.#routing.setPeers(name, []);
    this.#routing.setUnrouted(name);
    this.#tellRerouted(emit);
    this.#routing.removeNetwork(name);
  }

  #tellRerouted(emit: Emit): void {
    const [starts, leaves] = [hostedNetworks(this.#starts), hostedNetworks(this.#leaves)];
    this.#starts.clear();
    this.#leaves.clear();
    if (starts.length > 0 || leaves.length > 0) emit({ kind: "rerouted", starts, leaves });
  }

  /** The networks of a tenant. */
  *networksOf(tenant: string): Generator<NetworkEntry> {
    const told = new Set<string>();
    for (const { name } of this.networkIndex.ofTenant(tenant)) {
      const entry = this.networks.get(name);
      if (entry === undefined || told.has(name)) continue;
      told.add(name);
      yield entry;
    }
  }

  /** Who has an address in a network, and does not only claim it. */
  endpointAt(network: string, ip: IpAddress): StoredEndpoint | undefined {
    const entry = this.networks.get(network);
    const id = entry?.isUsed === true ? entry.pool.ownerOf(ip) : undefined;
    const known = id === undefined ? undefined : this.endpoints.get(id);
    return known?.ips.includes(ip) === true ? known : undefined;
  }

  /** The endpoints of a tenant, wherever they are. */
  *endpointsOf(tenant: string): Generator<StoredEndpoint> {
    for (const entry of this.networksOf(tenant)) yield* entry.endpoints();
  }

  /** The nodes that can take part in a network: those with a VTEP of its underlay family that may host it, or do. */
  *nodesOf(network: Pick<Network, "name" | "tenant" | "underlay" | "nodeSelector">): Iterable<Node> {
    const entry = this.networks.get(network.name);
    for (const { value: node } of this.nodes.values())
      if (
        node.vtepAddresses[network.underlay] !== undefined &&
        (missingOn(this, network, node.name).length === 0 || entry?.hosts.has(node.name) === true)
      )
        yield node;
  }

  /**
   * Octets of the largest inner packet on every node; see {@link usableMtu} for where the nodes cannot carry what is asked
   * for: new endpoints are refused on such a node, those that exist stay.
   */
  mtuOf(network: Network): number {
    return usableMtu(network, this.decisiveNodesOf(network));
  }

  /** Nodes that decide the MTU of a network: all that can take part, or of these the one that carries least. */
  decisiveNodesOf(network: Network): Iterable<Node> {
    const isSelective =
      network.nodeSelector !== undefined || this.tenants.get(network.tenant)?.value.nodeSelector !== undefined;
    if (isSelective) return this.nodesOf(network);
    const { underlay } = network;
    if (!this.#smallestNodes.has(underlay)) {
      let smallest: Node | undefined;
      for (const { value: node } of this.nodes.values())
        if (
          node.vtepAddresses[underlay] !== undefined &&
          node.underlayMtu < (smallest?.underlayMtu ?? Number.POSITIVE_INFINITY)
        )
          smallest = node;
      this.#smallestNodes.set(underlay, smallest);
    }
    const node = this.#smallestNodes.get(underlay);
    return node === undefined ? [] : [node];
  }

  /** What follows from its tenant and from nodes. Answers whether its MTU is another now. */
  #settle(entry: NetworkEntry): boolean {
    entry.placement = this.tenants.get(entry.network.tenant)?.value.placement ?? "own";
    return this.#settleMtu(entry);
  }

  /**
   * Answers whether it is another now. It becomes smaller at once, since what is larger than the underlay carries is lost
   * already. It grows in a change alone.
   */
  #settleMtu(entry: NetworkEntry): boolean {
    const { network, change, hosts, effectiveMtu, deviceMtu } = entry;
    const now = mtusInPhase(this.mtuOf(network), change, (way) => this.mtuOf({ ...network, ...way }));
    entry.isMtuHeld = now.deviceMtu > deviceMtu && this.#isLoaded && hosts.size > 0 && change === undefined;
    entry.deviceMtu = entry.isMtuHeld ? deviceMtu : now.deviceMtu;
    entry.effectiveMtu = Math.min(now.mtu, entry.deviceMtu);
    return entry.effectiveMtu !== effectiveMtu || entry.deviceMtu !== deviceMtu;
  }

  #applyNetwork(name: string, change: Change, emit: Emit): void {
    const entry = this.networks.get(name);
    if (change.value === undefined) {
      if (entry === undefined) return;
      this.#forgetRouted(entry, emit);
      this.networks.delete(name);
      this.#forgetIndexed(entry.network);
      for (const [node, host] of entry.hosts) {
        this.blockCount -= host.blocks;
        const hosted = this.hosted.get(node);
        hosted?.delete(entry);
        if (hosted?.size === 0) this.hosted.delete(node);
        this.tenantHosts.remove(entry.network.tenant, node);
      }
      if (entry.hosts.size > 0) emit({ kind: "network-removed", entry });
      return;
    }
    if (entry !== undefined && entry.revision >= change.revision) return;
    const network = records.network.decode(change.value);
    if (entry === undefined || !samePlan(entry.network, network)) {
      if (entry !== undefined) {
        this.#forgetRouted(entry, emit);
        this.#forgetIndexed(entry.network);
      }
      const floor = this.#loading ? Math.max(this.#historyFloor, change.revision) : change.revision;
      const created = new NetworkEntry(network, change.revision, floor);
      // All of them are settled when all that counts is there.
      if (this.#loading) this.#mtuIsStale = true;
      else this.#settle(created);
      this.networks.set(name, created);
      this.#index(network);
      this.#reroute(created, emit);
      return;
    }
    if (entry.isUsed) entry.pool.setGateways(network.gateways, this.#clock.monotonic());
    const isRerouted = entry.network.gateway !== network.gateway || entry.network.peers.join() !== network.peers.join();
    const isToldAnew = kinds.endpoint.seenBy(entry.network) !== kinds.endpoint.seenBy(network);
    entry.network = network;
    entry.revision = change.revision;
    this.#index(network);
    this.#settleMtu(entry);
    if (isRerouted) this.#reroute(entry, emit);
    emit({ kind: "network", entry, isToldAnew });
  }

  #index(network: Network): void {
    this.networkIndex.put(network);
    this.takenVnis.add(network.vni);
  }

  #forgetIndexed({ name, vni }: Network): void {
    this.networkIndex.delete(name);
    this.takenVnis.delete(vni);
  }

  #applyChange(name: string, change: Change, emit: Emit): void {
    const entry = this.networks.get(name);
    if (entry === undefined || entry.changeRevision >= change.revision) return;
    if (change.value === undefined && entry.change === undefined) return;
    entry.change = change.value === undefined ? undefined : records.change.decode(change.value);
    entry.changeRevision = change.value === undefined ? 0 : change.revision;
    this.#settleMtu(entry);
    emit({ kind: "network", entry });
  }

  #applyPolicy(name: string, { value, revision }: Change, emit: Emit): void {
    const { policy: table } = this.plain;
    const before = table.get(name);
    if (before !== undefined && before.revision >= revision) return;
    if (value === undefined) {
      if (before === undefined) return;
      const { tenant } = before.value;
      table.delete(name);
      const { policies } = this.#policiesOf(tenant, revision);
      policies.delete(name);
      if (policies.size === 0) this.policies.delete(tenant);
      emit({ kind: "policy", tenant, name, isFirst: false });
      return;
    }
    const policy = plainRecords.policy.decode(value) as Policy;
    const isFirst = !this.policies.has(policy.tenant);
    table.set(name, { value: policy, revision });
    this.#policiesOf(policy.tenant, revision).policies.set(name, policy);
    emit({ kind: "policy", tenant: policy.tenant, name, policy, isFirst });
  }

  /** It stays on its node. */
  #applyPod(name: string, { value, revision }: Change, emit: Emit): void {
    const { pod: table } = this.plain;
    const before = table.get(name);
    if (before !== undefined && before.revision >= revision) return;
    const pod = value === undefined ? undefined : (plainRecords.pod.decode(value) as Pod);
    const node = (pod ?? before?.value)?.node;
    if (node === undefined) return;
    const ofNode = this.pods.get(node) ?? new Map<string, Pod>();
    if (pod === undefined) {
      table.delete(name);
      ofNode.delete(name);
      if (ofNode.size === 0) this.pods.delete(node);
      emit({ kind: "pod", node, name });
      return;
    }
    table.set(name, { value: pod, revision });
    this.pods.set(node, ofNode.set(name, pod));
    emit({ kind: "pod", node, name, pod });
  }

  #policiesOf(tenant: string, revision: number): TenantPolicies {
    let known = this.policies.get(tenant);
    if (known === undefined) {
      // Before them nothing was recorded; while it is loaded, what follows is told by remember.
      let endpoints = 0;
      for (const { endpointCount } of this.networksOf(tenant)) endpoints += endpointCount;
      known = new TenantPolicies(tenant, endpoints, this.#loading ? this.#historyFloor : revision);
      this.policies.set(tenant, known);
    }
    return known;
  }

  #applyNode(name: string, change: Change, emit: Emit): void {
    const known = this.nodes.get(name);
    if (change.value === undefined) {
      if (known === undefined) return;
      this.nodes.delete(name);
      this.#forgetVteps(known.value);
      this.#nodesChanged();
      emit({ kind: "node-removed", name });
      return;
    }
    if (known !== undefined && known.revision >= change.revision) return;
    const node = records.node.decode(change.value);
    if (known !== undefined) this.#forgetVteps(known.value);
    for (const address of vtepsOf(node)) this.#vteps.set(address, node);
    this.nodes.set(name, { value: node, revision: change.revision });
    this.#nodesChanged();
    emit({ kind: "node", node });
  }

  /** Another node may have taken one over in the same commit. */
  #forgetVteps(node: Node): void {
    for (const address of vtepsOf(node)) if (this.#vteps.get(address) === node) this.#vteps.delete(address);
  }

  /** The node with a VTEP address. */
  nodeAt(address: IpAddress): Node | undefined {
    return this.#vteps.get(address);
  }

  #nodesChanged(): void {
    this.#mtuIsStale = true;
    this.#smallestNodes.clear();
  }

  #applyIdentity(name: string, change: Change, emit: Emit): void {
    if (change.value === undefined) return;
    const identity = records.identity.decode(change.value);
    this.identities.set(name, { value: identity, revision: change.revision });
    emit({ kind: "identity", name, identity });
  }

  #applyEndpoint(networkName: string, id: string, change: Change, emit: Emit): void {
    const entry = this.networks.get(networkName);
    if (entry === undefined) return;
    const known = this.endpoints.get(id);
    if (change.value === undefined) {
      if (known === undefined || known.revision >= change.revision) return;
      this.#takeEndpoint(entry, known);
      this.endpoints.delete(id);
      entry.use.moving.delete(id);
      this.#record(entry, change.revision, id);
      const leaves = this.#stopHosting(entry, known.node);
      const part: Part = { of: "endpoint", value: known };
      emit({ kind: "part-removed", entry, part, starts: [], isFirst: false, leaves });
      this.#endPassing(entry, passedNodes(known), emit);
      return;
    }
    if (known !== undefined && known.revision >= change.revision) {
      // Its block may have been read at an earlier revision than itself.
      this.#adopt(entry, known);
      return;
    }
    if (known !== undefined) this.#takeEndpoint(entry, known);
    const decoded = records.endpoint.decode(change.value);
    // Of the same text one string is kept, and a copy of the list has no room to grow: this is most of the state.
    const endpoint: StoredEndpoint = {
      id: decoded.id,
      network: entry.network.name,
      node: this.nodes.get(decoded.node)?.value.name ?? decoded.node,
      mac: decoded.mac,
      ips: decoded.ips.slice(),
      attachment: decoded.attachment,
      sequence: decoded.sequence,
      ...(decoded.learnedIps === undefined ? {} : { learnedIps: decoded.learnedIps.slice() }),
      ...(decoded.labels === undefined ? {} : { labels: decoded.labels }),
      ...this.#floatingOf(entry, decoded.ips),
      ...(decoded.movable === undefined ? {} : { movable: decoded.movable }),
      ...(decoded.standby === undefined ? {} : { standby: decoded.standby }),
      ...(decoded.formerNodes === undefined ? {} : { formerNodes: decoded.formerNodes.slice() }),
      revision: change.revision,
    };
    const passed = known === undefined ? [] : passedNodes(known);
    const passing = passedNodes(endpoint);
    for (const node of passing) if (!passed.includes(node)) this.#beginPassing(entry, node, emit);
    if (passing.length > 0) entry.use.moving.add(id);
    else if (passed.length > 0) entry.use.moving.delete(id);
    const begun = this.#startHosting(entry, endpoint.node);
    const host = entry.hosts.get(endpoint.node);
    host?.add(endpoint);
    if (host !== undefined && endpoint.attachment === "learned") host.learned++;
    this.#count(entry, 1);
    this.endpoints.set(endpoint.id, endpoint);
    this.#adopt(entry, endpoint);
    if (!this.#loading) this.#record(entry, change.revision, endpoint.id);
    const leaves = known === undefined ? undefined : this.#stopHosting(entry, known.node);
    emit({ kind: "part", entry, part: { of: "endpoint", value: endpoint }, ...begun, leaves });
    this.#endPassing(
      entry,
      passed.filter((node) => !passing.includes(node)),
      emit,
    );
  }

  #beginPassing(entry: NetworkEntry, node: string, emit: Emit): void {
    const begun = this.#startHosting(entry, node);
    const host = entry.hosts.get(node);
    if (host !== undefined) host.passing++;
    emit({ kind: "passing", entry, node, ...begun, leaves: undefined });
  }

  #endPassing(entry: NetworkEntry, nodes: readonly string[], emit: Emit): void {
    for (const node of nodes) {
      const host = entry.hosts.get(node);
      if (host !== undefined) host.passing--;
      const leaves = this.#stopHosting(entry, node);
      emit({ kind: "passing", entry, node, starts: [], isFirst: false, leaves });
    }
  }

  #count(entry: NetworkEntry, more: 1 | -1): void {
    entry.endpointCount += more;
    const policies = this.policies.get(entry.network.tenant);
    if (policies !== undefined) policies.endpointCount += more;
  }

  /** The endpoints that it stood for, and stands for now, are told anew. */
  #applyFloating(name: IpAddress, { value, revision }: Change, emit: Emit): void {
    const table = this.plain["floating-address"];
    const before = table.get(name);
    if (before !== undefined && before.revision >= revision) return;
    const after = value === undefined ? undefined : (plainRecords["floating-address"].decode(value) as FloatingAddress);
    if (after === undefined) {
      table.delete(name);
      this.floating.delete(name);
    } else {
      table.set(name, { value: after, revision });
      this.floating.put(after);
    }
    for (const each of [before?.value, after]) if (each !== undefined) this.#retell(each, revision, emit);
  }

  #retell({ network, endpoint: ip }: FloatingAddress, revision: number, emit: Emit): void {
    const entry = this.networks.get(network);
    const known = this.endpointAt(network, ip);
    if (entry === undefined || known === undefined) return;
    const { floatingAddresses: _, ...fields } = known;
    const endpoint: StoredEndpoint = { ...fields, ...this.#floatingOf(entry, known.ips) };
    const host = entry.hosts.get(known.node);
    host?.delete(known);
    host?.add(endpoint);
    this.endpoints.set(known.id, endpoint);
    this.#record(entry, revision, known.id);
    const part: Part = { of: "endpoint", value: endpoint };
    emit({ kind: "part", entry, part, starts: [], isFirst: false, leaves: undefined });
  }

  /** Those that stand for an endpoint with these addresses. */
  #floatingOf({ network }: NetworkEntry, ips: readonly IpAddress[]): Pick<Endpoint, "floatingAddresses"> {
    const found = ips.flatMap((ip) => this.floating.at(network.name, ip) ?? []);
    return found.length === 0 ? {} : { floatingAddresses: found };
  }

  /** Its node stays among the hosts, if need be with nothing. */
  #takeEndpoint(entry: NetworkEntry, endpoint: StoredEndpoint): void {
    const host = entry.hosts.get(endpoint.node);
    host?.delete(endpoint);
    if (host !== undefined && endpoint.attachment === "learned") host.learned--;
    this.#count(entry, -1);
    entry.pool.release(endpoint, this.#clock.monotonic());
  }

  /** What the store says goes before what a request under way has reserved: that request will fail. */
  #adopt(entry: NetworkEntry, endpoint: StoredEndpoint): void {
    const { pool } = entry;
    const { id, mac, ips } = endpoint;
    const now = this.#clock.monotonic();
    const owner = pool.ownerOfMac(mac);
    if (owner !== undefined && owner !== id) pool.release({ id: owner, mac, ips: [] }, now);
    for (const ip of ips) {
      const stranger = pool.ownerOf(ip);
      if (stranger !== undefined && stranger !== id) pool.release({ id: stranger, mac, ips: [ip] }, now);
    }
    pool.adopt(endpoint);
  }

  /** Records go only with their network, or with its subnets while nobody owns a block: nobody is told of that. */
  #applyBlock(networkName: string, cidr: Cidr, change: Change, emit: Emit): void {
    const entry = this.networks.get(networkName);
    if (entry === undefined) return;
    const known = entry.blocks.get(cidr);
    if (change.value === undefined) {
      entry.use.blocks.delete(cidr);
      entry.use.closingBlocks.delete(cidr);
      return;
    }
    if (known !== undefined && known.revision >= change.revision) return;
    const state = records.block.decode(change.value);
    const node = this.nodes.get(state.node)?.value.name ?? state.node;
    const block: StoredBlock = { ...state, node, network: entry.network.name, cidr, revision: change.revision };
    entry.use.blocks.set(cidr, block);
    if (block.closing) entry.use.closingBlocks.add(cidr);
    else entry.use.closingBlocks.delete(cidr);
    const owner = known?.released === 0 ? known.node : undefined;
    const newOwner = block.released === 0 ? block.node : undefined;
    if (owner === newOwner) return;
    if (known !== undefined && owner !== undefined) this.#dropBlock(entry, known, emit);
    if (newOwner === undefined) return;
    const begun = this.#startHosting(entry, newOwner);
    const host = entry.hosts.get(newOwner);
    if (host !== undefined) host.blocks++;
    this.blockCount++;
    entry.pool.blocksAt(cidr)?.own(cidr, newOwner);
    emit({ kind: "part", entry, part: { of: "block", value: block }, ...begun, leaves: undefined });
  }

  #dropBlock(entry: NetworkEntry, block: StoredBlock, emit: Emit): void {
    const host = entry.hosts.get(block.node);
    if (host !== undefined) host.blocks--;
    this.blockCount--;
    entry.pool.blocksAt(block.cidr)?.disown(block.cidr, block.node, this.#clock.monotonic());
    const leaves = this.#stopHosting(entry, block.node);
    emit({ kind: "part-removed", entry, part: { of: "block", value: block }, starts: [], isFirst: false, leaves });
  }

  #applyQuarantine(networkName: string, [kind, address]: readonly string[], change: Change): void {
    const entry = this.networks.get(networkName);
    if (entry === undefined || address === undefined) return;
    const released: Map<string, Versioned<Quarantine>> = kind === "mac"
      ? entry.use.releasedMacs
      : entry.use.releasedIps;
    if (change.value === undefined) released.delete(address);
    else released.set(address, { value: records.quarantine.decode(change.value), revision: change.revision });
  }
}

function note(noted: Map<string, NetworkEntry[]>, node: string, entry: NetworkEntry): void {
  const entries = noted.get(node);
  if (entries === undefined) noted.set(node, [entry]);
  else entries.push(entry);
}

/** What networks have from their tenant: which nodes count for them, and where they are on these. */
function selectionOf(value: Resources[PlainKind]): unknown {
  if (!("placement" in value)) return undefined;
  const { placement, nodeSelector } = value;
  return placement === "own" ? nodeSelector : { placement, nodeSelector };
}

function hostedNetworks(noted: ReadonlyMap<string, readonly NetworkEntry[]>): HostedNetworks[] {
  return Array.from(noted, ([node, entries]) => ({ node, entries }));
}

/** Whether endpoints of the one are endpoints of the other; where not, there are none. */
function samePlan(a: Network, b: Network): boolean {
  return (
    a.vni === b.vni &&
    a.tenant === b.tenant &&
    a.mode === b.mode &&
    (a.mode === "l2" || a.blockSize === b.blockSize) &&
    a.subnets.join() === b.subnets.join()
  );
}
