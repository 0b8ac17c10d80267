import { type ErrorCode, messageOf, WeftError } from "../../base/errors.ts";

interface Explanation {
  readonly code: ErrorCode;
  readonly hint: string;
  /** Instead of SQLite's own words, where those would mislead. */
  readonly reason?: string;
}

const damaged: Explanation = {
  code: "failed-precondition",
  hint: "the file was left as it is; restore it, without a -wal file beside it, from a copy made with the server stopped",
};

const forbidden: Explanation = {
  code: "failed-precondition",
  hint: "check that the directory exists and that this user may write the file and its directory",
};

/** Primary result codes of SQLite: https://sqlite.org/rescode.html */
export const resultCode = { busy: 5, corrupt: 11, notADatabase: 26 } as const;

const explanations: ReadonlyMap<number, Explanation> = new Map([
  [3 /* SQLITE_PERM */, forbidden],
  [
    resultCode.busy,
    {
      code: "failed-precondition",
      reason: "another process has it open",
      hint: "stop the other server, or choose another data directory",
    },
  ],
  [8 /* SQLITE_READONLY */, { ...forbidden, hint: `${forbidden.hint}, and that the file system is not read-only` }],
  [10 /* SQLITE_IOERR */, { code: "unavailable", hint: "see the kernel's log (dmesg) for errors of the disk" }],
  [resultCode.corrupt, damaged],
  [13 /* SQLITE_FULL */, { code: "unavailable", hint: "free space on the file system of the store; then try again" }],
  [14 /* SQLITE_CANTOPEN */, forbidden],
  [resultCode.notADatabase, damaged],
]);

/** System errors that a result code of SQLite stands for as well, when making the file. */
const systemErrors: ReadonlyMap<string, number> = new Map([
  ["EACCES", 14],
  ["EISDIR", 14],
  ["ENOENT", 14],
  ["ENOSPC", 13],
  ["ENOTDIR", 14],
  ["EPERM", 14],
  ["EROFS", 8],
]);

/** What was thrown while `attempted` (which names the file) was under way, in the operator's terms. */
export function failureOf(thrown: unknown, attempted: string): WeftError {
  if (thrown instanceof WeftError) return thrown;
  const explanation = explanations.get(resultCodeOf(thrown)) ?? { code: "internal" as const };
  return new WeftError({ reason: messageOf(thrown), ...explanation, attempted, cause: thrown });
}

/** The primary result code; extended codes carry it in their low octet. 1 (SQLITE_ERROR) for anything else. */
export function resultCodeOf(thrown: unknown): number {
  if (!(thrown instanceof Error)) return 1;
  if ("errcode" in thrown && typeof thrown.errcode === "number") return thrown.errcode & 0xff;
  return systemErrors.get(String((thrown as NodeJS.ErrnoException).code)) ?? 1;
}
