import type { Clock } from "../base/clock.ts";
import type { KernelObject } from "../dataplane/index.ts";

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
    | "failed"
    | "learnt"
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

/** What the agent did and found, for `weft events`: the recent past, and whatever comes. */
export class EventLog {
  readonly #clock: Clock;
  readonly #events: AgentEvent[] = [];
  readonly #listeners = new Set<(event: AgentEvent) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(event: Omit<AgentEvent, "time">): void {
    const dated = { time: this.#clock.now(), ...event };
    this.#events.push(dated);
    if (this.#events.length > kept) this.#events.shift();
    for (const listener of this.#listeners) listener(dated);
  }

  recent(): readonly AgentEvent[] {
    return [...this.#events];
  }

  /** Calls back with each event to come until the returned function is called. */
  listen(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
