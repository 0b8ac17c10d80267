import type { Agent } from "../../agent/agent.ts";
import type { Attachment } from "../../agent/replica.ts";
import { seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import { namespaceInodeAt } from "../../linux/index.ts";
import { ownerOf } from "./owner.ts";

const lookAgain = seconds(5);

/**
 * Takes away what pods have left that are gone, and that no runtime will ask for: one whose configuration names other plugins by then has asked
 * those. Gone is a pod that the server does not tell of any more, and whose namespace is no more.
 */
export class PodCollector {
  readonly #agent: Agent;
  /** Takes an attachment away, in turn with the runtime's calls about it. */
  readonly #release: (attachment: Attachment) => Promise<void>;
  #isClosed = false;
  /** It will look, or is looking and will again if there is anything left. */
  #isAwake = false;
  #cancel: () => void = () => {};

  constructor(agent: Agent, release: (attachment: Attachment) => Promise<void>) {
    this.#agent = agent;
    this.#release = release;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  /** Looks soon, and again as long as there is something of pods that are not told of. */
  look(): void {
    if (this.#isClosed || this.#isAwake) return;
    this.#isAwake = true;
    this.#cancel = this.#agent.options.clock.after(lookAgain, () => void this.#collect());
  }

  async #collect(): Promise<void> {
    const { attached, pods, options } = this.#agent;
    let isAnyLeft = false;
    for (const attachment of [...attached.values()]) {
      const pod = ownerOf(attachment)?.pod;
      if (pod === undefined || pods.get(pod) !== undefined || attachment.state === "releasing") continue;
      isAnyLeft = true;
      const { id, place } = attachment;
      if (place.kind !== "netns" || namespaceInodeAt(place.netns) !== undefined) continue;
      options.logger.info({ endpoint: id, pod }, "a pod is gone, and its runtime has not said so");
      await this.#release(attachment).catch((error: unknown) =>
        options.logger.warn({ endpoint: id, error: messageOf(error) }, "what a pod has left is taken away later"),
      );
    }
    this.#isAwake = false;
    if (isAnyLeft) this.look();
  }
}
