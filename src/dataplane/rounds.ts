/** Work that is done one after the other, in the order in which it was asked for. One that fails leaves the next alone. */
export class Turns {
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** Resolves with what the work does, after all that was asked for before has ended. */
  take<Value>(work: () => Promise<Value>): Promise<Value> {
    this.#waiting++;
    const done = this.#tail.then(work).finally(() => this.#waiting--);
    this.#tail = done.catch(() => {});
    return done;
  }

  /** Whether nothing is under way and nothing waits. */
  get isIdle(): boolean {
    return this.#waiting === 0;
  }

  /** Resolves when all that was asked for so far has ended. */
  async ended(): Promise<void> {
    await this.#tail;
  }
}

/** Work that is done again and again, one round at a time: what is asked for during a round is done by one more. */
export class Rounds {
  readonly turns = new Turns();
  readonly #work: () => Promise<void>;
  #next: Promise<void> | undefined;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves when a round that began after this call has ended. */
  run(): Promise<void> {
    this.#next ??= this.turns.take(() => {
      this.#next = undefined;
      return this.#work();
    });
    return this.#next;
  }
}
