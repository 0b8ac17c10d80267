import {
  create,
  type DescMessage,
  fromBinary,
  isMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { WeftError } from "../base/errors.ts";
import { err, type Result } from "../base/result.ts";
import { type FieldProblem, formatProblem } from "../model/problem.ts";

/**
 * How values cross the API, and lie in the databases of server and agent: as a message, and as that message's octets.
 * `Draft` is what may be said of a value that is not complete yet.
 */
export interface Codec<Value, Desc extends DescMessage, Draft = Value> {
  toMessage(value: Draft): MessageShape<Desc>;
  /** Fails when the message breaks the API's contract: code `invalid-argument`. */
  fromMessage(message: MessageShape<Desc>): Result<Value, WeftError>;
  encode(value: Value): Uint8Array;
  /** Throws when these are not octets of a message. */
  decode(bytes: Uint8Array): Result<Value, WeftError>;
}

export function codec<Value extends Draft, Desc extends DescMessage, Draft = Value>(
  desc: Desc,
  toFields: (value: Draft) => MessageInitShape<Desc>,
  fromMessage: (message: MessageShape<Desc>) => Result<Value, WeftError>,
): Codec<Value, Desc, Draft> {
  const toMessage = (value: Draft): MessageShape<Desc> => create(desc, toFields(value));
  return {
    toMessage,
    fromMessage,
    encode: (value) => toBinary(desc, toMessage(value)),
    decode: (bytes) => fromMessage(fromBinary(desc, bytes)),
  };
}

type Writable<Value> = Value extends string | number | boolean | bigint
  ? Value
  : Value extends readonly (infer Item)[]
    ? Item[]
    : { -readonly [Field in keyof Value]: Writable<Value[Field]> };

/** A value whose fields are those of its message, which is not written to either. */
export function asFields<Value>(value: Value): Writable<Value> {
  return value as Writable<Value>;
}

/** The fields of a message that are set, unchecked; false and empty lists are. Those left out get their defaults. */
export function given(message: object): Record<string, unknown> {
  const fields = Object.entries(message).filter(
    ([field, value]) => !field.startsWith("$") && value !== "" && value !== 0 && value !== undefined,
  );
  return Object.fromEntries(fields.map(([field, value]) => [field, isMessage(value) ? given(value) : value]));
}

/** What a message that breaks the API's contract gives. */
export function wrong(kind: string, name: string, reason: string): { readonly ok: false; readonly error: WeftError } {
  return err(
    new WeftError({ code: "invalid-argument", attempted: `read ${kind}${name === "" ? "" : ` "${name}"`}`, reason }),
  );
}

/** The same of fields that a parser found wrong. */
export function checked<Value>(
  kind: string,
  name: string,
  parsed: Result<Value, FieldProblem[]>,
): Result<Value, WeftError> {
  return parsed.ok ? parsed : wrong(kind, name, parsed.error.map(formatProblem).join("; "));
}
