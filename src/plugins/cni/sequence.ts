import { CniError, errorCode } from "./error.ts";

/** Calls about the same attachment, one after the other, though runtimes kill, repeat and reorder them. */
export class Sequences {
  readonly #last = new Map<string, { readonly done: Promise<void>; readonly cancel: AbortController }>();

  /** `cancels`: what is under way ends as soon as it can, because this takes away what it makes. */
  async run<Value>(
    key: string,
    cancels: boolean,
    action: (signal: AbortSignal) => Promise<Value>,
    signal: AbortSignal,
  ): Promise<Value> {
    const before = this.#last.get(key);
    if (cancels) before?.cancel.abort(new CniError(errorCode.tryAgainLater, "it was deleted while it was being added"));
    const cancel = new AbortController();
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const own = { done, cancel };
    this.#last.set(key, own);
    try {
      await before?.done;
      return await action(AbortSignal.any([signal, cancel.signal]));
    } finally {
      resolve();
      if (this.#last.get(key) === own) this.#last.delete(key);
    }
  }
}
