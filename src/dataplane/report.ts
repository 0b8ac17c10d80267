import type { Clock } from "../base/clock.ts";
import { type Duration, milliseconds } from "../base/duration.ts";
import { type KernelObject, nameOfObject } from "./objects.ts";
import { type Failure, longestRetry, retryPause } from "./reconcile/marks.ts";

/** What the dataplane tells of its work, for the operator's event log. */
export interface DataplaneEvent {
  readonly level: "info" | "warning" | "error";
  readonly kind: "adjusted" | "repaired" | "failed" | "recovered" | "resynchronised" | "dropped";
  readonly object: KernelObject;
  readonly message: string;
}

export type Report = (event: DataplaneEvent) => void;

/** One kernel object that is not as it should be. */
export interface Problem {
  readonly object: KernelObject;
  readonly error: Error;
  /** How often it was tried. */
  readonly attempts: number;
  /** When it failed first since it was well, milliseconds by the clock that never goes back. */
  readonly since: number;
}

/** What whoever tries an object again knows of that. */
type Schedule = Pick<Failure<unknown>, "due"> & Partial<Pick<Failure<unknown>, "attempts" | "since">>;

interface Waiting extends Problem {
  /** Who found it knows when it is tried again, whatever changes. */
  readonly isScheduled: boolean;
  /** By the monotonic clock. */
  readonly retryAt: number;
}

/**
 * The objects that are not as they should be; each is reported once when it fails and once when it is well again. Each
 * waits by itself before it is tried again: events that its own failed work or another's made do not bring it forward.
 */
export class Problems {
  readonly #problems = new Map<string, Waiting>();
  readonly #report: Report;
  readonly #clock: Clock;
  /** When the pass that is under way began, by the monotonic clock: what is due is judged by this one moment. */
  #passBegan = 0;
  /** Of parts whose passes are their own: {@link get}, {@link find}, {@link list} and {@link size} have theirs, too. */
  readonly #parts = new Set<Problems>();
  readonly #leave: () => void = () => {};

  constructor(report: Report, clock: Clock, whole?: Problems) {
    this.#report = report;
    this.#clock = clock;
    if (whole === undefined) return;
    whole.#parts.add(this);
    this.#leave = () => whole.#parts.delete(this);
  }

  /** The part is gone, and its problems with it. */
  close(): void {
    this.#leave();
  }

  /** `schedule`: of who tries it again; absent: as {@link attempt} says. */
  failed(object: KernelObject, error: Error, schedule?: Schedule): void {
    const name = nameOfObject(object);
    const before = this.#problems.get(name);
    const now = this.#clock.monotonic();
    const attempts = schedule?.attempts ?? (before?.attempts ?? 0) + 1;
    this.#problems.set(name, {
      object,
      error,
      attempts,
      since: schedule?.since ?? before?.since ?? now,
      retryAt: schedule?.due ?? now + retryPause(attempts),
      isScheduled: schedule !== undefined,
    });
    if (before?.error.message !== error.message)
      this.#report({ level: "error", kind: "failed", object, message: error.message });
  }

  /** To be called only when the object itself is known to be as it should be. */
  cleared(object: KernelObject): void {
    const name = nameOfObject(object);
    if (!this.#problems.delete(name)) return;
    this.#report({ level: "info", kind: "recovered", object, message: `${name} is as it should be again` });
  }

  /** Does the work on an object and records how it ended; tells whether the object is as it should be. One that failed a moment ago is left alone. */
  async attempt(object: KernelObject, work: () => Promise<void>): Promise<boolean> {
    if (this.isWaiting(object)) return false;
    try {
      await work();
      this.cleared(object);
      return true;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.failed(object, error);
      return false;
    }
  }

  /** Whether the object failed so lately that it is not to be tried yet. */
  isWaiting(object: KernelObject): boolean {
    const problem = this.#problems.get(nameOfObject(object));
    return problem !== undefined && problem.retryAt > this.#passBegan;
  }

  /** Another look at everything begins; what is due by now may be tried. */
  beginPass(): void {
    this.#passBegan = this.#clock.monotonic();
  }

  /** What is desired has changed: nothing waits any longer. */
  retryAll(): void {
    for (const [name, problem] of this.#problems)
      if (!problem.isScheduled) this.#problems.set(name, { ...problem, retryAt: this.#passBegan });
  }

  /** When the next object is to be tried again; `undefined`: there are no problems. */
  get nextRetry(): Duration | undefined {
    if (this.#problems.size === 0) return undefined;
    const now = this.#clock.monotonic();
    // What was due and was not tried depends on something else, whose own time comes.
    const waiting = [...this.#problems.values()].filter(({ retryAt }) => retryAt > this.#passBegan);
    return milliseconds(Math.max(0, Math.min(longestRetry, ...waiting.map(({ retryAt }) => retryAt - now))));
  }

  /** Objects that nobody wants any more have no problems. */
  forget(isGone: (object: KernelObject) => boolean): void {
    for (const [name, { object }] of this.#problems) if (isGone(object)) this.#problems.delete(name);
  }

  get(object: KernelObject): Problem | undefined {
    const name = nameOfObject(object);
    for (const { problems } of this.#all()) if (problems.has(name)) return problems.get(name);
    return undefined;
  }

  /** The first of an object that is meant. */
  find(isMeant: (object: KernelObject) => boolean): Problem | undefined {
    return this.list().find(({ object }) => isMeant(object));
  }

  get size(): number {
    return this.#all().reduce((size, { problems }) => size + problems.size, 0);
  }

  list(): readonly Problem[] {
    return this.#all().flatMap(({ problems }) => [...problems.values()]);
  }

  #all(): readonly { readonly problems: ReadonlyMap<string, Waiting> }[] {
    return [{ problems: this.#problems }, ...[...this.#parts].flatMap((part) => part.#all())];
  }
}
