import { kinds } from "../api/kinds.ts";
import type { Clock } from "../base/clock.ts";
import { type Duration, seconds } from "../base/duration.ts";
import { peersInForce } from "../model/peering.ts";
import type { Fanout } from "./fanout.ts";
import { ReportPace } from "./report-pace.ts";
import type { Hosting, NetworkEntry, State, StateChange } from "./state.ts";
import { Told } from "./told.ts";

/** What a node says of one network. */
export interface NetworkReport {
  readonly network: string;
  /** Its kernel is as the state of this revision asks for; 0: not yet, or not any more: something failed that it needs. */
  readonly revision: number;
  /** What cannot be made, and why; empty: nothing failed. */
  readonly problem: string;
}

/** A node that does not have a network in place, or on which something of it failed. */
export interface Behind {
  readonly node: string;
  readonly network: string;
  readonly connected: boolean;
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly reason: string;
}

/** How far the nodes are that host a network. */
export interface NetworkProgress {
  readonly nodes: number;
  readonly inPlace: number;
  /** Connected nodes first, each by name. */
  readonly behind: readonly Behind[];
  /** Nodes that have the network in place but for something that holds back nothing else, such as an endpoint. */
  readonly failing: readonly Behind[];
}

/** A node whose connection ended is expected back for this long: its agent, or the server, may be starting again. */
export const returnTime = seconds(30);
/** What a node whose agent is of a version that does not report takes for a phase of a change, by its own clock. */
const phaseByClock = seconds(5);

interface Report {
  readonly revision: number;
  readonly problem: string;
  /** Milliseconds since 1970. */
  readonly problemSince: number;
  /** When it last had less in place than before, by the same clock; 0: never. */
  readonly fellAt: number;
}

interface Contact {
  readonly connected: boolean;
  /** Its agent reports. */
  readonly reports: boolean;
  /** When it became so, by the clock that never goes back. */
  readonly moment: number;
}

/**
 * What is in place in the kernels of the nodes: what each was told last, as {@link Fanout} tells it, beside what it has
 * reported. In memory alone: nodes report anew when they connect. A change costs one step for its network, however many
 * nodes are told of it.
 */
export class Readiness {
  readonly #state: State;
  readonly #fanout: Fanout;
  readonly #clock: Clock;
  readonly #pace: ReportPace;
  readonly #toldAll = new WeakMap<NetworkEntry, Told>();
  /** What was told to one host alone. */
  readonly #toldHost = new WeakMap<Hosting, Told>();
  /** The last change of the network itself. */
  readonly #networkRevisions = new WeakMap<NetworkEntry, number>();
  readonly #reports = new WeakMap<Hosting, Report>();
  readonly #contacts = new Map<string, Contact>();
  readonly #listeners = new Set<(entry: NetworkEntry | undefined) => void>();
  /** Of the batch under way. */
  readonly #touchedNetworks = new Set<NetworkEntry>();
  readonly #touchedHosts = new Set<Hosting>();
  readonly #changedNetworks = new Set<NetworkEntry>();
  /** Networks whose hosts are others, or whose MTU is held: nodes that host them already are told nothing. */
  readonly #otherwiseChanged = new Set<NetworkEntry>();
  /** What is older was told before this process began: nodes that connect are told the state as of then at least. */
  #floor = 0;
  #begin: { readonly moment: number; readonly time: number };

  constructor(state: State, fanout: Fanout, clock: Clock) {
    this.#state = state;
    this.#fanout = fanout;
    this.#clock = clock;
    this.#pace = new ReportPace(clock);
    this.#begin = { moment: clock.monotonic(), time: clock.now() };
  }

  /** The state has been loaded. */
  begin(): void {
    this.#floor = this.#state.revision;
    // Who is expected back could not come while it was.
    this.#begin = { moment: this.#clock.monotonic(), time: this.#clock.now() };
  }

  /** Calls back when the network may have come into place somewhere, or its nodes or what they carry changed; `undefined`: any may have. */
  listen(listener: (entry: NetworkEntry | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** One change, told while the state is exactly as of it. */
  notice(change: StateChange): void {
    switch (change.kind) {
      case "part":
      case "part-removed":
        if (kinds[change.part.of].seenBy(change.entry.network) === "hosts") this.#touchedNetworks.add(change.entry);
        else if (this.#state.policies.has(change.entry.network.tenant)) this.#touchTenantHosts(change.entry);
        else this.#touchHost(change.entry, change.part.value.node);
        for (const entry of change.starts) this.#otherwiseChanged.add(entry);
        for (const entry of change.leaves?.entries ?? []) this.#otherwiseChanged.add(entry);
        break;
      case "passing":
        for (const entry of [...change.starts, ...(change.leaves?.entries ?? [])]) this.#otherwiseChanged.add(entry);
        break;
      case "rerouted":
        for (const { entries } of [...change.starts, ...change.leaves])
          for (const entry of entries) this.#otherwiseChanged.add(entry);
        break;
      case "network":
        this.#touchedNetworks.add(change.entry);
        this.#changedNetworks.add(change.entry);
        this.#touchPeers(change.entry);
        break;
      case "policy":
        for (const entry of this.#state.networksOf(change.tenant)) this.#touchTenantHosts(entry);
        break;
      case "mtu-held":
        this.#otherwiseChanged.add(change.entry);
        break;
      case "node":
        for (const entry of this.#state.hosted.get(change.node.name) ?? []) this.#touchedNetworks.add(entry);
        break;
      case "node-removed":
        this.#contacts.delete(change.name);
        break;
    }
  }

  /** All changes of a batch have been noticed: nodes are told of them as of `revision`. */
  settle(revision: number): void {
    const now = this.#clock.now();
    for (const host of this.#touchedHosts) toldOf(this.#toldHost, host).add(revision, now);
    for (const entry of this.#touchedNetworks) toldOf(this.#toldAll, entry).add(revision, now);
    for (const entry of this.#changedNetworks) this.#networkRevisions.set(entry, revision);
    for (const entry of this.#touchedNetworks.union(this.#otherwiseChanged)) this.#tell(entry);
    this.#otherwiseChanged.clear();
    this.#touchedHosts.clear();
    this.#touchedNetworks.clear();
    this.#changedNetworks.clear();
  }

  /** `reports`: its agent will say what is in place. */
  connected(node: string, reports: boolean): void {
    this.#pace.forget(node);
    // What its agent said in another life is not so any more, and "nothing yet" goes without saying.
    for (const { hosts } of this.#state.hosted.get(node) ?? []) {
      const host = hosts.get(node);
      if (host !== undefined) this.#reports.delete(host);
    }
    this.#contacts.set(node, { connected: true, reports, moment: this.#clock.monotonic() });
    this.#tell(undefined);
  }

  disconnected(node: string): void {
    this.#pace.forget(node);
    this.#contactOf(node);
    this.#tell(undefined);
  }

  /** Takes over what a node says; answers how long it shall wait before it says more. */
  report(node: string, reports: readonly NetworkReport[]): Duration {
    for (const { network, revision, problem } of reports) {
      const entry = this.#state.networks.get(network);
      const host = entry?.hosts.get(node);
      // A report may cross a change that ends what it is about.
      if (entry === undefined || host === undefined) continue;
      const before = this.#reports.get(host);
      const now = this.#clock.now();
      const problemSince = before?.problem === problem ? before.problemSince : now;
      const fellAt = before === undefined ? 0 : revision < before.revision ? now : before.fellAt;
      this.#reports.set(host, { revision: Math.min(revision, this.#state.revision), problem, problemSince, fellAt });
      this.#tell(entry);
    }
    return this.#pace.reported(node, this.#fanout.connected);
  }

  /** Somebody waits for what the node has to say: it need not pause any longer. */
  hasten(node: string): void {
    if (this.#pace.mayHasten(node)) this.#fanout.tell(node, { change: { case: "reportNow", value: true } });
  }

  progressOf(entry: NetworkEntry): NetworkProgress {
    const behind: Behind[] = [];
    const failing: Behind[] = [];
    for (const [node, host] of entry.hosts) {
      const problem = this.#reports.get(host)?.problem ?? "";
      if (this.#isBehind(entry, host)) behind.push(this.#describe(entry, node, host));
      else if (problem !== "") failing.push(this.#describe(entry, node, host));
    }
    const inPlace = entry.hosts.size - behind.length;
    return {
      nodes: entry.hosts.size,
      inPlace,
      behind: behind.sort(connectedFirst),
      failing: failing.sort(connectedFirst),
    };
  }

  /** Networks that the node hosts, and how many of them are not in place there. */
  countsOf(node: string): { readonly networks: number; readonly behind: number } {
    const hosted = this.#state.hosted.get(node) ?? new Set();
    let behind = 0;
    for (const entry of hosted) {
      const host = entry.hosts.get(node);
      if (host !== undefined && this.#isBehind(entry, host)) behind++;
    }
    return { networks: hosted.size, behind };
  }

  /** Over all networks: how many are not in place on a connected node, and how many connected nodes are behind in any. */
  totals(): { readonly networks: number; readonly nodes: number; readonly changing: number } {
    let networks = 0;
    let changing = 0;
    const nodes = new Set<string>();
    for (const entry of this.#state.networks.values()) {
      if (entry.change !== undefined) changing++;
      let isBehind = false;
      for (const [node, host] of entry.hosts) {
        if (!this.#isBehind(entry, host) || !this.#contactOf(node).connected) continue;
        isBehind = true;
        nodes.add(node);
      }
      if (isBehind) networks++;
    }
    return { networks, nodes: nodes.size, changing };
  }

  /**
   * The nodes that do not have changes up to `revision` in place, and what those changes have set going. `isWaitedFor`: it
   * is connected, or expected back.
   */
  *behindOf(
    entry: NetworkEntry,
    revision: number,
  ): Generator<{ readonly node: string; readonly isWaitedFor: boolean; readonly describe: () => Behind }> {
    const target = Math.max(revision, this.#networkRevisions.get(entry) ?? 0);
    for (const [node, host] of entry.hosts) {
      if (this.#reportedOf(host) >= Math.min(this.#toldTo(entry, host), target)) continue;
      const contact = this.#contactOf(node);
      const isWaitedFor = contact.connected ? contact.reports : this.#isExpected(contact);
      yield { node, isWaitedFor, describe: () => this.#describe(entry, node, host) };
    }
  }

  /**
   * The nodes that do not have the phase of a network's change in place, as far as one can know. `isWaitedFor`: they can be expected to have it.
   * `elapsed`: of the phase.
   */
  *behindPhase(
    entry: NetworkEntry,
    elapsed: number,
  ): Generator<{ readonly node: string; readonly isWaitedFor: boolean }> {
    for (const [node, host] of entry.hosts) {
      if (this.#reportedOf(host) >= entry.changeRevision) continue;
      const contact = this.#contactOf(node);
      // By its own clock it is through.
      if (contact.connected && !contact.reports && elapsed >= phaseByClock) continue;
      yield { node, isWaitedFor: contact.connected || this.#isExpected(contact) };
    }
  }

  /** Those of the nodes that the last change was ended without that have not reported its end yet. */
  leftBehindOf({ hosts, leftBehind, leftBehindRevision }: NetworkEntry): string[] {
    return leftBehind.filter((node) => {
      const host = hosts.get(node);
      const { connected, reports } = this.#contactOf(node);
      return host !== undefined && (reports || !connected) && this.#reportedOf(host) < leftBehindRevision;
    });
  }

  isConnected(node: string): boolean {
    return this.#contactOf(node).connected;
  }

  #isExpected({ moment }: Contact): boolean {
    return this.#clock.monotonic() - moment < returnTime;
  }

  #isBehind(entry: NetworkEntry, host: Hosting): boolean {
    return this.#reportedOf(host) < this.#toldTo(entry, host);
  }

  #reportedOf(host: Hosting): number {
    return this.#reports.get(host)?.revision ?? -1;
  }

  #toldTo(entry: NetworkEntry, host: Hosting): number {
    const all = this.#toldAll.get(entry)?.revision ?? 0;
    return Math.max(this.#floor, all, this.#toldHost.get(host)?.revision ?? 0);
  }

  #describe(entry: NetworkEntry, node: string, host: Hosting): Behind {
    const { connected, reports } = this.#contactOf(node);
    const report = this.#reports.get(host);
    const isBehind = this.#isBehind(entry, host);
    const reported = this.#reportedOf(host);
    const [all, own] = [this.#toldAll.get(entry)?.since(reported), this.#toldHost.get(host)?.since(reported)];
    const told = Math.min(all ?? Number.POSITIVE_INFINITY, own ?? Number.POSITIVE_INFINITY);
    const since = Math.max(Number.isFinite(told) ? told : this.#begin.time, report?.fellAt ?? 0);
    const problem = report?.problem ?? "";
    const reason = !connected
      ? "not connected"
      : problem !== ""
        ? problem
        : reports
          ? "has not reported it yet"
          : "its agent is of a version that does not report";
    const network = entry.network.name;
    return { node, network, connected, since: isBehind ? since : (report?.problemSince ?? since), reason };
  }

  /** A stream that its reader blocks ends before anybody says so: what counts is what the fan-out knows. */
  #contactOf(node: string): Contact {
    const known = this.#contacts.get(node) ?? { connected: false, reports: true, moment: this.#begin.moment };
    if (!known.connected || this.#fanout.contactOf(node).connected) return known;
    const gone = { connected: false, reports: known.reports, moment: this.#clock.monotonic() };
    this.#contacts.set(node, gone);
    return gone;
  }

  /** Those of its hosts are told that have something of its tenant: all, but for nodes that route into it from a peer alone. */
  #touchTenantHosts(entry: NetworkEntry): void {
    const { tenant, peers } = entry.network;
    if (peers.length === 0) {
      this.#touchedNetworks.add(entry);
      return;
    }
    this.#otherwiseChanged.add(entry);
    for (const node of entry.hosts.keys())
      if (this.#state.tenantHosts.countOf(tenant, node) > 0) this.#touchHost(entry, node);
  }

  /** What the network is to its peers, nodes that have both make at the ends of both tenants. */
  #touchPeers({ network, hosts }: NetworkEntry): void {
    if (network.peers.length === 0) return;
    for (const { name } of peersInForce(network, (peer) => this.#state.networks.get(peer)?.network)) {
      const peer = this.#state.networks.get(name);
      if (peer !== undefined) for (const node of hosts.keys()) this.#touchHost(peer, node);
    }
  }

  #touchHost(entry: NetworkEntry, node: string): void {
    const host = entry.hosts.get(node);
    if (host !== undefined) this.#touchedHosts.add(host);
  }

  #tell(entry: NetworkEntry | undefined): void {
    for (const listener of this.#listeners) listener(entry);
  }
}

function toldOf<Key extends WeakKey>(map: WeakMap<Key, Told>, key: Key): Told {
  let told = map.get(key);
  if (told === undefined) {
    told = new Told();
    map.set(key, told);
  }
  return told;
}

function connectedFirst(a: Behind, b: Behind): number {
  if (a.connected !== b.connected) return a.connected ? -1 : 1;
  return a.node < b.node ? -1 : 1;
}
