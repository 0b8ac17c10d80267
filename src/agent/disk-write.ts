import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { KernelObject, Problems } from "../dataplane/index.ts";

const writeAgain = seconds(5);

/** A write to disk that is tried again with time while the disk refuses it, and a problem until then. */
export class DiskWrite {
  readonly #object: KernelObject;
  readonly #problems: Problems;
  readonly #clock: Clock;
  readonly #write: () => void;
  #isRefused = false;
  #cancel: () => void = () => {};

  /** `write`: all that is to be written by then; throws where the disk refuses. */
  constructor(options: {
    readonly object: KernelObject;
    readonly problems: Problems;
    readonly clock: Clock;
    readonly write: () => void;
  }) {
    this.#object = options.object;
    this.#problems = options.problems;
    this.#clock = options.clock;
    this.#write = options.write;
  }

  /** The disk took nothing lately, and is tried again with time. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  try(): void {
    this.#cancel();
    try {
      this.#write();
      this.#isRefused = false;
      this.#problems.cleared(this.#object);
    } catch (error) {
      this.#isRefused = true;
      this.#problems.failed(this.#object, error instanceof Error ? error : new Error(messageOf(error)));
      this.#cancel = this.#clock.after(writeAgain, () => this.try());
    }
  }

  /** The agent ends: what is not on disk yet has one more chance. */
  close(): void {
    if (this.#isRefused) this.try();
    this.#cancel();
  }
}
