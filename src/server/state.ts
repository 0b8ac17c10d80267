import { randomBytes } from "node:crypto";
import { cidrFamily } from "../base/cidr.ts";
import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { AddressPool } from "../model/allocation.ts";
import { effectiveMtu, minimumMtu } from "../model/mtu.ts";
import type { Endpoint, Network, Node, Tenant, Vni } from "../model/resources.ts";
import type { Change, Entry } from "../store/store.ts";
import { History } from "./history.ts";
import {
  endpointCodec,
  type Identity,
  identityCodec,
  networkCodec,
  nodeCodec,
  type Quarantine,
  quarantineCodec,
  tenantCodec,
} from "./records.ts";

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

/** A network and all that hangs on it. */
export class NetworkEntry {
  network: Network;
  revision: number;
  /** Octets of the largest inner packet on every node. */
  effectiveMtu = 0;
  readonly endpoints = new Set<StoredEndpoint>();
  /** The nodes that have an endpoint in it, with the number of these. */
  readonly hosts = new Map<string, number>();
  /** What the store remembers of addresses released lately. */
  readonly releasedIps = new Map<IpAddress, Versioned<Quarantine>>();
  readonly releasedMacs = new Map<MacAddress, Versioned<Quarantine>>();
  readonly history: History;
  /** Who has which address, requests under way among them. Its time is the clock's monotonic one. */
  readonly pool: AddressPool;
  /** Requests under way that will add an endpoint. */
  pendingEndpoints = 0;
  /** Being deleted: takes no new endpoint. */
  closing = false;

  constructor(network: Network, revision: number, historyFloor: number) {
    this.network = network;
    this.revision = revision;
    this.history = new History(historyFloor);
    this.pool = new AddressPool(network, { random: randomBytes, quarantine: quarantineTime });
  }
}

/** What a commit changed, in the eyes of those who watch. */
export type StateChange =
  | {
      readonly kind: "endpoint";
      readonly entry: NetworkEntry;
      readonly endpoint: StoredEndpoint;
      /** It is the first of its node in this network. */
      readonly startsHosting: boolean;
    }
  | {
      readonly kind: "endpoint-removed";
      readonly entry: NetworkEntry;
      readonly endpoint: StoredEndpoint;
      /** It was the last of its node in this network. */
      readonly stopsHosting: boolean;
    }
  | { readonly kind: "network"; readonly entry: NetworkEntry }
  | { readonly kind: "node"; readonly node: Node }
  | { readonly kind: "node-removed"; readonly name: string }
  | { readonly kind: "identity"; readonly name: string; readonly identity: Identity };

/**
 * The server's state in memory: what the store holds, indexed by what requests ask for. Changed by nothing but the
 * store's commits, in their order.
 */
export class State {
  /** All commits up to and including this one are in. */
  revision = 0;
  readonly tenants = new Map<string, Versioned<Tenant>>();
  readonly networks = new Map<string, NetworkEntry>();
  readonly vnis = new Map<Vni, string>();
  readonly nodes = new Map<string, Versioned<Node>>();
  readonly identities = new Map<string, Versioned<Identity>>();
  readonly endpoints = new Map<string, StoredEndpoint>();
  readonly #clock: Clock;
  #mtuIsStale = false;
  #loading = false;
  /** Histories made while loading begin here. */
  #historyFloor = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Takes over what the store holds. `historyFloor`: the changes after it will be told by {@link remember}, in
   * their order, before others are applied.
   */
  load(entries: Iterable<Entry>, historyFloor: number): void {
    this.#loading = true;
    this.#historyFloor = historyFloor;
    for (const entry of entries) this.apply(entry, () => {});
    this.#loading = false;
    for (const network of this.networks.values()) network.pool.quarantine(this.#releasedBefore(network));
  }

  /** In order of release, on the clock's monotonic time. A wall clock that was set back makes nobody wait longer. */
  #releasedBefore(network: NetworkEntry): { readonly address: IpAddress; readonly releasedAt: number }[] {
    const wall = this.#clock.now();
    const monotonic = this.#clock.monotonic();
    return [...network.releasedIps]
      .sort(([, a], [, b]) => a.value.released - b.value.released)
      .map(([address, { value }]) => {
        const age = Math.min(Math.max(wall - value.released, 0), quarantineTime);
        return { address, releasedAt: monotonic - age };
      });
  }

  /** Takes over one change; `emit` is called while the state is exactly as of it. */
  apply(change: Change, emit: (change: StateChange) => void): void {
    const [, kind, name = "", ...rest] = change.key.split("/");
    switch (kind) {
      case "tenants":
        if (change.value === undefined) this.tenants.delete(name);
        else this.tenants.set(name, { value: tenantCodec.decode(change.value), revision: change.revision });
        break;
      case "networks":
        this.#applyNetwork(name, change, emit);
        break;
      case "nodes":
        this.#applyNode(name, change, emit);
        break;
      case "identities":
        this.#applyIdentity(name, change, emit);
        break;
      case "endpoints":
        this.#applyEndpoint(name, rest[0] ?? "", change, emit);
        break;
      case "quarantine":
        this.#applyQuarantine(name, rest, change);
        break;
      // Owners (/vnis, /vteps, /addresses, /macs) only guard transactions: the resources say the same. Tokens are
      // read when used.
    }
  }

  /** To be called after the changes of one batch: the MTU that follows from all nodes. */
  settle(revision: number, emit: (change: StateChange) => void): void {
    this.revision = revision;
    if (!this.#mtuIsStale) return;
    this.#mtuIsStale = false;
    for (const entry of this.networks.values()) {
      const mtu = this.mtuOf(entry.network);
      if (mtu === entry.effectiveMtu) continue;
      entry.effectiveMtu = mtu;
      emit({ kind: "network", entry });
    }
  }

  /** A change that was taken over before this process began: only for watchers that resume. */
  remember(change: Change): void {
    const [, kind, network = "", id = ""] = change.key.split("/");
    const entry = kind === "endpoints" ? this.networks.get(network) : undefined;
    entry?.history.record(change.revision, id, entry.endpoints.size);
  }

  /** The nodes that can take part in a network: those with a VTEP of its underlay family. */
  *nodesOf(network: Pick<Network, "underlay">): Iterable<Node> {
    for (const { value: node } of this.nodes.values())
      if (node.vtepAddresses[network.underlay] !== undefined) yield node;
  }

  /**
   * Octets of the largest inner packet on every node. Where the nodes cannot carry what is asked for, the network's
   * own MTU, or the least that its subnets need: new endpoints are refused on such a node, those that exist stay.
   */
  mtuOf(network: Network): number {
    const mtu = effectiveMtu(network, this.nodesOf(network));
    if (mtu.ok) return mtu.value;
    return network.mtu ?? Math.max(...network.subnets.map((subnet) => minimumMtu[cidrFamily(subnet)]));
  }

  #applyNetwork(name: string, change: Change, emit: (change: StateChange) => void): void {
    const entry = this.networks.get(name);
    if (change.value === undefined) {
      if (entry === undefined) return;
      this.networks.delete(name);
      this.vnis.delete(entry.network.vni);
      return;
    }
    if (entry !== undefined && entry.revision >= change.revision) return;
    const network = networkCodec.decode(change.value);
    if (entry === undefined || !samePlan(entry.network, network)) {
      if (entry !== undefined) this.vnis.delete(entry.network.vni);
      const floor = this.#loading ? Math.max(this.#historyFloor, change.revision) : change.revision;
      const created = new NetworkEntry(network, change.revision, floor);
      created.effectiveMtu = this.mtuOf(network);
      this.networks.set(name, created);
      this.vnis.set(network.vni, name);
      return;
    }
    entry.pool.setGateways(network.gateways, this.#clock.monotonic());
    entry.network = network;
    entry.revision = change.revision;
    entry.effectiveMtu = this.mtuOf(network);
    emit({ kind: "network", entry });
  }

  #applyNode(name: string, change: Change, emit: (change: StateChange) => void): void {
    const known = this.nodes.get(name);
    if (change.value === undefined) {
      if (!this.nodes.delete(name)) return;
      this.#mtuIsStale = true;
      emit({ kind: "node-removed", name });
      return;
    }
    if (known !== undefined && known.revision >= change.revision) return;
    const node = nodeCodec.decode(change.value);
    this.nodes.set(name, { value: node, revision: change.revision });
    this.#mtuIsStale = true;
    emit({ kind: "node", node });
  }

  #applyIdentity(name: string, change: Change, emit: (change: StateChange) => void): void {
    if (change.value === undefined) return;
    const identity = identityCodec.decode(change.value);
    this.identities.set(name, { value: identity, revision: change.revision });
    emit({ kind: "identity", name, identity });
  }

  #applyEndpoint(networkName: string, id: string, change: Change, emit: (change: StateChange) => void): void {
    const entry = this.networks.get(networkName);
    if (entry === undefined) return;
    const known = this.endpoints.get(id);
    if (change.value === undefined) {
      if (known !== undefined) this.#removeEndpoint(entry, known, change.revision, emit);
      return;
    }
    if (known !== undefined) {
      if (known.revision >= change.revision) return;
      this.#removeEndpoint(entry, known, change.revision, emit);
    }
    const decoded = endpointCodec.decode(change.value);
    // Of the same text one string is kept, and a copy of the list has no room to grow: this is most of the state.
    const endpoint: StoredEndpoint = {
      id: decoded.id,
      network: entry.network.name,
      node: this.nodes.get(decoded.node)?.value.name ?? decoded.node,
      mac: decoded.mac,
      ips: decoded.ips.slice(),
      attachment: decoded.attachment,
      sequence: decoded.sequence,
      revision: change.revision,
    };
    this.endpoints.set(endpoint.id, endpoint);
    entry.endpoints.add(endpoint);
    this.#adopt(entry, endpoint);
    const count = entry.hosts.get(endpoint.node) ?? 0;
    entry.hosts.set(endpoint.node, count + 1);
    if (!this.#loading) entry.history.record(change.revision, endpoint.id, entry.endpoints.size);
    emit({ kind: "endpoint", entry, endpoint, startsHosting: count === 0 });
  }

  #removeEndpoint(
    entry: NetworkEntry,
    endpoint: StoredEndpoint,
    revision: number,
    emit: (change: StateChange) => void,
  ): void {
    this.endpoints.delete(endpoint.id);
    entry.endpoints.delete(endpoint);
    entry.pool.release(endpoint, this.#clock.monotonic());
    const count = (entry.hosts.get(endpoint.node) ?? 1) - 1;
    if (count === 0) entry.hosts.delete(endpoint.node);
    else entry.hosts.set(endpoint.node, count);
    entry.history.record(revision, endpoint.id, entry.endpoints.size);
    emit({ kind: "endpoint-removed", entry, endpoint, stopsHosting: count === 0 });
  }

  /** What the store says goes before what a request under way has reserved: that request will fail. */
  #adopt(entry: NetworkEntry, endpoint: StoredEndpoint): void {
    const strangers = endpoint.ips.filter((ip) => entry.pool.ownerOf(ip) !== endpoint.id);
    if (strangers.length === 0) return;
    for (const ip of strangers) {
      const owner = entry.pool.ownerOf(ip);
      if (owner !== undefined) entry.pool.release({ id: owner, mac: endpoint.mac, ips: [ip] }, this.#clock.monotonic());
    }
    entry.pool.adopt(endpoint);
  }

  #applyQuarantine(networkName: string, [kind, address]: readonly string[], change: Change): void {
    const entry = this.networks.get(networkName);
    if (entry === undefined || address === undefined) return;
    const released: Map<string, Versioned<Quarantine>> = kind === "mac" ? entry.releasedMacs : entry.releasedIps;
    if (change.value === undefined) released.delete(address);
    else released.set(address, { value: quarantineCodec.decode(change.value), revision: change.revision });
  }
}

/** Whether endpoints of the one are endpoints of the other; where not, there are none. */
function samePlan(a: Network, b: Network): boolean {
  return a.vni === b.vni && a.tenant === b.tenant && a.subnets.join() === b.subnets.join();
}
