import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { KernelObject, Problems } from "../dataplane/index.ts";
import type { Replica, ReplicaChange } from "./replica.ts";

const saveAgain = seconds(5);

/**
 * Brings what the server said to disk. A disk that is full loses nothing: what could not be written is written with the
 * next change, or a little later.
 */
export class ReplicaWriter {
  readonly #replica: Pick<Replica, "apply" | "forgetPartial" | "revision">;
  readonly #problems: Problems;
  readonly #clock: Clock;
  #revision: number;
  /** Changes up to {@link revision} that are not on disk yet. */
  #unsaved: readonly ReplicaChange[] = [];
  #cancel: () => void = () => {};

  constructor(replica: Pick<Replica, "apply" | "forgetPartial" | "revision">, problems: Problems, clock: Clock) {
    this.#replica = replica;
    this.#problems = problems;
    this.#clock = clock;
    this.#revision = replica.revision;
  }

  /** Of the last complete state, on disk or still to be written. */
  get revision(): number {
    return this.#revision;
  }

  /** What is on disk is not whole: the server is asked for everything. */
  distrust(): void {
    this.#revision = 0;
  }

  /** Lets go on disk of networks that had not come whole when the agent ended. They lack their network, and do no harm otherwise. */
  forgetPartial(): void {
    try {
      this.#replica.forgetPartial();
    } catch (error) {
      this.#problems.failed(agentDatabase, error instanceof Error ? error : new Error(messageOf(error)));
    }
  }

  /** Takes over changes as of a complete state; the disk follows at once if it can. `isDurable`: as {@link Replica.apply} has it. */
  save(changes: readonly ReplicaChange[], revision: number, isDurable = true): void {
    // Together: a revision without its changes would be resumed from, and they would never come again.
    this.#unsaved = this.#unsaved.concat(changes);
    this.#revision = revision;
    this.write(isDurable);
  }

  /** Writes what is not on disk, and the revision in any case. */
  write(isDurable = true): void {
    this.#cancel();
    try {
      this.#replica.apply(this.#unsaved, this.#revision, isDurable);
      this.#unsaved = [];
      this.#problems.cleared(agentDatabase);
    } catch (error) {
      this.#problems.failed(agentDatabase, error instanceof Error ? error : new Error(messageOf(error)));
      this.#cancel = this.#clock.after(saveAgain, () => this.write());
    }
  }

  close(): void {
    this.#cancel();
  }
}

export const agentDatabase: KernelObject = { kind: "agent database" };
