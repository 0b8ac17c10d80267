import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { blockToMessage, endpointToMessage, networkStateToMessage, nodeToMessage } from "../api/convert.ts";
import { type WatchChangeSchema, type WatchResponse, WatchResponseSchema } from "../api/generated/weft/v1/node_pb.js";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { Block, Endpoint, Node } from "../model/resources.ts";
import type { NetworkEntry } from "./state.ts";

export type WatchChangeInit = MessageInitShape<typeof WatchChangeSchema>;

/** Changes in one message at most. */
const messageLimit = 1_000;
/** Changes waiting for one watcher at most; a whole network counts for a sixteenth of its endpoints and blocks. */
const queueLimit = 20_000;

/** What one commit, or several, mean to one watcher: complete only as a whole. */
interface Segment {
  readonly parts: readonly Part[];
  readonly weight: number;
  readonly revision: number;
}

type Part = readonly WatchChangeInit[] | Snapshot;

/** A network as of one moment. Endpoints and blocks never change in place, so the references are the snapshot. */
interface Snapshot {
  readonly begin: WatchChangeInit;
  readonly blocks: readonly Block[];
  readonly endpoints: readonly Endpoint[];
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
  #parts: Part[] = [];
  #partsWeight = 0;
  #queue: Segment[] = [];
  #queueWeight = 0;
  #wake: (() => void) | undefined;
  #ended: WeftError | "done" | undefined;

  constructor(node: string, generation: number, source: IpAddress | undefined) {
    this.node = node;
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
    const last = this.#parts.at(-1);
    if (Array.isArray(last)) last.push(change);
    else this.#parts.push([change]);
    this.#partsWeight++;
  }

  /** Of the endpoints of an l3 network its node needs its own alone: the others are behind their blocks. */
  pushNetwork(entry: NetworkEntry): void {
    const isRouted = entry.network.mode === "l3";
    const endpoints = [...(isRouted ? (entry.hosts.get(this.node)?.endpoints ?? []) : entry.endpoints())];
    const blocks = [...entry.ownedBlocks()];
    const begin: WatchChangeInit = { change: { case: "networkBegin", value: networkStateToMessage(entry) } };
    this.#parts.push({ begin, blocks, endpoints });
    this.#partsWeight += 1 + Math.ceil((endpoints.length + blocks.length) / 16);
  }

  /** What was pushed is consistent now, as of `revision`. `force`: say so even when it is nothing. */
  flush(revision: number, force = false): void {
    if (this.#parts.length === 0 && !force) return;
    const segment = { parts: this.#parts, weight: this.#partsWeight, revision };
    this.#parts = [];
    this.#partsWeight = 0;
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
  for (const part of segment.parts) {
    if (!("begin" in part)) {
      yield* part;
      continue;
    }
    yield part.begin;
    for (const block of part.blocks) yield blockChange(block);
    for (const endpoint of part.endpoints) yield endpointChange(endpoint);
  }
}

export function endpointChange(endpoint: Endpoint): WatchChangeInit {
  return { change: { case: "endpoint", value: endpointToMessage(endpoint) } };
}

export function endpointRemovedChange(network: string, id: string): WatchChangeInit {
  return { change: { case: "endpointRemoved", value: { network, id } } };
}

export function blockChange(block: Block): WatchChangeInit {
  return { change: { case: "block", value: blockToMessage(block) } };
}

/** Made once for each node: at 5,000 nodes of a network that all connect, 25 million of them wait at a time. */
const nodeChanges = new WeakMap<Node, WatchChangeInit>();

export function nodeChange(node: Node): WatchChangeInit {
  let change = nodeChanges.get(node);
  if (change === undefined) {
    change = { change: { case: "node", value: nodeToMessage(node) } };
    nodeChanges.set(node, change);
  }
  return change;
}
