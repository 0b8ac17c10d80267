/** Those who wait for the next commit. */
export class WaitingList {
  readonly #waiting = new Set<() => void>();

  /** Resolves at the next {@link wakeAll}, or when `signal` is aborted. */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  wakeAll(): void {
    for (const wake of this.#waiting) wake();
  }
}
