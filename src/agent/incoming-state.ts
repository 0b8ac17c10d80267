import type { NetworkState } from "../api/convert.ts";
import type { Cidr } from "../base/cidr.ts";
import type { ReplicaChange } from "./replica.ts";
import type { SessionChange } from "./session.ts";

/** What is held now, to find out what a state that is sent whole no longer names. */
export interface HeldState {
  endpointIdsOf(network: string): readonly string[];
  blockCidrsOf(network: string): readonly Cidr[];
  nodeNames(): Iterable<string>;
}

/** Collects what the server sends until it is complete. Nothing is acted upon before. */
export class IncomingState {
  #changes: ReplicaChange[] = [];
  /** Networks that are being sent whole: the endpoints and blocks named so far. */
  readonly #renewedNetworks = new Map<string, Set<string>>();
  #renewedNodes: Set<string> | undefined;
  /** Networks that come in parts, as they were told last. */
  readonly #following = new Map<string, NetworkState>();
  readonly #partial = new Set<string>();
  /** Nothing of the stream has been complete yet. */
  #isNew = true;

  /** Networks of which something lacks, although the state is complete otherwise: those that come in parts, or did when a stream ended. */
  get partial(): ReadonlySet<string> {
    return this.#partial;
  }

  /** A new stream begins; what an earlier one left incomplete is void. */
  begin(): void {
    this.#following.clear();
    this.#isNew = true;
    this.#clear();
  }

  add(changes: readonly SessionChange[]): void {
    for (const change of changes) this.#add(change);
  }

  /** The state is complete: the step that leads to it. What was sent whole and not named again is gone. */
  complete(held: HeldState): readonly ReplicaChange[] {
    const changes = this.#changes;
    for (const [network, named] of this.#renewedNetworks) {
      for (const id of held.endpointIdsOf(network))
        if (!named.has(id)) changes.push({ kind: "endpoint-removed", network, id });
      for (const cidr of held.blockCidrsOf(network))
        if (!named.has(cidr)) changes.push({ kind: "block-removed", network, cidr });
      this.#partial.delete(network);
    }
    if (this.#isNew) changes.push(...this.#abandoned());
    this.#isNew = false;
    if (this.#renewedNodes !== undefined)
      for (const name of held.nodeNames())
        if (!this.#renewedNodes.has(name)) changes.push({ kind: "node-removed", name });
    this.#clear();
    return changes;
  }

  #add(change: SessionChange): void {
    switch (change.kind) {
      case "nodes-begin":
        this.#renewedNodes = new Set();
        return;
      case "network-begin":
        this.#renewedNetworks.set(change.name, new Set());
        return;
      case "network-follows":
        this.#follow(change.state);
        this.#partial.add(change.state.network.name);
        this.#changes.push({ kind: "network", state: change.state });
        return;
      case "network-complete": {
        const state = this.#following.get(change.name);
        this.#following.delete(change.name);
        this.#partial.delete(change.name);
        // Whoever holds back what is partial gets it now.
        if (state !== undefined) this.#changes.push({ kind: "network", state });
        return;
      }
      case "network":
        if (this.#following.has(change.state.network.name)) this.#follow(change.state);
        break;
      case "network-removed":
        this.#following.delete(change.name);
        this.#partial.delete(change.name);
        break;
      case "node":
        this.#renewedNodes?.add(change.node.name);
        break;
      case "endpoint":
        this.#renewedNetworks.get(change.endpoint.network)?.add(change.endpoint.id);
        break;
      case "block":
        this.#renewedNetworks.get(change.block.network)?.add(change.block.cidr);
        break;
    }
    this.#changes.push(change);
  }

  /** What an earlier stream left partial, and this one does not speak of: the node hosts it no more. */
  *#abandoned(): Generator<ReplicaChange> {
    for (const name of this.#partial) {
      if (this.#following.has(name)) continue;
      this.#partial.delete(name);
      yield { kind: "network-removed", name };
    }
  }

  #follow(state: NetworkState): void {
    this.#following.set(state.network.name, state);
  }

  #clear(): void {
    this.#changes = [];
    this.#renewedNetworks.clear();
    this.#renewedNodes = undefined;
  }
}
