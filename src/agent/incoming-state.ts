import type { NetworkState } from "../api/convert.ts";
import type { Cidr } from "../base/cidr.ts";
import type { ReplicaChange } from "./replica.ts";
import type { SessionChange } from "./session.ts";

/** What is held now, to find out what a state that is sent whole no longer names. */
export interface HeldState {
  endpointIdsOf(network: string): readonly string[];
  blockCidrsOf(network: string): readonly Cidr[];
  nodeNames(): Iterable<string>;
  podNames(): Iterable<string>;
  /** Names of its policies, and ids of whom they speak of. */
  policiesOf(tenant: string): { readonly policies: Iterable<string>; readonly members: Iterable<string> };
}

/** A network that comes in parts. */
export interface FollowingNetwork {
  /** As it was told last. */
  state: NetworkState;
  /** Endpoints and blocks that changes have told of: they hold against what parts say, which may be older. */
  readonly told: Set<string>;
}

/** Collects what the server sends until it is complete. Nothing is acted upon before. */
export class IncomingState {
  #changes: ReplicaChange[] = [];
  /** Networks that are being sent whole: the endpoints and blocks named so far. */
  readonly #renewedNetworks = new Map<string, Set<string>>();
  #renewedNodes: Set<string> | undefined;
  #renewedPods: Set<string> | undefined;
  /** Tenants whose policies are being sent whole: those named so far, and the members, unless these are continued. */
  readonly #renewedPolicies = new Map<string, { readonly policies: Set<string>; readonly members?: Set<string> }>();
  readonly #following = new Map<string, FollowingNetwork>();
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

  /** Networks that come in parts now. */
  get following(): Iterable<FollowingNetwork> {
    return this.#following.values();
  }

  isFollowing(following: FollowingNetwork): boolean {
    return this.#following.get(following.state.network.name) === following;
  }

  /** A part of a network that comes in parts: what of it to act upon at once. The last makes the network whole. */
  part(following: FollowingNetwork, changes: readonly SessionChange[], isLast: boolean): readonly ReplicaChange[] {
    const { state, told } = following;
    const news = changes.filter(
      (change): change is ReplicaChange =>
        (change.kind === "endpoint" && !told.has(change.endpoint.id)) ||
        (change.kind === "block" && !told.has(change.block.cidr)),
    );
    if (!isLast) return news;
    this.#following.delete(state.network.name);
    this.#partial.delete(state.network.name);
    // Whoever held back what was partial gets it now.
    return [...news, { kind: "network", state }];
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
    if (this.#renewedPods !== undefined)
      for (const name of held.podNames()) if (!this.#renewedPods.has(name)) changes.push({ kind: "pod-removed", name });
    for (const [tenant, named] of this.#renewedPolicies) {
      const known = held.policiesOf(tenant);
      for (const name of known.policies)
        if (!named.policies.has(name)) changes.push({ kind: "policy-removed", tenant, name });
      for (const id of known.members)
        if (named.members?.has(id) === false) changes.push({ kind: "policy-member-removed", tenant, network: "", id });
    }
    this.#clear();
    return changes;
  }

  #add(change: SessionChange): void {
    switch (change.kind) {
      case "nodes-begin":
        this.#renewedNodes = new Set();
        this.#renewedPods = new Set();
        return;
      case "network-begin":
        this.#renewedNetworks.set(change.name, new Set());
        this.#following.delete(change.name);
        return;
      case "policies-begin":
        this.#renewedPolicies.set(change.tenant, { policies: new Set(), members: new Set() });
        return;
      case "policies-resumed":
        this.#renewedPolicies.set(change.tenant, { policies: new Set() });
        return;
      case "policies-removed":
        this.#renewedPolicies.delete(change.tenant);
        break;
      case "policy":
        this.#renewedPolicies.get(change.policy.tenant)?.policies.add(change.policy.name);
        break;
      case "policy-member":
        this.#renewedPolicies.get(change.member.tenant)?.members?.add(change.member.id);
        break;
      case "network-follows":
        this.#following.set(change.state.network.name, { state: change.state, told: new Set() });
        this.#partial.add(change.state.network.name);
        this.#changes.push({ kind: "network", state: change.state });
        return;
      case "network": {
        const following = this.#following.get(change.state.network.name);
        if (following !== undefined) following.state = change.state;
        break;
      }
      case "network-removed":
        this.#following.delete(change.name);
        this.#partial.delete(change.name);
        break;
      case "node":
        this.#renewedNodes?.add(change.node.name);
        break;
      case "pod":
        this.#renewedPods?.add(change.pod.name);
        break;
      case "endpoint":
        this.#tell(change.endpoint.network, change.endpoint.id);
        break;
      case "block":
        this.#tell(change.block.network, change.block.cidr);
        break;
      case "endpoint-removed":
        this.#following.get(change.network)?.told.add(change.id);
        break;
      case "block-removed":
        this.#following.get(change.network)?.told.add(change.cidr);
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

  #tell(network: string, key: string): void {
    this.#renewedNetworks.get(network)?.add(key);
    this.#following.get(network)?.told.add(key);
  }

  #clear(): void {
    this.#changes = [];
    this.#renewedNetworks.clear();
    this.#renewedNodes = undefined;
    this.#renewedPods = undefined;
    this.#renewedPolicies.clear();
  }
}
