import { type Duration, milliseconds } from "./duration.ts";

/** 24.8 days: Node.js has a timer that is longer go off at once. */
export const longestTimer = milliseconds(2 ** 31 - 1);

/** Time as the program sees it. Injected, so that tests own time and no state machine reads the wall clock. */
export interface Clock {
  /** Milliseconds since 1970 (UTC). May jump in either direction: use it for records, never for timeouts. */
  now(): number;
  /** Milliseconds since some fixed moment; never goes back. */
  monotonic(): number;
  /** Calls `action` once after `delay`; the returned function cancels it. Does not keep the process alive. */
  after(delay: Duration, action: () => void): () => void;
}

/** The wall clock is looked at this often for what is due by it: it jumps, and does not wake timers when it does. */
const lookAgain = 60_000 as Duration;

/** Calls `action` once when the wall clock has reached `moment`, within a minute also after it jumped there. Returns how to cancel. */
export function atMoment(clock: Clock, moment: number, action: () => void): () => void {
  const wait = (): (() => void) => {
    const remaining = Math.max(0, moment - clock.now()) as Duration;
    return clock.after(Math.min(remaining, lookAgain) as Duration, () => {
      if (clock.now() >= moment) action();
      else cancel = wait();
    });
  };
  let cancel = wait();
  return () => cancel();
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delay, action) {
    const wait = (left: number): NodeJS.Timeout => {
      const isLast = left <= longestTimer;
      const next = (): void => {
        timer = wait(left - longestTimer);
      };
      return setTimeout(isLast ? action : next, isLast ? left : longestTimer).unref();
    };
    let timer = wait(delay);
    return () => clearTimeout(timer);
  },
};

/** A clock that moves only when told to. */
export class ManualClock implements Clock {
  #now: number;
  #monotonic = 0;
  #timers: { readonly at: number; readonly action: () => void }[] = [];

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  after(delay: Duration, action: () => void): () => void {
    const timer = { at: this.#monotonic + delay, action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Moves both clocks on and runs what has come due, in order of time. */
  advance(by: Duration): void {
    const end = this.#monotonic + by;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now += due.at - this.#monotonic;
      this.#monotonic = due.at;
      due.action();
    }
    this.#now += end - this.#monotonic;
    this.#monotonic = end;
  }

  /** The wall clock jumps (NTP, a resumed VM); the monotonic clock does not. */
  jump(by: Duration): void {
    this.#now += by;
  }
}
