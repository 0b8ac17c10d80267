import type { Clock } from "../base/clock.ts";
import { type Duration, milliseconds } from "../base/duration.ts";

/** Reports a second that nodes make, about, all together: each costs the server half a millisecond of a processor. */
const perSecond = 500;
const shortestPause = milliseconds(50);
/** Pauses a second that are ended because somebody waits, and how many may be at once. */
const hastenedPerSecond = 500;
const hastenedAtOnce = 1_000;
/** What ends by itself this soon is not worth a message. */
const soon = milliseconds(200);

/**
 * How long nodes wait from one report to the next: as long as those that come make it necessary. Each report takes the next
 * place in a row of {@link perSecond}, and its node's next one has to wait for it. Where few report nobody waits.
 */
export class ReportPace {
  readonly #clock: Clock;
  /** The last place that was given away, by the clock that never goes back. */
  #last = 0;
  /** Until when nodes wait, by the same clock. */
  readonly #until = new Map<string, number>();
  #hastenable: number = hastenedAtOnce;
  #countedAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A node has reported, one of so many; answers how long it shall wait. */
  reported(node: string, nodes: number): Duration {
    const now = this.#clock.monotonic();
    // Those that do not wait, for a phase or for somebody, make no row longer than all nodes are.
    this.#last = Math.min(Math.max(this.#last, now) + 1_000 / perSecond, now + (nodes * 1_000) / perSecond);
    const pause = Math.max(shortestPause, Math.ceil(this.#last - now));
    if (pause > soon) this.#until.set(node, now + pause);
    else this.#until.delete(node);
    return milliseconds(pause);
  }

  /** Whether a node that somebody waits for is to be told that it may report now. Not more often than once for each report. */
  mayHasten(node: string): boolean {
    const until = this.#until.get(node);
    const now = this.#clock.monotonic();
    if (until === undefined || until - now < soon) return false;
    const since = now - this.#countedAt;
    this.#hastenable = Math.min(hastenedAtOnce, this.#hastenable + (since * hastenedPerSecond) / 1_000);
    this.#countedAt = now;
    if (this.#hastenable < 1) return false;
    this.#hastenable--;
    this.#until.delete(node);
    return true;
  }

  /** Its agent begins anew, without a pause. */
  forget(node: string): void {
    this.#until.delete(node);
  }
}
