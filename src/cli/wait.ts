import { setTimeout as pause } from "node:timers/promises";
import { Option } from "commander";
import type { BehindNode, InPlaceProgress } from "../api/generated/weft/v1/readiness_pb.js";
import { longestTimer } from "../base/clock.ts";
import { type Duration, formatDuration } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { duration } from "./options.ts";

export interface WithWait {
  /** Absent: nothing is waited for. */
  readonly wait?: Duration;
}

/** Where progress is told: standard error, so that what is shown stays as it is. */
interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** After a server or agent ended the answer, or gave none, it is asked again after this, in milliseconds. */
const askAgain = 1_000;
/** Where nothing can be rewritten, a line is written no more often than this, in milliseconds. */
const linePause = 1_000;

export function waitOption(): Option {
  return new Option("--wait [duration]", "until it is in place on all connected nodes concerned")
    .preset("60s")
    .argParser(duration);
}

/**
 * Follows the progress to its end, also over restarts of server and agent: what is asked rests on nothing that they remember.
 * Throws {@link WeftError} with the names of the nodes that are behind when the time is up.
 */
export async function waitInPlace(
  what: string,
  limit: Duration,
  ask: (
    signal: AbortSignal,
  ) => AsyncIterable<Pick<InPlaceProgress, "done" | "nodes" | "inPlace" | "behind" | "changing">>,
  terminal: Terminal = process.stderr,
): Promise<void> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), Math.min(limit, longestTimer));
  let last: Parameters<typeof progressText>[0] | undefined;
  let writtenAt = Number.NEGATIVE_INFINITY;
  /** Why nobody answers now. */
  let trouble = "";
  const isTerminal = terminal.isTTY === true;
  let isTold = false;
  const tell = (text: string, isLast = false): void => {
    isTold = true;
    const line = `${what}: ${text}`;
    if (isTerminal) terminal.write(`\r${line.slice(0, (terminal.columns ?? 80) - 1)}\x1b[K`);
    else if (isLast || performance.now() - writtenAt > linePause) {
      terminal.write(`${line}\n`);
      writtenAt = performance.now();
    }
  };
  try {
    while (!abort.signal.aborted) {
      try {
        for await (const progress of ask(abort.signal)) {
          [last, trouble] = [progress, ""];
          tell(progressText(progress), progress.done);
          if (progress.done) return;
        }
      } catch (error) {
        if (abort.signal.aborted) break;
        if (!isPassing(error)) throw error;
        trouble = `; ${error.reason}`;
        tell(`${error.reason}; asking again`);
      }
      await pause(askAgain, undefined, { signal: abort.signal }).catch(() => {});
    }
  } finally {
    clearTimeout(timer);
    // An answer that has not been read to its end would hold its connection, and this process with it, until the other side closes.
    abort.abort();
    if (isTerminal && isTold) terminal.write("\n");
  }
  throw new WeftError({
    code: "unavailable",
    attempted: `wait for ${what} to be in place on all nodes`,
    reason: `${formatDuration(limit)} are over${last === undefined ? "" : `; ${stateOf(last)}${namesOf(last.behind)}`}${trouble}`,
    hint: "it goes on without being waited for; see weft network show",
  });
}

/** A server or agent that starts again, or has much to do. */
function isPassing(error: unknown): error is WeftError {
  return error instanceof WeftError && (error.code === "unavailable" || error.code === "exhausted");
}

function progressText(progress: Pick<InPlaceProgress, "nodes" | "inPlace" | "behind" | "changing">): string {
  const names = progress.behind.map(({ node }) => node);
  return `${stateOf(progress)}${names.length === 0 ? "" : `; behind: ${[...new Set(names)].join(", ")}`}`;
}

function stateOf({ nodes, inPlace, changing }: Pick<InPlaceProgress, "nodes" | "inPlace" | "changing">): string {
  const phases = changing.length === 0 ? "" : `; phase of ${changing.join(", ")}`;
  return `in place on ${inPlace} of ${nodes} nodes${phases}`;
}

function namesOf(behind: readonly Pick<BehindNode, "node" | "reason">[]): string {
  if (behind.length === 0) return "";
  const texts = behind.map(({ node, reason }) => (reason === "" ? node : `${node} (${reason})`));
  return `; behind: ${[...new Set(texts)].join(", ")}`;
}
