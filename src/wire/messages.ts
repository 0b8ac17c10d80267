import type { Result } from "../base/result.ts";
import type { Codec } from "./codec.ts";
import { cutShort, type DecodeError } from "./decode-error.ts";
import { type CodeField, defineHeader, type Fields, type FieldValues, type Header } from "./layout.ts";

/** The value of a message whose first field, `type`, decides on the others. */
export type Message<
  Name extends string,
  Variants extends Readonly<Partial<Record<Name, Fields>>>,
  Otherwise extends Fields,
> =
  | {
      [Type in keyof Variants & Name]: { readonly type: Type } & FieldValues<NonNullable<Variants[Type]>>;
    }[keyof Variants & Name]
  | ({ readonly type: Exclude<Name, keyof Variants> | { readonly unknown: number } } & FieldValues<Otherwise>);

/**
 * Messages that begin with an octet `type`: one layout for each type of `variants`, `otherwise` for all the rest.
 * The layouts give the fields after `type`.
 */
export function defineMessages<
  Name extends string,
  const Variants extends Readonly<Partial<Record<Name, Fields>>>,
  const Otherwise extends Fields,
>(
  name: string,
  type: CodeField<Name>,
  variants: Variants,
  otherwise: Otherwise,
): Codec<Message<Name, Variants, Otherwise>> {
  type Value = Message<Name, Variants, Otherwise>;
  // The layouts are chosen by `type` at run time, which the type system cannot follow: hence the two casts.
  const layouts = new Map<unknown, Header<Value>>();
  const layoutOf = (fields: Fields) => defineHeader(name, { type, ...fields }) as unknown as Header<Value>;
  for (const [key, fields] of Object.entries(variants)) layouts.set(key, layoutOf(fields as Fields));
  const rest = layoutOf(otherwise);
  const chosen = (key: unknown): Header<Value> => layouts.get(key) ?? rest;

  return {
    name,
    lengthOf: (value) => chosen(value.type).lengthOf(value),
    decode(bytes, offset = 0): Result<Value, DecodeError> {
      const first = bytes[offset];
      if (first === undefined) return cutShort(name, bytes, offset, rest.length);
      return chosen(type.decode(first)).decode(bytes, offset);
    },
    encode: (value, target, offset = 0) => chosen(value.type).encode(value, target, offset),
  };
}
