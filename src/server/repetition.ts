import type { Clock } from "../base/clock.ts";
import type { Duration } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

/** Runs an action again and again, `interval` after the last run ended. A failure is logged and the next run tries anew. */
export class Repetition {
  readonly #context: { readonly clock: Clock; readonly logger: Logger };
  readonly #interval: Duration;
  readonly #what: string;
  readonly #action: () => Promise<void>;
  #cancel: () => void = () => {};
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(
    context: { readonly clock: Clock; readonly logger: Logger },
    interval: Duration,
    what: string,
    action: () => Promise<void>,
  ) {
    this.#context = context;
    this.#interval = interval;
    this.#what = what;
    this.#action = action;
    this.#schedule();
  }

  /** Resolves when a run under way has ended; there is no further one. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
  }

  #schedule(): void {
    this.#cancel = this.#context.clock.after(this.#interval, () => {
      this.#running = this.#run();
    });
  }

  async #run(): Promise<void> {
    try {
      await this.#action();
    } catch (error) {
      this.#context.logger.warn({ error: messageOf(error) }, `${this.#what}: failed, to be repeated`);
    }
    if (!this.#stopped) this.#schedule();
  }
}
