import { isDeepStrictEqual } from "node:util";
import type { Agent } from "../../agent/agent.ts";
import { isInPlace } from "../../agent/replica.ts";
import { seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import type { Labels } from "../../model/policy/index.ts";
import { ownerOf } from "./owner.ts";

const lookAgain = seconds(5);

/** Gives endpoints of pods the labels that these have by now. */
export class LabelFollower {
  readonly #agent: Agent;
  #isLooking = false;
  #isWanted = false;
  #isClosed = false;
  #cancel: () => void = () => {};

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  /** Looks soon whether all have them. */
  look(): void {
    this.#isWanted = true;
    if (!this.#isLooking) void this.#lookUntilDone();
  }

  async #lookUntilDone(): Promise<void> {
    this.#isLooking = true;
    this.#cancel();
    // What changes together is looked at together.
    await Promise.resolve();
    let isAnyOther = false;
    while (this.#isWanted && !this.#isClosed) {
      this.#isWanted = false;
      isAnyOther = false;
      for (const [id, labels] of this.#others()) {
        isAnyOther = true;
        await this.#agent
          .setLabels(id, labels)
          .catch((error: unknown) =>
            this.#agent.options.logger.info({ endpoint: id, error: messageOf(error) }, "labels are set later"),
          );
      }
    }
    this.#isLooking = false;
    // What was set comes back as a change of the server's state; what was not is tried again.
    if (isAnyOther && !this.#isClosed) this.#cancel = this.#agent.options.clock.after(lookAgain, () => this.look());
  }

  /** Endpoints with other labels than their pods, and these. */
  #others(): [id: string, labels: Labels][] {
    const { attached, desired, pods } = this.#agent;
    return [...attached.values()].flatMap((attachment): [string, Labels][] => {
      const pod = pods.get(ownerOf(attachment)?.pod ?? "");
      const endpoint = desired.own.get(attachment.id);
      if (pod === undefined || endpoint === undefined || !isInPlace(attachment)) return [];
      const { labels = {} } = pod;
      return isDeepStrictEqual(labels, endpoint.labels ?? {}) ? [] : [[attachment.id, labels]];
    });
  }
}
