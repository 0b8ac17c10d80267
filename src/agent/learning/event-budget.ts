import type { Clock } from "../../base/clock.ts";
import { type Duration, seconds } from "../../base/duration.ts";
import type { LearningEvent } from "./effects.ts";

/** Events told at once, and how often one more may be told after that. */
const atOnce = 50;
const oneMoreEvery = seconds(1);

/** Passes events on at a bounded rate: a node on which much is learned must not push everything else out of the event log. */
export class EventBudget {
  readonly #clock: Clock;
  readonly #tell: (event: LearningEvent) => void;
  #tokens = atOnce;
  #refilled: number;
  #untold = 0;

  constructor(clock: Clock, tell: (event: LearningEvent) => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#refilled = clock.monotonic();
  }

  add(event: LearningEvent): void {
    const gained = Math.floor((this.#clock.monotonic() - this.#refilled) / oneMoreEvery);
    this.#refilled = (this.#refilled + gained * oneMoreEvery) as Duration;
    this.#tokens = Math.min(atOnce, this.#tokens + gained);
    if (this.#tokens === 0) {
      this.#untold++;
      return;
    }
    this.#tokens--;
    const message =
      this.#untold === 0 ? event.message : `${event.message} (${this.#untold} events before were not told)`;
    this.#untold = 0;
    this.#tell({ ...event, message });
  }
}
