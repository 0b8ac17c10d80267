import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";

/** RFC 7432 §15.1: so many moves within the time are no move but two that claim to be the same. */
const moveLimit = 5;
const moveWindow = seconds(180);

/**
 * Finds what moves to and fro between nodes, because it is there twice: after {@link moveLimit} moves within
 * {@link moveWindow} it stays where it is, until that time has passed since the last one. In memory only: after a restart
 * of the server the count begins anew.
 */
export class MoveLimiter {
  readonly #clock: Clock;
  /** Times of the last moves; what moved last is last. */
  readonly #moves = new Map<string, readonly number[]>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds for which it may not move; 0: it may. */
  frozenFor(what: string): number {
    const times = this.#moves.get(what) ?? [];
    const last = times.at(-1);
    if (last === undefined || times.length < moveLimit) return 0;
    return Math.max(0, last + moveWindow - this.#clock.monotonic());
  }

  /** It may move again, as if it had not. */
  forget(what: string): void {
    this.#moves.delete(what);
  }

  record(what: string): void {
    const now = this.#clock.monotonic();
    const recent = (this.#moves.get(what) ?? []).filter((time) => time + moveWindow > now);
    this.#moves.delete(what);
    this.#moves.set(what, [...recent, now]);
    for (const [other, times] of this.#moves) {
      if ((times.at(-1) ?? 0) + moveWindow > now) break;
      this.#moves.delete(other);
    }
  }

  /** How many moved lately. */
  get size(): number {
    return this.#moves.size;
  }
}
