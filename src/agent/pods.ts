import type { Pod } from "../model/resources.ts";
import type { PodChange } from "./replica.ts";

/** The pods that orchestrators have put on this node, as the server last told. */
export class Pods {
  readonly #pods = new Map<string, Pod>();
  /** Who waits for a pod to be told of. */
  readonly #waiting = new Map<string, Set<(pod: Pod) => void>>();
  /** One of them came, changed or is gone. */
  onChange: () => void = () => {};

  get names(): Iterable<string> {
    return this.#pods.keys();
  }

  get(name: string): Pod | undefined {
    return this.#pods.get(name);
  }

  apply(change: PodChange): void {
    if (change.kind === "pod-removed") this.#pods.delete(change.name);
    else {
      this.#pods.set(change.pod.name, change.pod);
      for (const resolve of this.#waiting.get(change.pod.name) ?? []) resolve(change.pod);
    }
    this.onChange();
  }

  /** As soon as the server has told of it. Rejects with the reason of `signal`. */
  async told(name: string, signal: AbortSignal): Promise<Pod> {
    const known = this.#pods.get(name);
    if (known !== undefined) return known;
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Pod>();
    const abort = (): void => reject(signal.reason);
    const waiting = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, waiting.add(resolve));
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", abort);
      waiting.delete(resolve);
      if (waiting.size === 0) this.#waiting.delete(name);
    }
  }
}
