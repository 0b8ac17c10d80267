import type { Clock } from "../../base/clock.ts";
import { type Duration, seconds } from "../../base/duration.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { NodeDataplane } from "../../dataplane/index.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { type Arrivals, type Departures, type Train, trainLimits } from "./correspondence.ts";
import { sendTrain, TrainWatch, wayOf } from "./train.ts";

/** Trains watched for at a time, whoever asks, and for how long at most. */
const watchedAtMost = 16;
const watchedFor: Duration = seconds(15);
/** Trains sent at a time. */
const sentAtMost = 4;

interface Watched {
  readonly from: string;
  readonly watch: TrainWatch;
  readonly cancel: () => void;
}

/** Helps other nodes to examine the ways between them and this one. They can make it send to themselves alone, and little. */
export class ProbeResponder {
  readonly #host: KernelNamespace;
  readonly #dataplane: NodeDataplane;
  readonly #clock: Clock;
  readonly #vtepsOf: (node: string) => readonly IpAddress[];
  readonly #watched = new Map<bigint, Watched>();
  #sending = 0;

  constructor(options: {
    readonly host: KernelNamespace;
    readonly dataplane: NodeDataplane;
    readonly clock: Clock;
    /** Of a node that shares networks with this one. */
    readonly vtepsOf: (node: string) => readonly IpAddress[];
  }) {
    this.#host = options.host;
    this.#dataplane = options.dataplane;
    this.#clock = options.clock;
    this.#vtepsOf = options.vtepsOf;
  }

  expect(from: string, train: Pick<Train, "id" | "network">): void {
    const attempted = `watch for probes of node ${from}`;
    if (this.#watched.size >= watchedAtMost)
      throw new WeftError({ code: "exhausted", attempted, reason: `${watchedAtMost} trains are watched for already` });
    const { to } = this.#wayTo(from, train.network, attempted);
    const watch = new TrainWatch(this.#host, this.#dataplane, train, to);
    const cancel = this.#clock.after(watchedFor, () => this.#end(train.id));
    this.#end(train.id);
    this.#watched.set(train.id, { from, watch, cancel });
  }

  count(from: string, id: bigint): Arrivals {
    const watched = this.#watched.get(id);
    if (watched?.from !== from)
      throw new WeftError({
        code: "not-found",
        attempted: `count probes of node ${from}`,
        reason: "no such train is watched for, or it was for too long",
      });
    const arrivals = watched.watch.count();
    this.#end(id);
    return arrivals;
  }

  async send(to: string, train: Train): Promise<Departures> {
    const attempted = `send probes to node ${to}`;
    const { sizes, interval } = train;
    const isFit =
      sizes.length <= trainLimits.probes &&
      interval <= trainLimits.interval &&
      sizes.every((size) => size <= trainLimits.size);
    if (!isFit)
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `found ${sizes.length} probes, one every ${interval} µs; allowed: ${trainLimits.probes} of ${trainLimits.size} octets, one every ${trainLimits.interval} µs`,
      });
    if (this.#sending >= sentAtMost)
      throw new WeftError({ code: "exhausted", attempted, reason: `${sentAtMost} trains are being sent already` });
    const way = this.#wayTo(to, train.network, attempted);
    this.#sending++;
    try {
      return await sendTrain(this.#host, way, train);
    } finally {
      this.#sending--;
    }
  }

  close(): void {
    for (const id of [...this.#watched.keys()]) this.#end(id);
  }

  #end(id: bigint): void {
    const watched = this.#watched.get(id);
    if (watched === undefined) return;
    this.#watched.delete(id);
    watched.cancel();
    watched.watch[Symbol.dispose]();
  }

  #wayTo(node: string, network: string, attempted: string) {
    for (const vtep of this.#vtepsOf(node)) {
      const way = wayOf(this.#dataplane, network, vtep);
      if (way !== undefined) return way;
    }
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `network ${network} has no tunnel from this node to that one`,
    });
  }
}
