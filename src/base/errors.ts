/**
 * What kind of failure a {@link WeftError} is. The names are those of gRPC's status codes where one fits,
 * so that an error keeps its kind across the API.
 */
export type ErrorCode =
  /** Input that can never be right: a malformed address, a field out of range. */
  | "invalid-argument"
  /** What was named does not exist. */
  | "not-found"
  /** The name, address, VNI or place is taken. */
  | "already-exists"
  /** Somebody else is what the caller would be: another agent speaks as its node. */
  | "in-use"
  /** The state forbids it now: a network that still has endpoints, an agent that has not joined. */
  | "failed-precondition"
  /** No address, port or identifier is left. */
  | "exhausted"
  /** The caller is not who it must be. */
  | "permission-denied"
  /** No identity, or one that has expired. */
  | "unauthenticated"
  /** The other side cannot be reached now; trying again may help. */
  | "unavailable"
  /** This kernel or this version cannot do it. */
  | "unsupported"
  /** A bug of weft, or an answer from the kernel that nobody foresaw. */
  | "internal";

export interface ErrorDetails {
  readonly code: ErrorCode;
  /** What was attempted, on what: `create link vx100 in tenant-blue`. */
  readonly attempted: string;
  /** Why it failed, in the words of whoever knows best (the kernel, the schema). */
  readonly reason: string;
  /** What the operator can do next. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** The one error that reaches an operator: what was attempted, on what, why it failed, what to do next. */
export class WeftError extends Error {
  override readonly name = "WeftError";
  readonly code: ErrorCode;
  readonly attempted: string;
  readonly reason: string;
  readonly hint: string | undefined;

  constructor(details: ErrorDetails) {
    super(
      `${details.attempted}: ${details.reason}`,
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.code = details.code;
    this.attempted = details.attempted;
    this.reason = details.reason;
    this.hint = details.hint;
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
