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

  /** A new stream begins; what an earlier one left incomplete is void. */
  begin(): void {
    this.#clear();
  }

  add(changes: readonly SessionChange[]): void {
    for (const change of changes) {
      if (change.kind === "nodes-begin") this.#renewedNodes = new Set();
      else if (change.kind === "network-begin") this.#renewedNetworks.set(change.name, new Set());
      else {
        if (change.kind === "node") this.#renewedNodes?.add(change.node.name);
        if (change.kind === "endpoint") this.#renewedNetworks.get(change.endpoint.network)?.add(change.endpoint.id);
        if (change.kind === "block") this.#renewedNetworks.get(change.block.network)?.add(change.block.cidr);
        this.#changes.push(change);
      }
    }
  }

  /** The state is complete: the step that leads to it. What was sent whole and not named again is gone. */
  complete(held: HeldState): readonly ReplicaChange[] {
    const changes = this.#changes;
    for (const [network, named] of this.#renewedNetworks) {
      for (const id of held.endpointIdsOf(network))
        if (!named.has(id)) changes.push({ kind: "endpoint-removed", network, id });
      for (const cidr of held.blockCidrsOf(network))
        if (!named.has(cidr)) changes.push({ kind: "block-removed", network, cidr });
    }
    if (this.#renewedNodes !== undefined)
      for (const name of held.nodeNames())
        if (!this.#renewedNodes.has(name)) changes.push({ kind: "node-removed", name });
    this.#clear();
    return changes;
  }

  #clear(): void {
    this.#changes = [];
    this.#renewedNetworks.clear();
    this.#renewedNodes = undefined;
  }
}
