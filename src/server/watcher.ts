import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { networkState } from "../api/convert.ts";
import { type WatchChangeSchema, type WatchResponse, WatchResponseSchema } from "../api/generated/weft/v1/node_pb.js";
import { asCase, policyMember } from "../api/kinds.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { Block, Endpoint, Node } from "../model/resources.ts";
import type { NetworkEntry, Part, PartList } from "./state.ts";

export type WatchChangeInit = MessageInitShape<typeof WatchChangeSchema>;

/** Changes in one message at most. */
const messageLimit = 1_000;
/** Changes in one part of a network: few enough that what happens between two of them does not wait long. */
const partLimit = 500;
/** Changes waiting for one watcher at most. */
const queueLimit = 20_000;
/** So many endpoints, blocks or members of what is told whole count as one change. */
const snapshotShare = 16;

/** What one commit, or several, mean to one watcher: complete only as a whole. */
interface Segment {
  readonly pieces: readonly Piece[];
  readonly weight: number;
  readonly revision: number;
}

type Piece = readonly WatchChangeInit[] | Snapshot | PolicySnapshot;

/** Some of what is in a network. */
export interface NetworkPart {
  readonly changes: readonly WatchChangeInit[];
  readonly complete: boolean;
}

export interface WatcherOptions {
  /** It takes large networks in parts. */
  readonly inParts: boolean;
  /** Whether this is still so. */
  readonly isCurrent: (part: Part) => boolean;
}

/** A network as of one moment. What is in it never changes in place, so the references are the snapshot. */
interface Snapshot {
  readonly begin: WatchChangeInit;
  readonly parts: readonly PartList[];
}

/** The policies of a tenant and its members, or those that changed, as of one moment. The same for all that are told at that moment. */
export interface PolicySnapshot {
  readonly changes: readonly WatchChangeInit[];
  readonly tenant: string;
  readonly members: readonly Endpoint[];
}

/**
 * One stream to one node: what waits to be sent on it, in bounded memory. Messages are built when the stream can
 * take them, so a network of any size costs a waiting watcher one reference for each endpoint.
 */
export class Watcher {
  readonly node: string;
  readonly generation: number;
  /** Where its connection comes from. */
  readonly source: IpAddress | undefined;
  #pieces: Piece[] = [];
  #piecesWeight = 0;
  #queue: Segment[] = [];
  #queueWeight = 0;
  readonly #options: WatcherOptions;
  /** What has not been asked for yet of networks that come in parts. */
  readonly #following = new Map<string, Generator<WatchChangeInit>>();
  #wake: (() => void) | undefined;
  #ended: WeftError | "done" | undefined;

  constructor(node: string, generation: number, source: IpAddress | undefined, options: WatcherOptions) {
    this.node = node;
    this.#options = options;
    this.generation = generation;
    this.source = source;
  }

  /** Changes that wait to be sent. */
  get waiting(): number {
    return this.#queueWeight;
  }

  get isEnded(): boolean {
    return this.#ended !== undefined;
  }

  push(change: WatchChangeInit): void {
    const last = this.#pieces.at(-1);
    if (Array.isArray(last)) last.push(change);
    else this.#pieces.push([change]);
    this.#piecesWeight++;
  }

  pushNetwork(entry: NetworkEntry): void {
    const parts = entry.partsSeenBy(this.node);
    this.#pieces.push({ begin: { change: { case: "networkBegin", value: networkState.toMessage(entry) } }, parts });
    const count = parts.reduce((sum, { values }) => sum + values.length, 0);
    this.#piecesWeight += 1 + Math.ceil(count / snapshotShare);
  }

  pushPolicies(policies: PolicySnapshot): void {
    const { changes, members } = policies;
    this.#pieces.push(policies);
    this.#piecesWeight += changes.length + Math.ceil(members.length / snapshotShare);
  }

  /** A network that the node did not host before: a large one comes in parts, so that nothing else waits for it. */
  pushNewNetwork(entry: NetworkEntry): void {
    const parts = entry.partsSeenBy(this.node);
    const count = parts.reduce((sum, { values }) => sum + values.length, 0);
    if (!this.#options.inParts || count <= messageLimit) this.pushNetwork(entry);
    else {
      this.push({ change: { case: "networkFollows", value: networkState.toMessage(entry) } });
      this.#following.set(entry.network.name, this.#currentChanges(parts));
    }
  }

  /** The node hosts it no more. */
  dropNetwork(name: string): void {
    this.#following.delete(name);
  }

  /** What is next of a network that comes in parts; `undefined`: it does not. */
  nextPart(network: string): NetworkPart | undefined {
    const following = this.#following.get(network);
    if (following === undefined) return undefined;
    const changes: WatchChangeInit[] = [];
    while (changes.length < partLimit) {
      const { done, value } = following.next();
      if (done === true) {
        this.#following.delete(network);
        return { changes, complete: true };
      }
      changes.push(value);
    }
    return { changes, complete: false };
  }

  /** What was pushed is consistent now, as of `revision`. `force`: say so even when it is nothing. */
  flush(revision: number, force = false): void {
    if (this.#pieces.length === 0 && !force) return;
    const segment = { pieces: this.#pieces, weight: this.#piecesWeight, revision };
    this.#pieces = [];
    this.#piecesWeight = 0;
    if (this.#ended !== undefined) return;
    if (this.#queue.length > 0 && this.#queueWeight + segment.weight > queueLimit) {
      this.end(
        new WeftError({
          code: "unavailable",
          attempted: `watch as node ${this.node}`,
          reason: `the node reads too slowly: ${this.#queueWeight} changes wait for it`,
          hint: "watch again from the last complete revision",
        }),
      );
      return;
    }
    this.#queue.push(segment);
    this.#queueWeight += segment.weight;
    this.#wake?.();
  }

  /** Ends the stream: at once, dropping what waits, and with `reason` if there is one. */
  end(reason: WeftError | "done"): void {
    this.#ended ??= reason;
    this.#queue = [];
    this.#queueWeight = 0;
    this.#following.clear();
    this.#wake?.();
  }

  async *messages(): AsyncGenerator<WatchResponse> {
    for (;;) {
      if (this.#ended === "done") return;
      if (this.#ended !== undefined) throw this.#ended;
      const segment = this.#queue.shift();
      if (segment === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
        continue;
      }
      for (const message of messagesOf(segment)) {
        yield message;
        if (this.#ended !== undefined) break;
      }
      if (this.#ended === undefined) this.#queueWeight -= segment.weight;
    }
  }

  /** What has changed since was told since. */
  *#currentChanges(parts: readonly PartList[]): Generator<WatchChangeInit> {
    for (const { of, values } of parts)
      for (const value of values) {
        const part = { of, value } as Part;
        if (this.#options.isCurrent(part)) yield partChange(part);
      }
  }
}

function* messagesOf(segment: Segment): Generator<WatchResponse> {
  const { revision } = segment;
  const message = (changes: WatchChangeInit[], complete: boolean): WatchResponse =>
    create(WatchResponseSchema, { changes, revision: BigInt(revision), complete });
  let changes: WatchChangeInit[] = [];
  for (const change of changesOf(segment)) {
    if (changes.length === messageLimit) {
      yield message(changes, false);
      changes = [];
    }
    changes.push(change);
  }
  yield message(changes, true);
}

function* changesOf(segment: Segment): Generator<WatchChangeInit> {
  for (const piece of segment.pieces) {
    if ("members" in piece) {
      yield* piece.changes;
      for (const endpoint of piece.members) yield memberChange(piece.tenant, endpoint);
    } else if ("begin" in piece) {
      yield piece.begin;
      for (const { of, values } of piece.parts) for (const value of values) yield partChange({ of, value } as Part);
    } else yield* piece;
  }
}

export function partChange({ of, value }: Part): WatchChangeInit {
  return { change: asCase(of, value) };
}

/** What refers to a part of a network. */
type PartReference =
  | { readonly of: "block"; readonly value: Pick<Block, "network" | "cidr"> }
  | { readonly of: "endpoint"; readonly value: Pick<Endpoint, "network" | "id"> };

export function partRemoval({ of, value }: PartReference): WatchChangeInit {
  return { change: { case: `${of}Removed`, value } } as WatchChangeInit;
}

/** What policies know an endpoint by. */
export function memberChange(tenant: string, { id, network, ips, labels = {} }: Endpoint): WatchChangeInit {
  return { change: { case: "policyMember", value: policyMember.toMessage({ id, tenant, network, ips, labels }) } };
}

export function memberRemoval(tenant: string, { id, network }: Pick<Endpoint, "id" | "network">): WatchChangeInit {
  return { change: { case: "policyMemberRemoved", value: { tenant, network, id } } };
}

/** Made once for each node: at 5,000 nodes of a network that all connect, 25 million of them wait at a time. */
const nodeChanges = new WeakMap<Node, WatchChangeInit>();

export function nodeChange(node: Node): WatchChangeInit {
  let change = nodeChanges.get(node);
  if (change === undefined) {
    change = { change: asCase("node", node) };
    nodeChanges.set(node, change);
  }
  return change;
}
