import { messageOf, WeftError } from "../base/errors.ts";
import { printable } from "./terminal.ts";

/** Exit statuses of every command. */
export const exitStatus = { done: 0, failed: 1, usage: 2 } as const;

/** The command line itself is wrong: a malformed value, options that exclude each other. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly attempted: string;
  readonly reason: string;
  readonly hint: string | undefined;

  constructor(attempted: string, reason: string, hint?: string) {
    super(`${attempted}: ${reason}`);
    this.attempted = attempted;
    this.reason = reason;
    this.hint = hint;
  }
}

/** What to print on standard error for anything that a command threw, and the status to exit with. */
export function explain(thrown: unknown): { readonly text: string; readonly status: number } {
  if (thrown instanceof AggregateError) {
    const parts = thrown.errors.map(explain);
    return { text: parts.map(({ text }) => text).join(""), status: exitStatus.failed };
  }
  if (thrown instanceof UsageError) return { text: lines(thrown), status: exitStatus.usage };
  if (thrown instanceof WeftError) return { text: lines(thrown), status: exitStatus.failed };
  // Nobody foresaw this one: whoever repairs it needs to know where it came from.
  const trace = thrown instanceof Error && thrown.stack !== undefined ? thrown.stack : messageOf(thrown);
  return { text: `weft: internal error: ${trace}\n`, status: exitStatus.failed };
}

/** A reason may have lines: the problems of a file, the end of a log. */
function lines(error: { readonly attempted: string; readonly reason: string; readonly hint: string | undefined }) {
  const hint = error.hint === undefined ? "" : `  try: ${printable(error.hint)}\n`;
  return `weft: ${printable(error.attempted)}: ${error.reason}\n${hint}`;
}
