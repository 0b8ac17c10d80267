import { networkStateToMessage } from "../api/convert.ts";
import type { WatchRequest } from "../api/generated/weft/v1/node_pb.js";
import type { Clock } from "../base/clock.ts";
import { WeftError } from "../base/errors.ts";
import type { NodeIdentity } from "./identity/node-identity.ts";
import type { NetworkEntry, State, StateChange } from "./state.ts";
import { endpointChange, endpointRemovedChange, nodeChange, type WatchChangeInit, Watcher } from "./watcher.ts";

/**
 * Tells each watching node what concerns it: the networks that it hosts and the nodes that it shares them with.
 * The cost of a change is the number of nodes that host its network, however many networks and nodes there are.
 */
export class Fanout {
  readonly #state: State;
  readonly #clock: Clock;
  readonly #watchers = new Map<string, Watcher>();
  /** Those for whom the batch under way has changes. */
  readonly #touched = new Set<Watcher>();
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

  /** The changes that wait for the slowest watcher. */
  get longestQueue(): number {
    let longest = 0;
    for (const watcher of this.#watchers.values()) longest = Math.max(longest, watcher.waiting);
    return longest;
  }

  /** Begins a stream: the state of the node's networks first. An older stream of the same node ends. */
  open(identity: NodeIdentity, request: Pick<WatchRequest, "revision" | "networks">): Watcher {
    this.#watchers.get(identity.name)?.end(
      new WeftError({
        code: "failed-precondition",
        attempted: `watch as node ${identity.name}`,
        reason: "the node has opened another watch since",
        hint: "if two hosts run as this node, give one of them another name and a token of its own",
      }),
    );
    const watcher = new Watcher(identity.name, identity.generation);
    this.#watchers.set(identity.name, watcher);
    this.#begin(watcher, Number(request.revision), new Set(request.networks));
    return watcher;
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

  /** One change, told while the state is exactly as of it. */
  notice(change: StateChange): void {
    switch (change.kind) {
      case "endpoint":
        if (change.startsHosting) this.#startHosting(change.entry, change.endpoint.node);
        this.#tellHosts(
          change.entry,
          endpointChange(change.endpoint),
          change.startsHosting ? change.endpoint.node : "",
        );
        break;
      case "endpoint-removed":
        this.#tellHosts(change.entry, endpointRemovedChange(change.entry.network.name, change.endpoint.id), "");
        if (change.stopsHosting) this.#stopHosting(change.entry, change.endpoint.node);
        break;
      case "network":
        this.#tellHosts(change.entry, { change: { case: "network", value: networkStateToMessage(change.entry) } }, "");
        break;
      case "node":
        for (const watcher of this.#concerned(change.node.name)) this.#push(watcher, nodeChange(change.node));
        break;
      case "node-removed":
        this.#lastSeen.delete(change.name);
        for (const watcher of this.#concerned(change.name)) this.#push(watcher, nodeRemovedChange(change.name));
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
  }

  #begin(watcher: Watcher, revision: number, held: Set<string>): void {
    const state = this.#state;
    const hosted = [...state.networks.values()].filter((entry) => entry.hosts.has(watcher.node));
    for (const entry of hosted) for (const host of entry.hosts.keys()) this.#share(watcher, host);
    watcher.push({ change: { case: "nodesBegin", value: true } });
    for (const name of [watcher.node, ...watcher.shared.keys()]) {
      const node = state.nodes.get(name);
      if (node !== undefined) watcher.push(nodeChange(node.value));
    }
    for (const entry of hosted) {
      const { name } = entry.network;
      // A revision of the future is one of another store, or of this one before it was restored from a backup.
      const changed = held.delete(name) && revision <= state.revision ? entry.history.since(revision) : undefined;
      if (changed === undefined) {
        watcher.pushNetwork(entry);
        continue;
      }
      watcher.push({ change: { case: "network", value: networkStateToMessage(entry) } });
      for (const id of changed) {
        const endpoint = state.endpoints.get(id);
        watcher.push(endpoint?.network === name ? endpointChange(endpoint) : endpointRemovedChange(name, id));
      }
    }
    for (const name of held) watcher.push(networkRemovedChange(name));
    watcher.flush(state.revision, true);
  }

  #startHosting(entry: NetworkEntry, node: string): void {
    const own = this.#watchers.get(node);
    for (const host of entry.hosts.keys()) {
      if (host === node) continue;
      if (own !== undefined && this.#share(own, host)) this.#pushNode(own, host);
      const other = this.#watchers.get(host);
      if (other !== undefined && this.#share(other, node)) this.#pushNode(other, node);
    }
    if (own === undefined) return;
    own.pushNetwork(entry);
    this.#touched.add(own);
  }

  #stopHosting(entry: NetworkEntry, node: string): void {
    const own = this.#watchers.get(node);
    if (own !== undefined) this.#push(own, networkRemovedChange(entry.network.name));
    for (const host of entry.hosts.keys()) {
      if (own !== undefined && this.#unshare(own, host)) this.#push(own, nodeRemovedChange(host));
      const other = this.#watchers.get(host);
      if (other !== undefined && this.#unshare(other, node)) this.#push(other, nodeRemovedChange(node));
    }
  }

  #tellHosts(entry: NetworkEntry, change: WatchChangeInit, except: string): void {
    for (const host of entry.hosts.keys()) {
      const watcher = host === except ? undefined : this.#watchers.get(host);
      if (watcher !== undefined) this.#push(watcher, change);
    }
  }

  *#concerned(node: string): Iterable<Watcher> {
    for (const watcher of this.#watchers.values()) if (watcher.node === node || watcher.shared.has(node)) yield watcher;
  }

  #push(watcher: Watcher, change: WatchChangeInit): void {
    watcher.push(change);
    this.#touched.add(watcher);
  }

  #pushNode(watcher: Watcher, name: string): void {
    const node = this.#state.nodes.get(name);
    if (node !== undefined) this.#push(watcher, nodeChange(node.value));
  }

  /** One more network shared with `node`; true when it is the first. */
  #share(watcher: Watcher, node: string): boolean {
    if (node === watcher.node) return false;
    const count = watcher.shared.get(node) ?? 0;
    watcher.shared.set(node, count + 1);
    return count === 0;
  }

  /** One network less shared with `node`; true when it was the last. */
  #unshare(watcher: Watcher, node: string): boolean {
    const count = (watcher.shared.get(node) ?? 1) - 1;
    if (count > 0) watcher.shared.set(node, count);
    else watcher.shared.delete(node);
    return count === 0;
  }
}

function networkRemovedChange(name: string): WatchChangeInit {
  return { change: { case: "networkRemoved", value: name } };
}

function nodeRemovedChange(name: string): WatchChangeInit {
  return { change: { case: "nodeRemoved", value: name } };
}
