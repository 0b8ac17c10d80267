/**
 * The outcome of something that can fail for reasons outside the program: untrusted bytes, user input,
 * the kernel, the network. Exceptions are kept for broken promises inside the program.
 */
export type Result<Value, Failure = Error> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly error: Failure };

export function ok<Value>(value: Value): { readonly ok: true; readonly value: Value } {
  return { ok: true, value };
}

export function err<Failure>(error: Failure): { readonly ok: false; readonly error: Failure } {
  return { ok: false, error };
}

/** The value of a result that the caller has reason to expect; throws its error otherwise. */
export function unwrap<Value, Failure>(result: Result<Value, Failure>): Value {
  if (result.ok) return result.value;
  throw result.error instanceof Error ? result.error : new Error(String(result.error));
}
