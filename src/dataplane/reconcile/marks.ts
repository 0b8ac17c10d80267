import { type Duration, milliseconds } from "../../base/duration.ts";

/** A refused change is tried again after this; then after twice that, up to the longest pause. */
const firstRetry = milliseconds(100);
export const longestRetry = milliseconds(15_000);

/** How long to wait after so many attempts that failed. */
export function retryPause(attempts: number): Duration {
  return milliseconds(Math.min(firstRetry * 2 ** (attempts - 1), longestRetry));
}

declare const markBrand: unique symbol;
/**
 * A key that must be looked at. Each time another: whoever answers an older mark does not clear a newer one. A number, for
 * there may be hundreds of thousands.
 */
export type Mark = number & { readonly [markBrand]: true };

/** Whether somebody else changed what is there: its repair is worth an event. */
export function isDamaged(mark: Mark): boolean {
  return mark % 2 === 1;
}

/** A change that was refused, until it is done or wanted no more. */
export interface Failure<Key> {
  readonly key: Key;
  readonly error: Error;
  /** By the clock that never goes back, milliseconds: of the first refusal. */
  readonly since: number;
  readonly attempts: number;
  /** When it is tried again by itself. */
  readonly due: number;
}

/** Which keys must be looked at, and which changes were refused and wait for their next attempt. */
export class Marks<Key> implements Iterable<readonly [Key, Mark]> {
  readonly #marks = new Map<Key, Mark>();
  readonly #failures = new Map<Key, Failure<Key>>();
  #last = 0;

  /** What is wanted has changed: it may be accepted where what was wanted before was not. */
  mark(key: Key): void {
    const present = this.#marks.get(key);
    this.#marks.set(key, this.#next(present !== undefined && isDamaged(present)));
    const failure = this.#failures.get(key);
    if (failure !== undefined) this.#failures.set(key, { ...failure, due: 0 });
  }

  /** What is there was changed. One that is marked already was not as it should be anyway. */
  damage(key: Key): void {
    if (!this.#marks.has(key)) this.#marks.set(key, this.#next(true));
  }

  /** Makes the mark anew: an answer that is under way is not to clear it. */
  renew(key: Key): void {
    const mark = this.#marks.get(key);
    if (mark !== undefined) this.#marks.set(key, this.#next(isDamaged(mark)));
  }

  get(key: Key): Mark | undefined {
    return this.#marks.get(key);
  }

  [Symbol.iterator](): Iterator<readonly [Key, Mark]> {
    return this.#marks[Symbol.iterator]();
  }

  get size(): number {
    return this.#marks.size;
  }

  get failures(): Iterable<Failure<Key>> {
    return this.#failures.values();
  }

  failureOf(key: Key): Failure<Key> | undefined {
    return this.#failures.get(key);
  }

  /** Whether it was refused so lately that it is not to be tried yet. */
  isWaiting(key: Key, now: number): boolean {
    const failure = this.#failures.get(key);
    return failure !== undefined && failure.due > now;
  }

  /** It is as wanted: clears the mark if it is still `mark`; `undefined`: whichever it is. Tells whether none is left. */
  settle(key: Key, mark: Mark | undefined): boolean {
    this.#failures.delete(key);
    if (mark !== undefined && this.#marks.get(key) !== mark) return false;
    this.#marks.delete(key);
    return true;
  }

  refuse(key: Key, error: Error, now: number): void {
    const before = this.#failures.get(key);
    const attempts = (before?.attempts ?? 0) + 1;
    const due = now + retryPause(attempts);
    this.#failures.set(key, { key, error, since: before?.since ?? now, attempts, due });
    if (!this.#marks.has(key)) this.#marks.set(key, this.#next(false));
  }

  clear(): void {
    this.#marks.clear();
    this.#failures.clear();
  }

  #next(isOfDamage: boolean): Mark {
    this.#last += 2;
    return (this.#last + (isOfDamage ? 1 : 0)) as Mark;
  }
}
