import type { Clock } from "../../base/clock.ts";
import type { Duration } from "../../base/duration.ts";

/** Resolves after the time, or as soon as `signal` is aborted. */
export function sleep(clock: Clock, duration: Duration, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const wake = (): void => {
      cancel();
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const cancel = clock.after(Math.max(0, duration) as Duration, wake);
    signal.addEventListener("abort", wake, { once: true });
  });
}
