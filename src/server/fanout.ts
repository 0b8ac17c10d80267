import { networkState } from "../api/convert.ts";
import type { WatchRequest } from "../api/generated/weft/v1/node_pb.js";
import { type Audience, asCase, kinds } from "../api/kinds.ts";
import type { NodeIdentity } from "../api/node-uri.ts";
import type { Clock } from "../base/clock.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type {
  HostedNetworks,
  Leaving,
  NetworkEntry,
  Part,
  State,
  StateChange,
  StoredEndpoint,
  TenantPolicies,
} from "./state.ts";
import {
  memberChange,
  memberRemoval,
  type NetworkPart,
  nodeChange,
  type PolicySnapshot,
  partChange,
  partRemoval,
  type WatchChangeInit,
  Watcher,
} from "./watcher.ts";

/**
 * Tells each watching node what concerns it: the networks that it hosts and the nodes that it shares them with.
 * The cost of a change is the number of nodes that host its network, however many networks and nodes there are. A change
 * of an endpoint in an l3 network is told to its node alone, unless the network has names. Of a tenant that has policies, nodes that have something in any network of it
 * are told these and what they know endpoints by, wherever those are.
 */
export class Fanout {
  readonly #state: State;
  readonly #clock: Clock;
  readonly #watchers = new Map<string, Watcher>();
  /** Those for whom the batch under way has changes. */
  readonly #touched = new Set<Watcher>();
  /** Removals of nodes in the batch under way: each is told to many. */
  readonly #nodeRemovals = new Map<string, WatchChangeInit>();
  /** What was told whole and has not changed since. */
  readonly #snapshots = new WeakMap<TenantPolicies, PolicySnapshot>();
  /** When the last watch of a node that watches no more ended. */
  readonly #lastSeen = new Map<string, number>();

  constructor(state: State, clock: Clock) {
    this.#state = state;
    this.#clock = clock;
  }

  /** The number of nodes that watch now. */
  get connected(): number {
    return this.#watchers.size;
  }

  /** Whether the node watches now, and when it last did: milliseconds since 1970, 0: never since the server started. */
  contactOf(node: string): { readonly connected: boolean; readonly lastSeen: number } {
    const connected = this.#watchers.has(node);
    return { connected, lastSeen: connected ? this.#clock.now() : (this.#lastSeen.get(node) ?? 0) };
  }

  /** Where the connection comes from on which the node watches now. */
  sourceOf(node: string): IpAddress | undefined {
    return this.#watchers.get(node)?.source;
  }

  /** The changes that wait for the slowest watcher. */
  get longestQueue(): number {
    let longest = 0;
    for (const watcher of this.#watchers.values()) longest = Math.max(longest, watcher.waiting);
    return longest;
  }

  /** Begins a stream: the state of the node's networks first. An older stream of the same node ends. */
  open(
    identity: NodeIdentity,
    request: Pick<WatchRequest, "revision" | "networks" | "inParts"> & Partial<Pick<WatchRequest, "policyTenants">>,
    source: IpAddress | undefined,
  ): Watcher {
    this.#watchers.get(identity.name)?.end(
      new WeftError({
        code: "failed-precondition",
        attempted: `watch as node ${identity.name}`,
        reason: "the node has opened another watch since",
        hint: "if two hosts run as this node, give one of them another name and a token of its own",
      }),
    );
    const watcher = new Watcher(identity.name, identity.generation, source, {
      inParts: request.inParts,
      isCurrent: (part) => this.#isCurrent(part),
    });
    this.#watchers.set(identity.name, watcher);
    const revision = Number(request.revision);
    this.#begin(watcher, revision, new Set(request.networks), new Set(request.policyTenants));
    return watcher;
  }

  /** What is next of a network that the node gets in parts; `undefined`: it gets none, or has no watch. */
  nextPart(node: string, network: string): NetworkPart | undefined {
    return this.#watchers.get(node)?.nextPart(network);
  }

  close(watcher: Watcher): void {
    watcher.end("done");
    if (this.#watchers.get(watcher.node) !== watcher) return;
    this.#watchers.delete(watcher.node);
    this.#lastSeen.set(watcher.node, this.#clock.now());
  }

  /** Ends all streams, because the server stops. */
  closeAll(): void {
    for (const watcher of this.#watchers.values())
      watcher.end(
        new WeftError({
          code: "unavailable",
          attempted: `watch as node ${watcher.node}`,
          reason: "the server is stopping",
          hint: "watch again from the last complete revision",
        }),
      );
  }

  /** Tells a node, if it watches, what is no change of the state. */
  tell(node: string, change: WatchChangeInit): void {
    const watcher = this.#watchers.get(node);
    watcher?.push(change);
    watcher?.flush(this.#state.revision);
  }

  /** One change, told while the state is exactly as of it. */
  notice(change: StateChange): void {
    switch (change.kind) {
      case "part":
      case "part-removed": {
        const { entry, part, starts, isFirst, leaves } = change;
        const { node } = part.value;
        if (isFirst) this.#tellPolicies(entry.network.tenant, node);
        this.#startHosting([{ node, entries: starts }]);
        const told = change.kind === "part" ? partChange(part) : partRemoval(part);
        const isNew = starts.includes(entry);
        const audience = this.#watchersOf(kinds[part.of].seenBy(entry.network), node, entry);
        for (const watcher of audience) if (!isNew || watcher.node !== node) this.#push(watcher, told);
        if (part.of === "endpoint") this.#tellMember(change, entry, part.value);
        if (leaves !== undefined) this.#leave(leaves);
        break;
      }
      case "passing": {
        const { entry, node, starts, isFirst, leaves } = change;
        if (isFirst) this.#tellPolicies(entry.network.tenant, node);
        this.#startHosting([{ node, entries: starts }]);
        if (leaves !== undefined) this.#leave(leaves);
        break;
      }
      case "rerouted":
        this.#startHosting(change.starts);
        this.#stopHosting(change.leaves);
        break;
      case "network":
        for (const watcher of this.#watchersOf(kinds.network.seenBy(), "", change.entry))
          if (change.isToldAnew === true) this.#tellAnew(watcher, change.entry);
          else this.#push(watcher, { change: { case: "network", value: networkState.toMessage(change.entry) } });
        break;
      case "policy":
        this.#tellPolicy(change);
        break;
      case "pod":
        for (const watcher of this.#watchersOf(kinds.pod.seenBy(), change.node)) this.#push(watcher, podChange(change));
        break;
      case "network-removed":
        this.#removeNetwork(change.entry);
        break;
      case "node":
        for (const watcher of this.#watchersOf(kinds.node.seenBy(), change.node.name))
          this.#push(watcher, nodeChange(change.node));
        break;
      case "node-removed":
        this.#lastSeen.delete(change.name);
        for (const watcher of this.#watchersOf(kinds.node.seenBy(), change.name))
          this.#push(watcher, this.#nodeRemoved(change.name));
        break;
      case "identity": {
        const watcher = this.#watchers.get(change.name);
        if (watcher === undefined) break;
        const { revoked, generation } = change.identity;
        if (!revoked && watcher.generation >= generation) break;
        this.#watchers.delete(change.name);
        watcher.end(
          new WeftError({
            code: "permission-denied",
            attempted: `watch as node ${change.name}`,
            reason: revoked ? "the node was deleted" : `the node has joined again, as generation ${generation}`,
          }),
        );
        break;
      }
    }
  }

  /** All changes of a batch have been noticed: the watchers' state is consistent as of `revision`. */
  settle(revision: number): void {
    for (const watcher of this.#touched) {
      watcher.flush(revision);
      // A stream that its reader blocks cannot be told at once that it was ended.
      if (watcher.isEnded) this.close(watcher);
    }
    this.#touched.clear();
    this.#nodeRemovals.clear();
  }

  #begin(watcher: Watcher, revision: number, held: Set<string>, heldPolicies: Set<string>): void {
    const state = this.#state;
    const hosted = state.hosted.get(watcher.node) ?? [];
    watcher.push({ change: { case: "nodesBegin", value: true } });
    for (const name of this.#neighboursOf(watcher.node)) {
      const node = state.nodes.get(name);
      if (node !== undefined) watcher.push(nodeChange(node.value));
    }
    for (const [name, pod] of state.pods.get(watcher.node) ?? []) watcher.push(podChange({ name, pod }));
    for (const tenant of new Set(Array.from(hosted, ({ network }) => network.tenant))) {
      const policies = state.policies.get(tenant);
      if (policies === undefined || state.tenantHosts.countOf(tenant, watcher.node) === 0) continue;
      const canResume = heldPolicies.delete(tenant) && revision <= state.revision;
      const changed = canResume ? policies.history.since(revision) : undefined;
      watcher.pushPolicies(changed === undefined ? this.#snapshot(policies) : this.#changedIn(policies, changed));
    }
    for (const tenant of heldPolicies) watcher.push(policiesRemoved(tenant));
    for (const entry of hosted) {
      const { name } = entry.network;
      // A revision of the future is one of another store, or of this one before it was restored from a backup.
      // An l3 network is sent whole: one block for each node and what the node itself has, no more than a history of it.
      const canResume = held.delete(name) && revision <= state.revision && entry.network.mode === "l2";
      const changed = canResume ? entry.changedSince(revision) : undefined;
      if (changed === undefined) {
        watcher.pushNetwork(entry);
        continue;
      }
      watcher.push({ change: { case: "network", value: networkState.toMessage(entry) } });
      for (const id of changed) {
        const endpoint = state.endpoints.get(id);
        watcher.push(
          endpoint?.network === name
            ? partChange({ of: "endpoint", value: endpoint })
            : partRemoval({ of: "endpoint", value: { network: name, id } }),
        );
      }
    }
    for (const name of held) watcher.push(networkRemovedChange(name));
    watcher.flush(state.revision, true);
  }

  /** Nodes host networks from now on. Those that share one with each other by that alone are told of each other first. */
  #startHosting(starts: readonly HostedNetworks[]): void {
    const begun = new Map(starts.map(({ node, entries }) => [node, new Set(entries)]));
    const told = new Pairs();
    for (const { node, entries } of starts) {
      const own = begun.get(node) ?? new Set();
      for (const host of hostsOf(entries)) {
        if (!told.add(host, node)) continue;
        const except = begun.get(host)?.union(own) ?? own;
        if (!this.#share(host, node, except)) this.#introduce(host, node);
      }
    }
    for (const { node, entries } of starts) {
      const watcher = this.#watchers.get(node);
      if (watcher === undefined || entries.length === 0) continue;
      for (const entry of entries) watcher.pushNewNetwork(entry);
      this.#touched.add(watcher);
    }
  }

  /** Nodes host networks no more. Those that share none with each other any more part. */
  #stopHosting(leaves: readonly HostedNetworks[]): void {
    for (const { node, entries } of leaves) {
      const watcher = this.#watchers.get(node);
      if (watcher !== undefined) this.#drop(watcher, entries);
    }
    const left = new Map<NetworkEntry, string[]>();
    for (const { node, entries } of leaves)
      for (const entry of entries) {
        const nodes = left.get(entry) ?? [];
        nodes.push(node);
        left.set(entry, nodes);
      }
    const told = new Pairs();
    for (const { node, entries } of leaves) {
      const former = entries.flatMap((entry) => left.get(entry) ?? []);
      for (const host of new Set([...hostsOf(entries), ...former]))
        if (told.add(host, node) && !this.#share(host, node)) this.#part(host, node);
    }
  }

  #leave({ tenant, isLast, ...leaving }: Leaving): void {
    this.#stopHosting([leaving]);
    if (isLast) this.#tellNoPolicies(tenant, leaving.node);
  }

  /** It takes along those of its hosts that have nothing else in common. */
  #removeNetwork(entry: NetworkEntry): void {
    this.#stopHosting(Array.from(entry.hosts.keys(), (node) => ({ node, entries: [entry] })));
    const { tenant } = entry.network;
    for (const node of entry.hosts.keys())
      if (this.#state.tenantHosts.countOf(tenant, node) === 0) this.#tellNoPolicies(tenant, node);
  }

  /** The node has something of the tenant from now on. */
  #tellPolicies(tenant: string, node: string): void {
    const watcher = this.#watchers.get(node);
    const policies = this.#state.policies.get(tenant);
    if (watcher !== undefined && policies !== undefined) this.#pushPolicies(watcher, this.#snapshot(policies));
  }

  #tellNoPolicies(tenant: string, node: string): void {
    const watcher = this.#watchers.get(node);
    if (watcher !== undefined && this.#state.policies.has(tenant)) this.#push(watcher, policiesRemoved(tenant));
  }

  #drop(watcher: Watcher, entries: readonly NetworkEntry[]): void {
    for (const { network } of entries) {
      watcher.dropNetwork(network.name);
      this.#push(watcher, networkRemovedChange(network.name));
    }
  }

  /** Tells each of the other. */
  #introduce(one: string, other: string): void {
    const [first, second] = [this.#watchers.get(one), this.#watchers.get(other)];
    if (first !== undefined) this.#pushNode(first, other);
    if (second !== undefined) this.#pushNode(second, one);
  }

  /** Tells each that it shares nothing with the other any more. */
  #part(one: string, other: string): void {
    const [first, second] = [this.#watchers.get(one), this.#watchers.get(other)];
    if (first !== undefined) this.#push(first, this.#nodeRemoved(other));
    if (second !== undefined) this.#push(second, this.#nodeRemoved(one));
  }

  /** A node that has something of the tenant with this very change for the first time has been told everything. */
  #tellMember(
    { kind, isFirst }: Extract<StateChange, { kind: "part" | "part-removed" }>,
    { network: { tenant } }: NetworkEntry,
    endpoint: StoredEndpoint,
  ): void {
    const policies = this.#state.policies.get(tenant);
    if (policies === undefined) return;
    this.#snapshots.delete(policies);
    const told = kind === "part" ? memberChange(tenant, endpoint) : memberRemoval(tenant, endpoint);
    for (const watcher of this.#watchersOfTenant(tenant))
      if (!isFirst || watcher.node !== endpoint.node) this.#push(watcher, told);
  }

  #tellPolicy({ tenant, name, policy, isFirst }: Extract<StateChange, { kind: "policy" }>): void {
    const policies = this.#state.policies.get(tenant);
    if (policies !== undefined) this.#snapshots.delete(policies);
    const removal: WatchChangeInit =
      policies === undefined ? policiesRemoved(tenant) : { change: { case: "policyRemoved", value: { tenant, name } } };
    const told = policy === undefined ? removal : { change: asCase("policy", policy) };
    for (const watcher of this.#watchersOfTenant(tenant))
      if (policies !== undefined && isFirst) this.#pushPolicies(watcher, this.#snapshot(policies));
      else this.#push(watcher, told);
  }

  #snapshot(policies: TenantPolicies): PolicySnapshot {
    const known = this.#snapshots.get(policies);
    if (known !== undefined) return known;
    const { tenant } = policies;
    const begin: WatchChangeInit = { change: { case: "policiesBegin", value: tenant } };
    const members = [...this.#state.endpointsOf(tenant)];
    const snapshot = { tenant, changes: [begin, ...policiesOf(policies)], members };
    this.#snapshots.set(policies, snapshot);
    return snapshot;
  }

  /** For a node that has the others as they are. */
  #changedIn(policies: TenantPolicies, changed: ReadonlySet<string>): PolicySnapshot {
    const { tenant } = policies;
    const changes: WatchChangeInit[] = [
      { change: { case: "policiesResumed", value: tenant } },
      ...policiesOf(policies),
    ];
    const members: StoredEndpoint[] = [];
    for (const id of changed) {
      const endpoint = this.#state.endpoints.get(id);
      const isOfTenant = this.#state.networks.get(endpoint?.network ?? "")?.network.tenant === tenant;
      if (endpoint !== undefined && isOfTenant) members.push(endpoint);
      else changes.push(memberRemoval(tenant, { id, network: "" }));
    }
    return { tenant, changes, members };
  }

  #watchersOfTenant(tenant: string): Iterable<Watcher> {
    return this.#watchersOf(kinds.policy.seenBy(), "", undefined, tenant);
  }

  #isCurrent({ of, value }: Part): boolean {
    if (of === "endpoint") return this.#state.endpoints.get(value.id) === value;
    return this.#state.networks.get(value.network)?.blocks.get(value.cidr) === value;
  }

  /** Those of an audience who watch; `node`, `entry` and `tenant`: what it is on and in, and whose. */
  *#watchersOf(audience: Audience, node: string, entry?: NetworkEntry, tenant = ""): Iterable<Watcher> {
    for (const name of this.#namesOf(audience, node, entry, tenant)) {
      const watcher = this.#watchers.get(name);
      if (watcher !== undefined) yield watcher;
    }
  }

  #namesOf(audience: Audience, node: string, entry: NetworkEntry | undefined, tenant: string): Iterable<string> {
    switch (audience) {
      case "administrators":
        return [];
      case "hosts":
        return entry?.hosts.keys() ?? [];
      case "owner":
        return [node];
      case "neighbours":
        return this.#neighboursOf(node);
      case "tenant-hosts":
        return this.#state.tenantHosts.of(tenant);
    }
  }

  /** The node itself and all that share a network with it. */
  #neighboursOf(node: string): Set<string> {
    const names = new Set([node]);
    for (const entry of this.#state.hosted.get(node) ?? []) for (const host of entry.hosts.keys()) names.add(host);
    return names;
  }

  /** Whether both host a network other than those of `except`. */
  #share(one: string, other: string, except?: ReadonlySet<NetworkEntry>): boolean {
    const [networks, more] = [this.#state.hosted.get(one), this.#state.hosted.get(other)];
    if (networks === undefined || more === undefined) return false;
    const [name, fewer] = networks.size < more.size ? [other, networks] : [one, more];
    for (const entry of fewer) if (entry.hosts.has(name) && except?.has(entry) !== true) return true;
    return false;
  }

  /** All of a network that the node hosts already. */
  #tellAnew(watcher: Watcher, entry: NetworkEntry): void {
    watcher.dropNetwork(entry.network.name);
    watcher.pushNetwork(entry);
    this.#touched.add(watcher);
  }

  #pushPolicies(watcher: Watcher, policies: PolicySnapshot): void {
    watcher.pushPolicies(policies);
    this.#touched.add(watcher);
  }

  #push(watcher: Watcher, change: WatchChangeInit): void {
    watcher.push(change);
    this.#touched.add(watcher);
  }

  #nodeRemoved(name: string): WatchChangeInit {
    let change = this.#nodeRemovals.get(name);
    if (change === undefined) {
      change = { change: { case: "nodeRemoved", value: name } };
      this.#nodeRemovals.set(name, change);
    }
    return change;
  }

  #pushNode(watcher: Watcher, name: string): void {
    const node = this.#state.nodes.get(name);
    if (node !== undefined) this.#push(watcher, nodeChange(node.value));
  }
}

/** Pairs of nodes, in either order. */
class Pairs {
  readonly #all = new Set<string>();

  /** Tells whether they are two, and new as a pair. */
  add(one: string, other: string): boolean {
    const before = this.#all.size;
    if (one !== other) this.#all.add(one < other ? `${one} ${other}` : `${other} ${one}`);
    return this.#all.size > before;
  }
}

/** The nodes that host any of the networks. Those that are routed with each other, and with no others, have the same. */
function hostsOf(entries: readonly NetworkEntry[]): ReadonlySet<string> {
  const hosts = new Set<string>();
  const groups = new Set<string>();
  for (const entry of entries) {
    const { tenant, gateway, peers } = entry.network;
    const isOfGroup = gateway === "distributed" && peers.length === 0;
    if (isOfGroup && groups.has(tenant)) continue;
    if (isOfGroup) groups.add(tenant);
    for (const host of entry.hosts.keys()) hosts.add(host);
  }
  return hosts;
}

function policiesOf({ policies }: TenantPolicies): WatchChangeInit[] {
  return Array.from(policies.values(), (policy) => ({ change: asCase("policy", policy) }));
}

function podChange({ name, pod }: Pick<Extract<StateChange, { kind: "pod" }>, "name" | "pod">): WatchChangeInit {
  return { change: pod === undefined ? { case: "podRemoved", value: name } : asCase("pod", pod) };
}

function policiesRemoved(tenant: string): WatchChangeInit {
  return { change: { case: "policiesRemoved", value: tenant } };
}

function networkRemovedChange(name: string): WatchChangeInit {
  return { change: { case: "networkRemoved", value: name } };
}
