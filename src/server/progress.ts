import { type Duration, milliseconds, seconds } from "../base/duration.ts";
import type { Ledger } from "./ledger.ts";
import type { Behind } from "./readiness.ts";

/** How far the nodes are with what somebody waits for. */
export interface Progress {
  readonly done: boolean;
  /** Nodes that are connected, or expected back in a moment. */
  readonly nodes: number;
  readonly inPlace: number;
  readonly behind: readonly Behind[];
  /** `web: receive`. */
  readonly changing: readonly string[];
}

/** Nodes that are named at a time. */
export const mostBehind = 12;
/** Progress is told no more often than this. */
const tellPause = milliseconds(200);
/** Nodes that do not come back are looked for this often. */
const lookAgain = seconds(1);

/**
 * Tells how far the nodes of these networks are with changes up to `revision`, at once and whenever it changed, until
 * all that are connected have them in place. A network that is not there any more is not waited for.
 */
export async function* progressUntilInPlace(
  ledger: Ledger,
  networks: readonly string[],
  revision: number,
  signal: AbortSignal,
): AsyncGenerator<Progress> {
  const { clock, readiness } = ledger;
  let wake = (): void => {};
  let isNews = false;
  let isWanted = false;
  const stop = readiness.listen((entry) => {
    if (entry !== undefined && !networks.includes(entry.network.name)) return;
    isNews = true;
    if (isWanted) wake();
  });
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);
  const pause = (duration: Duration): Promise<void> =>
    new Promise((resolve) => {
      const cancel = clock.after(duration, resolve);
      wake = () => {
        cancel();
        resolve();
      };
    });
  let told = "";
  try {
    while (!signal.aborted) {
      isNews = false;
      const progress = progressOf(ledger, networks, revision);
      const text = JSON.stringify(progress);
      if (text !== told) yield progress;
      told = text;
      if (progress.done) return;
      isWanted = false;
      await pause(tellPause);
      isWanted = true;
      if (!isNews && !signal.aborted) await pause(lookAgain);
    }
  } finally {
    stop();
    signal.removeEventListener("abort", onAbort);
  }
}

function progressOf({ state, readiness }: Ledger, networks: readonly string[], revision: number): Progress {
  const nodes = new Set<string>();
  const late = new Set<string>();
  const behind: Behind[] = [];
  const changing: string[] = [];
  for (const name of networks) {
    const entry = state.networks.get(name);
    if (entry === undefined) continue;
    if (entry.change !== undefined) changing.push(`${name}: ${entry.change.phase}`);
    for (const node of entry.hosts.keys()) if (readiness.isConnected(node)) nodes.add(node);
    for (const { node, isWaitedFor, describe } of readiness.behindOf(entry, Math.min(revision, state.revision))) {
      if (isWaitedFor) {
        nodes.add(node);
        late.add(node);
        readiness.hasten(node);
      } else nodes.delete(node);
      if (isWaitedFor ? behind.length < mostBehind : behind.length < mostBehind / 2) behind.push(describe());
    }
  }
  return {
    done: late.size === 0 && changing.length === 0,
    nodes: nodes.size,
    inPlace: [...nodes].filter((node) => !late.has(node)).length,
    behind,
    changing,
  };
}
