import { Code, ConnectError } from "@connectrpc/connect";
import { type ErrorCode, messageOf, WeftError } from "../base/errors.ts";
import { ErrorDetailSchema } from "./generated/weft/v1/errors_pb.js";
import { isMalformed, malformedError } from "./malformed.ts";

const connectCodes: Readonly<Record<ErrorCode, Code>> = {
  "invalid-argument": Code.InvalidArgument,
  "not-found": Code.NotFound,
  "already-exists": Code.AlreadyExists,
  "in-use": Code.Aborted,
  "failed-precondition": Code.FailedPrecondition,
  exhausted: Code.ResourceExhausted,
  "permission-denied": Code.PermissionDenied,
  unauthenticated: Code.Unauthenticated,
  unavailable: Code.Unavailable,
  unsupported: Code.Unimplemented,
  internal: Code.Internal,
};

const errorCodes = new Map<Code, ErrorCode>(
  Object.entries(connectCodes).map(([code, connectCode]) => [connectCode, code as ErrorCode]),
);
/** What a peer that went away in the middle, or a deadline, is to the caller: trying again may help. */
for (const code of [Code.Aborted, Code.DeadlineExceeded, Code.Canceled]) errorCodes.set(code, "unavailable");
errorCodes.set(Code.OutOfRange, "invalid-argument");

/**
 * An error as it crosses the API: a {@link WeftError} keeps code, attempted, reason and hint in a detail message.
 * Anything else is a bug and becomes `internal`; its message is kept, its stack is not sent.
 */
export function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof ConnectError) return isMalformed(thrown) ? malformedError(thrown) : thrown;
  if (!(thrown instanceof WeftError))
    return new ConnectError(messageOf(thrown), Code.Internal, undefined, undefined, thrown);
  const detail = {
    code: thrown.code,
    attempted: thrown.attempted,
    reason: thrown.reason,
    hint: thrown.hint ?? "",
  };
  return new ConnectError(
    thrown.message,
    connectCodes[thrown.code],
    undefined,
    [{ desc: ErrorDetailSchema, value: detail }],
    thrown,
  );
}

/** The error that the other side meant. `attempted` says what was asked of whom, for errors that do not say it themselves. */
export function fromConnectError(thrown: unknown, attempted: string): WeftError {
  if (thrown instanceof WeftError) return thrown;
  const error = ConnectError.from(thrown);
  const detail = error.findDetails(ErrorDetailSchema)[0];
  if (detail !== undefined)
    return new WeftError({
      code: detail.code in connectCodes ? (detail.code as ErrorCode) : "internal",
      attempted: detail.attempted,
      reason: detail.reason,
      ...(detail.hint === "" ? {} : { hint: detail.hint }),
      cause: thrown,
    });
  return new WeftError({
    code: errorCodes.get(error.code) ?? "internal",
    attempted,
    reason: error.rawMessage,
    cause: thrown,
  });
}
