import type { NodeIdentity } from "../api/node-uri.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import { parseIp } from "../base/ip.ts";
import { parseMac } from "../base/mac.ts";
import type { AttachmentKind } from "../model/attachment-kind.ts";
import type { Endpoint } from "../model/resources.ts";
import type { OfferedPort, Standby, StandbyPlace } from "../model/standby.ts";
import type { Condition, Transaction } from "../store/store.ts";
import { type Endpoints, requireNetwork } from "./endpoints.ts";
import type { Identities } from "./identities.ts";
import type { Ledger } from "./ledger.ts";
import { records } from "./records.ts";
import { Repetition } from "./repetition.ts";
import type { NetworkEntry, StoredEndpoint } from "./state.ts";

/** The other nodes have this long to learn that what the new node sends is welcome. Who is later follows with what it hears next. */
const preparationTime = seconds(5);
/** A node that was asked to take an endpoint over has this long; afterwards the endpoint stays where it is. */
const takeOverTime = seconds(30);
/** Reports that come together are looked at once. */
const gatherTime = milliseconds(20);
/** Nodes that are gone are looked for this often. */
const lookAgain = seconds(5);

/** What shall move where. */
export interface MigrationRequest {
  /** Id, MAC or address. */
  readonly name: string;
  /** Empty: any, if only one has such an endpoint. */
  readonly network: string;
  /** Where to. */
  readonly node: string;
  /** Where it shall be attached there; `undefined`: by a tap like the one that it has. */
  readonly place: StandbyPlace | undefined;
}

const nothing: Transaction = { conditions: [], operations: [] };

/** How an endpoint came to its new node. */
export interface Migration {
  readonly endpoint: Endpoint;
  readonly formerNode: string;
  /** The endpoint is the new node's at this revision. */
  readonly revision: number;
}

/**
 * Endpoints that move to another node and keep what they have. One node makes ready (its {@link Standby}), everybody learns that what
 * that one sends is welcome, and then it takes the endpoint over in one commit; the node that it left forwards what others still
 * send there, until all have reported that they follow. At each moment the store says of one node that it has the endpoint.
 */
export class Migrations {
  readonly #ledger: Ledger;
  readonly #identities: Identities;
  readonly #endpoints: Endpoints;
  /** Why nodes could not do their part, by endpoint, for those who wait. */
  readonly #refusals = new Map<string, string>();
  /** Networks with endpoints that move, or may: those whose nodes all follow are forwarded to no more. */
  readonly #watched = new Set<NetworkEntry>();
  readonly #gathered = new Set<NetworkEntry>();
  readonly #ending = new Set<string>();
  /** Endpoints that somebody waits for to move. */
  readonly #awaited = new Set<string>();
  /** When others of those that a node shall take over as soon as it is ready were first seen: by the clock that never goes back. */
  readonly #unawaited = new Map<string, number>();
  readonly #stopListening: () => void;
  readonly #sweeper: Repetition;
  #cancelLook: (() => void) | undefined;

  constructor(ledger: Ledger, identities: Identities, endpoints: Endpoints) {
    this.#ledger = ledger;
    this.#identities = identities;
    this.#endpoints = endpoints;
    for (const entry of ledger.state.networks.values()) if (entry.moving.size > 0) this.#watched.add(entry);
    this.#stopListening = ledger.readiness.listen((entry) => {
      if (entry !== undefined) this.#gather([entry]);
      else this.#gather(this.#watched);
    });
    this.#sweeper = new Repetition(ledger, lookAgain, "end what forwards to endpoints that moved", async () =>
      this.#gather(this.#watched),
    );
  }

  async close(): Promise<void> {
    this.#stopListening();
    this.#cancelLook?.();
    await this.#sweeper.stop();
  }

  /** The caller makes ready to take an endpoint over when that announces itself there. */
  async prepare(
    caller: NodeIdentity,
    network: string,
    name: string,
  ): Promise<{ readonly endpoint: Endpoint; readonly revision: number }> {
    const attempted = `make ready to take over endpoint ${name} of network ${network}`;
    // Who may not host the network is told nothing of what is in it.
    this.#endpoints.requireFit(caller.name, requireNetwork(this.#ledger.state, network, attempted), attempted);
    const { id, node, movable, standby } = this.#find(name, network, attempted);
    // To displace takes more than to be admitted: the word of whoever has it, or of an administrator.
    if (movable !== true && standby?.node !== caller.name && node !== caller.name)
      throw new WeftError({
        code: "permission-denied",
        attempted,
        reason: `node ${node} has it, and nobody has said that it may come here`,
        hint: `on the server's host: weft migrate ${id} --to ${caller.name} --on-announcement; or attach it with --movable where it is`,
      });
    const revision = await this.#stand(id, { node: caller.name, when: "announced" }, attempted, () => {
      const identity = this.#identities.requireCurrent(caller, attempted);
      return [{ key: records.identity.key(caller.name), revision: identity.revision }];
    });
    return { endpoint: this.#require(id, attempted), revision };
  }

  /** Moves an endpoint to a node: resolves when that has it. Otherwise the endpoint stays where it was. `signal`: nobody waits any more. */
  async migrate({ name, network, node, place }: MigrationRequest, signal: AbortSignal): Promise<Migration> {
    const attempted = `move endpoint ${name} to node ${node}`;
    const { id, node: formerNode, standby: before } = this.#find(name, network, attempted);
    this.#requireConnected(node, attempted, "see: weft node list");
    if (before?.node !== node && formerNode !== node)
      this.#requireConnected(
        formerNode,
        attempted,
        `it is to say how the endpoint is attached; if it is dead: weft node fail ${formerNode}`,
      );
    if (this.#awaited.has(id))
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: "somebody moves it right now",
        hint: "see: weft endpoint show",
      });
    this.#refusals.delete(id);
    this.#awaited.add(id);
    try {
      await this.#stand(id, { node, when: "ready", ...(place === undefined ? {} : { place }) }, attempted, () => []);
      await this.#until(() => this.#outcomeOf(id, node) !== "waiting", takeOverTime, signal);
      const isLate = this.#outcomeOf(id, node) === "waiting";
      if (isLate) await this.#giveUp(id, node, before, attempted);
      const endpoint = this.#require(id, attempted);
      // It may have moved while that was given up.
      if (endpoint.node === node) return { endpoint, formerNode, revision: this.#ledger.state.revision };
      const refusal = this.#refusals.get(id);
      if (signal.aborted)
        throw new WeftError({ code: "unavailable", attempted, reason: "whoever asked for it waits no more" });
      const late = `node ${node} did not take it over within ${takeOverTime / 1_000} s`;
      throw new WeftError({
        code: refusal === undefined ? "unavailable" : "failed-precondition",
        attempted,
        reason: refusal ?? (isLate ? late : "somebody cancelled it"),
        hint: `it stays on node ${endpoint.node}; on the other node, weft status and weft events say more`,
      });
    } finally {
      this.#refusals.delete(id);
      this.#awaited.delete(id);
    }
  }

  /** Lets a node stand by, and take the endpoint over when that announces itself there. */
  async admit({ name, network, node, place }: MigrationRequest): Promise<Migration> {
    const attempted = `let node ${node} stand by for endpoint ${name}`;
    const { id, node: formerNode } = this.#find(name, network, attempted);
    const standby: Standby = { node, when: "announced", ...(place === undefined ? {} : { place }) };
    const revision = await this.#stand(id, standby, attempted, () => []);
    return { endpoint: this.#require(id, attempted), formerNode, revision };
  }

  #requireConnected(node: string, attempted: string, hint: string): void {
    const { state, readiness } = this.#ledger;
    if (readiness.isConnected(node)) return;
    const isKnown = state.nodes.has(node);
    throw new WeftError({
      code: isKnown ? "unavailable" : "not-found",
      attempted,
      reason: isKnown ? `node ${node} is not connected` : `there is no node ${node}`,
      hint,
    });
  }

  /** The node is waited for no more; if it stood by before it does so again. */
  async #giveUp(id: string, node: string, before: Standby | undefined, attempted: string): Promise<void> {
    await this.#ledger.commit(attempted, () => {
      const known = this.#ledger.state.endpoints.get(id);
      if (known?.standby?.node !== node || known.standby.when !== "ready") return nothing;
      const { standby: _, ...rest } = fieldsOf(known);
      return changed(known, before?.node === node ? { ...rest, standby: before } : rest);
    });
  }

  /** No node makes ready any more. `node`: the one that did. */
  async cancel(
    name: string,
    network: string,
  ): Promise<{ readonly endpoint: Endpoint; readonly node: string | undefined }> {
    const attempted = `cancel the move of endpoint ${name}`;
    const { id, standby } = this.#find(name, network, attempted);
    await this.#stopStanding(id, attempted, () => true);
    return { endpoint: this.#require(id, attempted), node: standby?.node };
  }

  /** The caller says how its endpoint is attached, or why no other node can attach it by itself. */
  async offer(caller: NodeIdentity, id: string, port: OfferedPort | undefined, reason: string): Promise<void> {
    const attempted = `offer the port of endpoint ${id}`;
    if (port === undefined) {
      if (this.#awaited.has(id) && this.#ledger.state.endpoints.get(id)?.node === caller.name)
        this.#refusals.set(id, reason);
      await this.#stopStanding(id, attempted, ({ when }) => when === "ready", caller);
      return;
    }
    await this.#ledger.commit(attempted, () => {
      this.#identities.requireCurrent(caller, attempted);
      const known = this.#require(id, attempted);
      if (known.node !== caller.name || known.standby?.when !== "ready") return nothing;
      return changed(known, { ...fieldsOf(known), standby: { ...known.standby, port } });
    });
  }

  /** Resolves when the other nodes take what the caller sends in the endpoint's network, or have had time enough for that. */
  async awaitStandby(caller: NodeIdentity, id: string): Promise<void> {
    const attempted = `stand by for endpoint ${id}`;
    const { state, readiness } = this.#ledger;
    const { network, revision, standby } = this.#require(id, attempted);
    if (standby?.node !== caller.name) throw notStanding(attempted, caller.name);
    const entry = requireNetwork(state, network, attempted);
    const isKnown = (): boolean => {
      // The caller has its part in place, and says so with this.
      const late = [...readiness.behindOf(entry, revision)].filter(
        ({ node, isWaitedFor }) => isWaitedFor && node !== caller.name,
      );
      for (const { node } of late) readiness.hasten(node);
      return late.length === 0;
    };
    await this.#until(isKnown, preparationTime, undefined, entry);
  }

  /** The caller has all in place for the endpoint, which is its own from now on. */
  async takeOver(caller: NodeIdentity, id: string, attachment: AttachmentKind): Promise<number> {
    const attempted = `take over endpoint ${id}`;
    this.#unawaited.delete(id);
    return this.#ledger.commit(attempted, () => {
      const identity = this.#identities.requireCurrent(caller, attempted);
      const known = this.#require(id, attempted);
      const { standby, formerNodes = [], ...rest } = fieldsOf(known);
      if (known.node === caller.name) return nothing;
      if (standby?.node !== caller.name) throw notStanding(attempted, caller.name);
      // What it was admitted for may be long ago.
      this.#endpoints.requireFit(caller.name, requireNetwork(this.#ledger.state, known.network, attempted), attempted);
      const left = standby.fromDead === true ? [] : [known.node];
      const former = [...formerNodes.filter((node) => node !== caller.name), ...left];
      const passed = former.length === 0 ? {} : { formerNodes: former };
      const moved = { ...rest, node: caller.name, attachment, sequence: known.sequence + 1, ...passed };
      const { conditions, operations } = changed(known, moved);
      const current = { key: records.identity.key(caller.name), revision: identity.revision };
      return { conditions: [...conditions, current], operations };
    });
  }

  /** Those of the ids that the caller stands by for it does so no more. */
  async leave(caller: NodeIdentity, ids: readonly string[]): Promise<void> {
    const { endpoints } = this.#ledger.state;
    for (const id of ids) if (endpoints.get(id)?.standby?.node === caller.name) await this.decline(caller, id, "");
  }

  /** The caller makes ready no more. `reason`: why it cannot; empty: nothing to say. */
  async decline(caller: NodeIdentity, id: string, reason: string): Promise<void> {
    const attempted = `decline endpoint ${id}`;
    const standby = this.#ledger.state.endpoints.get(id)?.standby;
    if (standby?.node !== caller.name) return;
    if (reason !== "" && this.#awaited.has(id)) this.#refusals.set(id, reason);
    await this.#stopStanding(id, attempted, ({ node }) => node === caller.name, caller);
    // There is nobody to have it any more.
    if (standby.fromDead === true) await this.#endpoints.releaseAny([id], attempted);
  }

  /** The caller gives up endpoints: those that another node stands by for go to that one. Answers the others. */
  async handOver(caller: NodeIdentity, ids: readonly string[]): Promise<readonly string[]> {
    const { endpoints } = this.#ledger.state;
    const isStoodFor = (id: string): boolean => {
      const known = endpoints.get(id);
      return known?.node === caller.name && known.standby !== undefined;
    };
    const handed = ids.filter(isStoodFor);
    for (const id of handed) {
      const attempted = `hand endpoint ${id} over`;
      await this.#ledger.commit(attempted, () => {
        this.#identities.requireCurrent(caller, attempted);
        const known = endpoints.get(id);
        if (known?.node !== caller.name || known.standby?.when !== "announced") return nothing;
        return changed(known, { ...fieldsOf(known), standby: { ...known.standby, when: "ready" } });
      });
    }
    return ids.filter((id) => !handed.includes(id));
  }

  async #stand(
    id: string,
    standby: Standby,
    attempted: string,
    conditionsOf: () => readonly Condition[],
  ): Promise<number> {
    return this.#ledger.commit(attempted, () => {
      const conditions = conditionsOf();
      const known = this.#require(id, attempted);
      this.#requireMovable(known, standby, attempted);
      const present = known.standby;
      if (present?.node === standby.node && (present.when === standby.when || standby.when === "announced"))
        return nothing;
      const plan = changed(known, { ...fieldsOf(known), standby });
      return { conditions: [...conditions, ...plan.conditions], operations: plan.operations };
    });
  }

  #requireMovable(known: StoredEndpoint, { node }: Standby, attempted: string): void {
    const { state } = this.#ledger;
    const entry = requireNetwork(state, known.network, attempted);
    const refuse = (reason: string, hint: string): WeftError =>
      new WeftError({ code: "failed-precondition", attempted, reason, hint });
    this.#endpoints.requireFit(node, entry, attempted);
    if (entry.network.learning === "data-plane")
      throw refuse(
        `the tunnels of network ${known.network} learn for themselves where its endpoints are`,
        "detach it here and attach it there, with its --mac and --ip: others follow when it sends",
      );
    if (entry.network.mode === "l3")
      throw refuse(
        `network ${known.network} is an l3 network, in which addresses belong to blocks of their nodes`,
        "endpoints that keep their addresses when they move need an l2 network",
      );
    if (known.attachment === "learned")
      throw refuse(
        "it was learned: it moves by itself, with what is heard of it",
        "move the endpoint that it is behind",
      );
    if (known.attachment === "external")
      throw refuse(
        "its addresses are held for an interface that is not weft's",
        "whoever made that interface must make it on the other node",
      );
    if (known.node === node) throw refuse(`it is on node ${node} already`, "see: weft endpoint show");
    if (known.standby !== undefined && known.standby.node !== node)
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `node ${known.standby.node} makes ready to take it over`,
        hint: `cancel that first: weft migrate ${known.id} --cancel`,
      });
  }

  async #stopStanding(
    id: string,
    attempted: string,
    isMeant: (standby: Standby) => boolean,
    caller?: NodeIdentity,
  ): Promise<void> {
    this.#unawaited.delete(id);
    await this.#ledger.commit(attempted, () => {
      if (caller !== undefined) this.#identities.requireCurrent(caller, attempted);
      const known = this.#ledger.state.endpoints.get(id);
      if (known?.standby === undefined || !isMeant(known.standby)) return nothing;
      const isParty = caller === undefined || [known.node, known.standby.node].includes(caller.name);
      if (!isParty) return nothing;
      const { standby: _, ...rest } = fieldsOf(known);
      return changed(known, rest);
    });
  }

  #outcomeOf(id: string, node: string): "waiting" | "moved" | "cancelled" {
    const endpoint = this.#ledger.state.endpoints.get(id);
    if (endpoint?.node === node) return "moved";
    return endpoint?.standby?.node === node ? "waiting" : "cancelled";
  }

  /** Resolves when it is so, or the time is over, or nobody waits any more. */
  async #until(isSo: () => boolean, limit: number, signal: AbortSignal | undefined, of?: NetworkEntry): Promise<void> {
    if (isSo() || signal?.aborted === true) return;
    const { clock, readiness } = this.#ledger;
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = readiness.listen((entry) => {
      if ((of === undefined || entry === undefined || entry === of) && isSo()) resolve();
    });
    const cancel = clock.after(milliseconds(limit), resolve);
    signal?.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    cancel();
    stop();
  }

  #gather(entries: Iterable<NetworkEntry>): void {
    for (const entry of entries) {
      if (entry.moving.size === 0) this.#watched.delete(entry);
      else {
        this.#watched.add(entry);
        this.#gathered.add(entry);
      }
    }
    if (this.#gathered.size === 0) return;
    this.#cancelLook ??= this.#ledger.clock.after(gatherTime, () => {
      this.#cancelLook = undefined;
      const gathered = [...this.#gathered];
      this.#gathered.clear();
      for (const entry of gathered) for (const id of entry.moving) void this.#settle(entry, id);
    });
  }

  /** Ends what forwards to the endpoint once everybody follows, and what waits for nodes that are gone. */
  async #settle(entry: NetworkEntry, id: string): Promise<void> {
    const { state, readiness, logger } = this.#ledger;
    if (state.networks.get(entry.network.name) !== entry || this.#ending.has(id)) return;
    const isAbandoned = this.#isAbandoned(id);
    const plan = (): Transaction => {
      const known = state.endpoints.get(id);
      if (known === undefined) return nothing;
      const { standby, formerNodes = [], ...rest } = fieldsOf(known);
      // One that is away sends as it did. One that never reports cannot be waited for.
      const isFollowed =
        formerNodes.length === 0 ||
        readiness
          .behindOf(entry, known.revision)
          .every(({ node, isWaitedFor }) => !isWaitedFor && readiness.isConnected(node));
      const former = formerNodes.filter((node) => state.nodes.has(node) && !isFollowed);
      const stands = standby !== undefined && state.nodes.has(standby.node) && !isAbandoned;
      if (former.length === formerNodes.length && stands === (standby !== undefined)) return nothing;
      return changed(known, {
        ...rest,
        ...(stands ? { standby } : {}),
        ...(former.length === 0 ? {} : { formerNodes: former }),
      });
    };
    if (plan() === nothing) return;
    this.#ending.add(id);
    try {
      await this.#ledger.commit(`end the move of endpoint ${id}`, plan);
    } catch (error) {
      logger.warn({ endpoint: id, error: messageOf(error) }, "could not end what forwards to an endpoint that moved");
    } finally {
      this.#ending.delete(id);
    }
  }

  /**
   * Nobody waits any more for a node to take the endpoint over as soon as it is ready, because the server was started anew meanwhile,
   * and the node has had its time.
   */
  #isAbandoned(id: string): boolean {
    const { state, clock } = this.#ledger;
    const standby = state.endpoints.get(id)?.standby;
    // Of a dead node's the one that stands by is all that there is.
    if (standby?.when !== "ready" || standby.fromDead === true || this.#awaited.has(id)) {
      this.#unawaited.delete(id);
      return false;
    }
    const since = this.#unawaited.get(id) ?? clock.monotonic();
    this.#unawaited.set(id, since);
    return clock.monotonic() - since >= takeOverTime;
  }

  #require(id: string, attempted: string): StoredEndpoint {
    const known = this.#ledger.state.endpoints.get(id);
    if (known !== undefined) return known;
    throw noEndpoint(attempted);
  }

  /** By id, MAC or address; `network` empty: in any, if only one has it. */
  #find(name: string, network: string, attempted: string): StoredEndpoint {
    const { state } = this.#ledger;
    const byId = state.endpoints.get(name);
    if (byId !== undefined && (network === "" || byId.network === network)) return byId;
    if (byId !== undefined) throw noEndpoint(attempted);
    const [address, mac] = [parseIp(name), parseMac(name)];
    const entries = network === "" ? state.networks.values() : [requireNetwork(state, network, attempted)];
    const found: StoredEndpoint[] = [];
    for (const entry of entries) {
      if (!entry.isUsed) continue;
      const byAddress = address.ok ? entry.pool.ownerOf(address.value) : undefined;
      const id = mac.ok ? entry.pool.ownerOfMac(mac.value) : byAddress;
      const endpoint = id === undefined ? undefined : state.endpoints.get(id);
      if (endpoint !== undefined) found.push(endpoint);
    }
    const [only, ...more] = found;
    if (only === undefined) throw noEndpoint(attempted);
    if (more.length === 0) return only;
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `${found.length} networks have such an endpoint: ${found
        .slice(0, 5)
        .map((each) => `${each.id} in ${each.network}`)
        .join(", ")}`,
      hint: "name it by its id, or its network with --network",
    });
  }
}

function noEndpoint(attempted: string): WeftError {
  return new WeftError({
    code: "not-found",
    attempted,
    reason: "there is no such endpoint",
    hint: "list the endpoints with: weft endpoint list",
  });
}

function notStanding(attempted: string, node: string): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted,
    reason: `node ${node} does not stand by for it`,
    hint: "its move may have been cancelled",
  });
}

/** What the store has of it. */
function fieldsOf({ revision: _, ...endpoint }: StoredEndpoint): Endpoint {
  return endpoint;
}

function changed(known: StoredEndpoint, endpoint: Endpoint): Transaction {
  const operation = records.endpoint.put(endpoint, known.network, known.id);
  return { conditions: [{ key: operation.key, revision: known.revision }], operations: [operation] };
}
