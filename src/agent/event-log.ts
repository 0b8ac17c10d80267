import type { MessageInitShape } from "@bufbuild/protobuf";
import type { EventSchema } from "../api/generated/weft/v1/diagnosis_pb.js";
import type { Clock } from "../base/clock.ts";
import { type KernelObject, nameOfObject } from "../dataplane/index.ts";

export interface AgentEvent {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: "info" | "warning" | "error";
  readonly kind:
    | "adjusted"
    | "attached"
    | "changing"
    | "connected"
    | "detached"
    | "disconnected"
    | "dropped"
    | "failed"
    | "learned"
    | "limited"
    | "moved"
    | "recovered"
    | "refused"
    | "repaired"
    | "resynchronised"
    | "withdrawn";
  readonly object: KernelObject;
  readonly message: string;
}

/** How many events of the past are kept. */
const kept = 1_000;

/** As it crosses the API. */
export function eventToMessage(event: AgentEvent): MessageInitShape<typeof EventSchema> {
  return { ...event, object: nameOfObject(event.object), reference: event.object, time: BigInt(event.time) };
}

/** Where events outlive the agent. */
interface History {
  /** The last ones, oldest first. */
  read(count: number): AgentEvent[];
  add(event: AgentEvent): void;
}

/** What the agent did and found, for `weft events`: the recent past, that of earlier agents of this node among it, and whatever comes. */
export class EventLog {
  readonly #clock: Clock;
  readonly #history: History | undefined;
  /** The last ones, oldest first. */
  readonly #events: AgentEvent[];
  /** How many there were. */
  #count: number;
  /** Whoever reads has something to look at. */
  #woken = Promise.withResolvers<void>();

  constructor(clock: Clock, history?: History) {
    this.#clock = clock;
    this.#history = history;
    this.#events = history?.read(kept) ?? [];
    this.#count = this.#events.length;
  }

  add(event: Omit<AgentEvent, "time">): void {
    const added = { time: this.#clock.now(), ...event };
    this.#events.push(added);
    this.#history?.add(added);
    if (this.#events.length > kept) this.#events.shift();
    this.#count++;
    this.#wake();
  }

  /** Those that are kept, oldest first. */
  get recent(): readonly AgentEvent[] {
    return this.#events;
  }

  /** The events that are kept and, if they are followed, those to come until `signal`. One who reads too slowly is told of how many he misses. */
  async *read(isFollowed: boolean, signal: AbortSignal): AsyncGenerator<AgentEvent> {
    let next = this.#count - this.#events.length;
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    while (!signal.aborted) {
      const oldest = this.#count - this.#events.length;
      const event = this.#events[next - oldest];
      if (next < oldest) {
        yield this.#missed(oldest - next);
        next = oldest;
      } else if (event !== undefined) {
        yield event;
        next++;
      } else if (isFollowed) await this.#woken.promise;
      else return;
    }
  }

  #wake(): void {
    this.#woken.resolve();
    this.#woken = Promise.withResolvers();
  }

  #missed(count: number): AgentEvent {
    const message = `${count} are left out: they came faster than they were read`;
    return { time: this.#clock.now(), level: "warning", kind: "limited", object: { kind: "events" }, message };
  }
}
