import { isDeepStrictEqual } from "node:util";
import type { NodeIdentity } from "../api/node-uri.ts";
import { seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { effectiveMtu } from "../model/mtu.ts";
import { type Labels, parseEndpointLabels } from "../model/policy/index.ts";
import { formatProblem } from "../model/problem.ts";
import type { Endpoint } from "../model/resources.ts";
import type { EndpointDraft } from "../model/schema.ts";
import type { Condition, Operation, Transaction } from "../store/store.ts";
import { type Blocks, declaredBlocks } from "./blocks.ts";
import { claimIn } from "./hold.ts";
import type { Identities } from "./identities.ts";
import { contended, type Ledger } from "./ledger.ts";
import { owners, records, remove } from "./records.ts";
import { Repetition } from "./repetition.ts";
import { requireSelected } from "./selection.ts";
import { type NetworkEntry, quarantineTime, type State, type StoredBlock, type StoredEndpoint } from "./state.ts";

/** How often a claim is made anew when others changed what it rests on. */
const attemptLimit = 10;
/** Endpoints released, or quarantine records forgotten, in one transaction. */
const chunkLimit = 100;
const quarantineSweepInterval = seconds(5);

/** An endpoint as a change left it, and the revision of that. */
export interface LabelledEndpoint {
  readonly endpoint: Endpoint;
  readonly revision: number;
}

/** What shall become of the labels of an endpoint; those that are not named stay. */
export interface LabelChange {
  readonly labels: Labels;
  readonly removedLabels: readonly string[];
}

/** What a node is told about the endpoint that it asked for. */
export interface CreatedEndpoint {
  readonly endpoint: Endpoint;
  readonly entry: NetworkEntry;
  /** The endpoint is part of the state at this revision. */
  readonly revision: number;
}

/**
 * Who owns which endpoint. Addresses are chosen in memory and claimed in the store, so that many requests share
 * one sync to disk; the store's conditions decide, also between several servers.
 */
export class Endpoints {
  readonly #ledger: Ledger;
  readonly #identities: Identities;
  readonly #blocks: Blocks;
  /** Requests under way, by the endpoint's id. */
  readonly #creating = new Map<string, { readonly node: string; readonly created: Promise<CreatedEndpoint> }>();
  readonly #sweeper: Repetition;

  constructor(ledger: Ledger, identities: Identities, blocks: Blocks) {
    this.#ledger = ledger;
    this.#identities = identities;
    this.#blocks = blocks;
    this.#sweeper = new Repetition(ledger, quarantineSweepInterval, "forget released addresses", () => this.#sweep());
  }

  close(): Promise<void> {
    return this.#sweeper.stop();
  }

  /**
   * Claims a MAC and addresses for a new endpoint of the caller. The same id again gives the same answer, as long
   * as what is asked for agrees with what the endpoint has.
   */
  async create(caller: NodeIdentity, draft: EndpointDraft): Promise<CreatedEndpoint> {
    const attempted = `create endpoint ${draft.id} in network ${draft.network}`;
    this.#identities.requireCurrent(caller, attempted);
    const known = this.#ledger.state.endpoints.get(draft.id);
    if (known !== undefined) return this.#repeated(caller, draft, known, attempted);
    const underWay = this.#creating.get(draft.id);
    if (underWay !== undefined) {
      if (underWay.node !== caller.name) throw idTaken(attempted, underWay.node);
      const { endpoint } = await underWay.created;
      return this.#repeated(caller, draft, endpoint, attempted);
    }
    const created = this.#claim(caller, draft, attempted);
    this.#creating.set(draft.id, { node: caller.name, created });
    try {
      return await created;
    } finally {
      this.#creating.delete(draft.id);
    }
  }

  /** Releases endpoints of the caller; ids of none, or of endpoints of other nodes, count as released. */
  async release(caller: NodeIdentity, ids: readonly string[]): Promise<number> {
    const attempted = `delete ${ids.length} endpoints of node ${caller.name}`;
    this.#identities.requireCurrent(caller, attempted);
    // A node that gave up waiting for an answer may delete what is still being made for it.
    await Promise.allSettled(ids.map((id) => this.#creating.get(id)?.created));
    const { endpoints } = this.#ledger.state;
    const own = ids.filter((id) => endpoints.get(id)?.node === caller.name);
    return this.#releaseAll(own, attempted, (endpoint) => {
      const identity = this.#identities.requireCurrent(caller, attempted);
      return endpoint.node === caller.name
        ? [{ key: records.identity.key(caller.name), revision: identity.revision }]
        : undefined;
    });
  }

  /** Releases endpoints whoever owns them, or this node alone: an administrator's doing. */
  releaseAny(ids: readonly string[], attempted: string, node?: string): Promise<number> {
    return this.#releaseAll(ids, attempted, (endpoint) =>
      node === undefined || endpoint.node === node ? [] : undefined,
    );
  }

  /** Takes over what an administrator says of an endpoint, whoever owns it. */
  setLabels(id: string, { labels, removedLabels }: LabelChange): Promise<LabelledEndpoint> {
    return this.#changeLabels(id, `set endpoint ${id}`, (endpoint) => {
      const kept = Object.entries(endpoint.labels ?? {}).filter(([label]) => !removedLabels.includes(label));
      return { ...Object.fromEntries(kept), ...labels };
    });
  }

  /** These are the labels of an endpoint of the caller, and no others. */
  setOwnLabels(caller: NodeIdentity, id: string, labels: Labels): Promise<LabelledEndpoint> {
    const attempted = `set labels of endpoint ${id}`;
    return this.#changeLabels(id, attempted, ({ node }) => {
      if (node === caller.name) return labels;
      throw new WeftError({ code: "permission-denied", attempted, reason: `it is on node ${node}` });
    });
  }

  async #changeLabels(
    id: string,
    attempted: string,
    labelsOf: (endpoint: Endpoint) => Labels,
  ): Promise<LabelledEndpoint> {
    let set: Endpoint | undefined;
    const revision = await this.#ledger.commit(attempted, () => {
      const known = requireEndpoint(this.#ledger.state, id, attempted);
      const { revision: before, labels = {}, ...rest } = known;
      const wanted = parseEndpointLabels(labelsOf(known));
      if (!wanted.ok)
        throw new WeftError({
          code: "invalid-argument",
          attempted,
          reason: wanted.error.map(formatProblem).join("; "),
        });
      set = wanted.value === undefined ? rest : { ...rest, labels: wanted.value };
      if (isDeepStrictEqual(wanted.value ?? {}, labels)) return { conditions: [], operations: [] };
      const operation = records.endpoint.put(set, rest.network, id);
      return { conditions: [{ key: operation.key, revision: before }], operations: [operation] };
    });
    return { endpoint: set as Endpoint, revision };
  }

  #repeated(caller: NodeIdentity, draft: EndpointDraft, endpoint: Endpoint, attempted: string): CreatedEndpoint {
    if (endpoint.node !== caller.name) throw idTaken(attempted, endpoint.node);
    const entry = this.#ledger.state.networks.get(endpoint.network);
    const agrees =
      endpoint.network === draft.network &&
      (draft.mac === undefined || draft.mac === endpoint.mac) &&
      draft.ips.every((ip) => endpoint.ips.includes(ip));
    if (entry === undefined || !agrees)
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `the endpoint exists already, in network ${endpoint.network} with ${endpoint.mac} and ${endpoint.ips.join(", ")}`,
        hint: "use another id for another endpoint",
      });
    return { endpoint, entry, revision: this.#ledger.state.revision };
  }

  async #claim(caller: NodeIdentity, draft: EndpointDraft, attempted: string): Promise<CreatedEndpoint> {
    for (let failures = 0; failures < attemptLimit; ) {
      const identity = this.#identities.requireCurrent(caller, attempted);
      const entry = requireNetwork(this.#ledger.state, draft.network, attempted);
      this.requireFit(caller.name, entry, attempted);
      const { clock } = this.#ledger;
      const blocks = declaredBlocks(this.#ledger.state, entry.network, caller.name);
      const request = { ...draft, node: caller.name, ...(blocks === undefined ? {} : { blocks }) };
      this.#requireFree(entry, request, attempted);
      const need = entry.pool.need(request, clock.monotonic());
      if (!need.ok) throw need.error;
      if (need.value !== undefined) {
        const provided = await this.#blocks.provide(caller, entry, need.value, attempted);
        if (!provided) failures++;
        // Meanwhile others may have taken the room, and the network may have changed.
        continue;
      }
      const holding = entry.pool.allocate(request, clock.monotonic());
      if (!holding.ok) throw holding.error;
      const endpoint: Endpoint = {
        id: draft.id,
        network: entry.network.name,
        node: caller.name,
        mac: holding.value.mac,
        ips: holding.value.ips,
        attachment: draft.attachment,
        ...(draft.labels === undefined ? {} : { labels: draft.labels }),
        ...(draft.movable ? { movable: true } : {}),
        sequence: nextSequence(entry, holding.value.mac),
      };
      const revision = await this.#commitClaim(entry, endpoint, {
        key: records.identity.key(caller.name),
        revision: identity.revision,
      });
      if (revision !== undefined) return { endpoint, entry, revision };
      failures++;
    }
    throw contended(attempted);
  }

  /** What is asked for by name and somebody has is told with whose it is, and how both can be. */
  #requireFree(
    entry: NetworkEntry,
    { id, node, mac, ips }: EndpointDraft & { readonly node: string },
    attempted: string,
  ): void {
    const { pool } = entry;
    for (const address of mac === undefined ? ips : [mac, ...ips]) {
      const owner = address === mac ? pool.ownerOfMac(address) : pool.ownerOf(address as IpAddress);
      const known = owner === undefined || owner === id ? undefined : this.#ledger.state.endpoints.get(owner);
      if (known === undefined) continue;
      const other = address === mac ? "a machine that was cloned needs another one" : "choose another";
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `endpoint ${known.id} on node ${known.node} has ${address}`,
        hint:
          known.node === node || !isMovable(known, entry)
            ? `${other}, or detach that endpoint first`
            : `${other}; or, if it is the same that moved: weft migrate ${known.id} --to ${node}`,
      });
    }
  }

  /** The revision of the claim of what the pool has reserved; undefined: others were faster, and nothing is reserved. */
  async #commitClaim(entry: NetworkEntry, endpoint: Endpoint, identity: Condition): Promise<number | undefined> {
    const { conditions, operations } = claimTransaction(entry, endpoint);
    let revision: number | undefined;
    try {
      const result = await this.#ledger.submit({ conditions: [identity, ...conditions], operations });
      if (result.committed) revision = result.revision;
      return revision;
    } finally {
      if (revision === undefined) entry.pool.release(endpoint, this.#ledger.clock.monotonic());
    }
  }

  /**
   * The node may host the network, and can: it has a VTEP of the network's underlay, and an underlay MTU that carries the network's
   * packets.
   */
  requireFit(name: string, entry: NetworkEntry, attempted: string): void {
    const { state } = this.#ledger;
    if (state.nodeSettings.get(name)?.value.drained === true)
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `node ${name} is drained: it gets no new endpoints`,
        hint: `choose another node, or: weft node undrain ${name}`,
      });
    requireSelected(state, entry.network, name, attempted);
    const node = this.#ledger.state.nodes.get(name)?.value;
    const { network } = entry;
    if (node?.vtepAddresses[network.underlay] === undefined)
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `node ${name} has ${node === undefined ? "not registered a VTEP address yet" : `no ${network.underlay} VTEP address, which network ${network.name} needs`}`,
        hint: `start the agent with an ${network.underlay} address in --underlay`,
      });
    const mtu = effectiveMtu(network, [node]);
    if (!mtu.ok) throw mtu.error;
  }

  async #releaseAll(
    ids: readonly string[],
    attempted: string,
    guard: (endpoint: StoredEndpoint) => readonly Condition[] | undefined,
  ): Promise<number> {
    let { revision } = this.#ledger.state;
    for (let start = 0; start < ids.length; start += chunkLimit) {
      const chunk = new Set(ids.slice(start, start + chunkLimit));
      revision = await this.#ledger.commit(attempted, () => {
        const conditions = new Map<string, Condition>();
        const operations: Operation[] = [];
        for (const id of chunk) {
          const endpoint = this.#ledger.state.endpoints.get(id);
          const guards = endpoint === undefined ? undefined : guard(endpoint);
          if (endpoint === undefined || guards === undefined) continue;
          for (const condition of guards) conditions.set(condition.key, condition);
          const key = records.endpoint.key(endpoint.network, endpoint.id);
          conditions.set(key, { key, revision: endpoint.revision });
          operations.push(...releaseOperations(endpoint, this.#ledger.clock.now()));
        }
        return { conditions: [...conditions.values()], operations };
      });
    }
    return revision;
  }

  /** Forgets what left quarantine. A wall clock that was set back by more than that does not keep records for ever. */
  async #sweep(): Promise<void> {
    const now = this.#ledger.clock.now();
    let transaction: { conditions: Condition[]; operations: Operation[] } = { conditions: [], operations: [] };
    const flush = async (): Promise<void> => {
      if (transaction.operations.length > 0) await this.#ledger.submit(transaction);
      transaction = { conditions: [], operations: [] };
    };
    for (const entry of [...this.#ledger.state.networks.values()])
      for (const { key, released, revision } of [...releasedKeys(entry)]) {
        if (Math.abs(now - released) < quarantineTime) continue;
        transaction.conditions.push({ key, revision });
        transaction.operations.push(remove(key));
        if (transaction.operations.length >= chunkLimit) await flush();
      }
    await flush();
  }
}

/** One that was declared. Of what was learned nobody says anything. */
function requireEndpoint(state: State, id: string, attempted: string): StoredEndpoint {
  const known = state.endpoints.get(id);
  const hint = "list the endpoints with: weft endpoint list";
  if (known === undefined)
    throw new WeftError({ code: "not-found", attempted, reason: `there is no endpoint ${id}`, hint });
  if (known.attachment !== "learned") return known;
  const reason = "it was learned: it comes and goes with what is heard of it, and has no labels";
  throw new WeftError({ code: "failed-precondition", attempted, reason, hint: "label an endpoint that was attached" });
}

/** The network, which must be there. */
export function requireNetwork(state: State, name: string, attempted: string): NetworkEntry {
  const entry = state.networks.get(name);
  if (entry === undefined)
    throw new WeftError({
      code: "not-found",
      attempted,
      reason: `there is no network ${name}`,
      hint: "list the networks with: weft network list",
    });
  return entry;
}

/** The quarantine records of a network. */
export function* releasedKeys(
  entry: NetworkEntry,
): Iterable<{ readonly key: string; readonly released: number; readonly revision: number }> {
  const { name } = entry.network;
  for (const [ip, { value, revision }] of entry.releasedIps)
    yield { key: records.quarantine.key(name, "ip", ip), released: value.released, revision };
  for (const [mac, { value, revision }] of entry.releasedMacs)
    yield { key: records.quarantine.key(name, "mac", mac), released: value.released, revision };
}

/** A MAC that comes back must win against what its last owner said of it. RFC 7432 §7.7. */
export function nextSequence(entry: NetworkEntry, mac: MacAddress): number {
  const released = entry.releasedMacs.get(mac);
  return released === undefined ? 0 : released.value.sequence + 1;
}

function claimTransaction(entry: NetworkEntry, endpoint: Endpoint): Transaction {
  const { network, id, mac, ips } = endpoint;
  const { conditions, operations } = claimIn(entry);
  /** What nobody holds. */
  const claim = (operation: Operation): void => {
    conditions.push({ key: operation.key, revision: 0 });
    operations.push(operation);
  };
  /** Takes an address out of quarantine, in which it may be. */
  const retrieve = (key: string, released: { readonly revision: number } | undefined): void => {
    conditions.push({ key, revision: released?.revision ?? 0 });
    if (released !== undefined) operations.push(remove(key));
  };
  claim(records.endpoint.put(endpoint, network, id));
  for (const block of blocksOf(entry, ips)) {
    conditions.push({ key: records.block.key(network, block.cidr), revision: block.revision });
    // Whoever is about to release it finds it changed.
    if (block.closing) operations.push(records.block.put({ ...block, closing: false }, network, block.cidr));
  }
  claim(owners.mac.put(id, network, mac));
  retrieve(records.quarantine.key(network, "mac", mac), entry.releasedMacs.get(mac));
  for (const ip of ips) {
    claim(owners.address.put(id, network, ip));
    retrieve(records.quarantine.key(network, "ip", ip), entry.releasedIps.get(ip));
  }
  return { conditions, operations };
}

/** The blocks of an l3 network that the addresses are in. */
function blocksOf(entry: NetworkEntry, ips: readonly IpAddress[]): StoredBlock[] {
  return ips.flatMap((ip) => {
    const cidr = entry.pool.blocksAt(ip)?.blockOf(ip);
    return cidr === undefined ? [] : (entry.blocks.get(cidr) ?? []);
  });
}

function releaseOperations(endpoint: Endpoint, released: number): Operation[] {
  const { network, id, mac, ips, sequence } = endpoint;
  const operations = [
    records.endpoint.remove(network, id),
    owners.mac.remove(network, mac),
    records.quarantine.put({ released, sequence }, network, "mac", mac),
  ];
  for (const ip of ips)
    operations.push(
      owners.address.remove(network, ip),
      records.quarantine.put({ released, sequence: 0 }, network, "ip", ip),
    );
  return operations;
}

function idTaken(attempted: string, node: string): WeftError {
  return new WeftError({
    code: "already-exists",
    attempted,
    reason: `node ${node} has an endpoint of this id`,
    hint: "use another id",
  });
}

/** Whether the endpoint can go to another node at all: not what was learned, is not weft's to attach, or has addresses of its node's blocks. */
function isMovable({ attachment }: Pick<Endpoint, "attachment">, { network }: NetworkEntry): boolean {
  return attachment !== "learned" && attachment !== "external" && network.mode === "l2";
}
