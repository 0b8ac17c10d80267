import { z } from "zod";
import { type IpAddress, parseIp } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { TextParser } from "./names.ts";
import { describeFound, type FieldProblem, fieldProblem } from "./problem.ts";

// In these schemas the error text of every check is what is allowed; what was found is added from the input.

/** A text field; the parser's error says what is allowed. */
export function text<Value>(parse: TextParser<Value>) {
  return z.unknown().transform((input, context): Value => {
    const parsed = parse(typeof input === "string" ? input : "");
    if (typeof input === "string" && parsed.ok) return parsed.value;
    const allowed = parsed.ok ? "text" : parsed.error;
    // YAML reads an unquoted 100 or true as no text.
    const quotes = typeof input === "number" || typeof input === "boolean" ? ", in quotes" : "";
    context.addIssue({ code: "custom", message: allowed + quotes });
    return z.NEVER;
  });
}

export function integer(minimum: number, maximum: number, meaning: string) {
  const error = `${meaning}, ${minimum} to ${maximum}`;
  return z.int({ error }).min(minimum, { error }).max(maximum, { error });
}

export function oneOf<const Value extends string>(...values: Value[]) {
  return z.enum(values, { error: values.join(" or ") });
}

/** A map of these fields and no others. */
export function fields<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, { error: `the fields ${Object.keys(shape).join(", ")}` });
}

export const parseAddress: TextParser<IpAddress> = (input) => {
  const address = parseIp(input);
  return address.ok ? address : err("an IPv4 or IPv6 address without a prefix length");
};

export const parseLabelName: TextParser<string> = (input) =>
  input.length <= 350 && /^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/.test(input) ? ok(input) : err(labelAllowed);
const labelAllowed =
  "labels, each a name of 1 to 350 letters, digits, dots, slashes, hyphens and underscores with a text of at most 255 characters";
const parseLabelValue: TextParser<string> = (input) =>
  input.length <= 255 && !/\p{Cc}/u.test(input) ? ok(input) : err("at most 255 characters without control characters");

export const yesOrNo = z.boolean({ error: "true or false" });
export const labels = z.record(text(parseLabelName), text(parseLabelValue), { error: labelAllowed });

/** Checks between fields read these from the raw input where others have problems, so that they work beside them. */
export type RelationCheck = (input: Readonly<Record<string, unknown>>, read: FieldReader) => FieldProblem[];
/** `undefined`: the field is not as it must be, which is told of by itself. */
type FieldReader = <Value>(schema: z.ZodType<Value>, field: unknown) => Value | undefined;
const readRaw: FieldReader = (schema, field) => schema.safeParse(field).data;
export const alreadyRead: FieldReader = (_schema, field) => field as never;

type Exact<Type> = { [Key in keyof Type]: Exclude<Type[Key], undefined> };

/** Fields that are absent are not there at all; zod leaves `undefined` for those given as `undefined`. */
export function withoutUndefined<Type extends object>(value: Type): Exact<Type> {
  if (!Object.values(value).includes(undefined)) return value as Exact<Type>;
  const present = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(present) as Exact<Type>;
}

export function parseWith<Output extends object>(
  schema: z.ZodType<Output>,
  input: unknown,
  relations: RelationCheck = () => [],
): Result<Exact<Output>, FieldProblem[]> {
  const parsed = schema.safeParse(input);
  if (parsed.success) {
    const value = withoutUndefined(parsed.data);
    const problems = relations(value, alreadyRead);
    return problems.length === 0 ? ok(value) : err(problems);
  }
  const problems = parsed.error.issues.flatMap((issue) => problemsOf(issue, input));
  return err(isMap(input) ? [...problems, ...relations(input, readRaw)] : problems);
}

function problemsOf(issue: z.core.$ZodIssue, input: unknown): FieldProblem[] {
  const path = issue.path.map((part) => (typeof part === "number" ? part : String(part)));
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => fieldProblem([...path, key], "a field of this name", issue.message));
  if (issue.code === "invalid_key") return [fieldProblem(path, "a label of this name", issue.message)];
  return [fieldProblem(path, describeFound(valueAt(input, path)), issue.message)];
}

function valueAt(input: unknown, path: readonly (string | number)[]): unknown {
  let value = input;
  for (const part of path) value = isMap(value) && Object.hasOwn(value, part) ? value[part] : undefined;
  return value;
}

export function isMap(value: unknown): value is Readonly<Record<string | number, unknown>> {
  return typeof value === "object" && value !== null;
}
