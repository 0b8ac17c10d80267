import { WeftError } from "../base/errors.ts";

/** Throws when there are reasons against: the one there is, or one error that tells them all. */
export function requireNone(errors: readonly WeftError[]): void {
  const [first, ...others] = errors;
  if (first === undefined) return;
  if (others.length === 0) throw first;
  throw new WeftError({
    code: first.code,
    attempted: first.attempted,
    reason: [first.reason, ...others.map((error) => `${error.attempted}: ${error.reason}`)].join("; "),
    ...(first.hint === undefined ? {} : { hint: first.hint }),
    cause: first,
  });
}
