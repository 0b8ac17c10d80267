import type { Clock } from "../../base/clock.ts";
import { type Failure, isDamaged, Marks } from "./marks.ts";
import type { Objects } from "./objects.ts";

/** Which {@link Objects} must be looked at, and which of them failed and wait for their next attempt. */
export class ReconciledObjects<Key> {
  readonly #objects: Objects<Key>;
  readonly #clock: Clock;
  readonly #marks = new Marks<Key>();

  constructor(objects: Objects<Key>, clock: Clock) {
    this.#objects = objects;
    this.#clock = clock;
  }

  /** It came, went or changed in the desired state, or what it is made on did. */
  mark(key: Key): void {
    this.#marks.mark(key);
  }

  markAll(): void {
    for (const key of this.#objects.keys()) this.#marks.mark(key);
  }

  /** Somebody else changed what is there. */
  damage(key: Key): void {
    this.#marks.damage(key);
    this.#marks.renew(key);
  }

  /** All are looked at by the next pass; what differs by then was changed by somebody else. */
  distrust(): void {
    for (const key of this.#objects.keys()) this.damage(key);
  }

  isPending(key: Key): boolean {
    return this.#marks.get(key) !== undefined;
  }

  get pending(): readonly Key[] {
    return Array.from(this.#marks, ([key]) => key);
  }

  get failures(): Iterable<Failure<Key>> {
    return this.#marks.failures;
  }

  hasFailed(key: Key): boolean {
    return this.#marks.failureOf(key) !== undefined;
  }

  /** Whether all that are wanted are as they shall be, as far as is known, and all others are gone. */
  get isSettled(): boolean {
    return this.#marks.size === 0;
  }

  /** Makes those that are wanted. One that fails leaves the others alone, and is tried again with time. */
  async ensure(): Promise<void> {
    const attempted = new Set<Key>();
    // One may ask for another that comes after it.
    for (;;) {
      const due = this.#due(true).filter(([key]) => !attempted.has(key));
      if (due.length === 0) return;
      for (const [key, mark] of due) {
        attempted.add(key);
        await this.#attempt(key, true, () => this.#objects.ensure(key, isDamaged(mark)));
      }
    }
  }

  /** Takes away those that are wanted no more. */
  async remove(): Promise<void> {
    const due = this.#due(false).map(([key]) => key);
    await this.#objects.removeTogether?.(due.filter((key) => !this.hasFailed(key)));
    for (const key of due) await this.#attempt(key, false, () => this.#objects.remove(key));
  }

  /** Takes away and makes what is due. Throws the first refusal that stands. */
  async settle(): Promise<void> {
    await this.remove();
    await this.ensure();
    for (const { error } of this.failures) throw error;
  }

  #due(isWanted: boolean) {
    const now = this.#clock.monotonic();
    const objects = this.#objects;
    const due = [...this.#marks].filter(
      ([key]) => objects.isWanted(key) === isWanted && !this.#marks.isWaiting(key, now),
    );
    const { rankOf } = objects;
    return rankOf === undefined ? due : due.sort(([a], [b]) => rankOf.call(objects, a) - rankOf.call(objects, b));
  }

  async #attempt(key: Key, isWanted: boolean, work: () => Promise<void>): Promise<void> {
    // It may have come or gone while others were seen to.
    if (this.#objects.isWanted(key) !== isWanted) return;
    const mark = this.#marks.get(key);
    try {
      await work();
      // What changes or is damaged meanwhile marks it anew.
      this.#marks.settle(key, mark);
      this.#objects.onAttempt(key, undefined);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#marks.refuse(key, error, this.#clock.monotonic());
      this.#objects.onAttempt(key, this.#marks.failureOf(key));
    }
  }
}
