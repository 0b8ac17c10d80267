import { ok, type Result } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import { cutShort, type DecodeError, malformed } from "./decode-error.ts";
import { defineHeader, type Fields, type FieldValues, type Header, uint } from "./layout.ts";

/** An option that a list of options declares: its type number and the fields after type and length; a tail fills the rest. */
export interface OptionLayout {
  readonly type: number;
  readonly fields: Fields;
}

export type Option<Declared extends Readonly<Record<string, OptionLayout>>, Single extends string> =
  | {
      [Name in keyof Declared]: { readonly type: Name } & FieldValues<Declared[Name]["fields"]>;
    }[keyof Declared]
  | SingleOption<Single>
  | UnknownOption;

/** None where there is none. */
type SingleOption<Single> = Single extends unknown ? { readonly type: Single } : never;

/** An option that is not declared, or a declared one whose data is not as it would be written: `data` is what follows type and length. */
export interface UnknownOption {
  readonly type: { readonly unknown: number };
  readonly data: Uint8Array;
}

const optionLeads = {
  8: defineHeader("option", { type: uint(8), length: uint(8) }),
  16: defineHeader("option", { type: uint(16), length: uint(16) }),
};

/** How the options of a list are written. */
export interface OptionForm<Single extends string> {
  /** What the length counts: the whole option, in octets or in words of 8, or its data alone, in octets. */
  readonly length: "octets" | "words" | "data-octets";
  /** Bits of the type, and of the length. Default 8. */
  readonly width?: 8 | 16;
  /** Options of one octet, without a length, by their type number. */
  readonly single?: Readonly<Record<Single, number>>;
  /** The single option that ends the list: every octet after it is padding and reads as the same option. */
  readonly end?: NoInfer<Single>;
}

/** A list of options, each with its type, its length and its data, up to the end of the bytes. */
export function defineOptions<
  const Declared extends Readonly<Record<string, OptionLayout>>,
  const Single extends string = never,
>(name: string, form: OptionForm<Single>, declared: Declared): Codec<readonly Option<Declared, Single>[]> {
  type Value = Option<Declared, Single>;
  const unit = form.length === "words" ? 8 : 1;
  const optionLead: Header<{ readonly type: number; readonly length: number }> = optionLeads[form.width ?? 8];
  const uncounted = form.length === "data-octets" ? optionLead.length : 0;
  const single: Readonly<Record<string, number>> = form.single ?? {};
  const singles = new Map(Object.entries<number>(single));
  const end = form.end === undefined ? undefined : singles.get(form.end);
  const singleNames = new Map(Object.entries<number>(single).map(([key, type]) => [type, key]));
  const types = new Map<unknown, number>();
  const layouts = new Map<unknown, Header<object>>();
  const names = new Map<number, string>();
  for (const [key, { type, fields }] of Object.entries<OptionLayout>(declared)) {
    layouts.set(key, defineHeader(name, fields));
    types.set(key, type);
    names.set(type, key);
  }

  const lengthOf = (option: Value): number => {
    if (typeof option.type === "string" && singles.has(option.type)) return 1;
    if (typeof option.type === "object") return optionLead.length + (option as UnknownOption).data.length;
    return optionLead.length + (layouts.get(option.type)?.lengthOf(option) ?? 0);
  };

  const decodeOne = (bytes: Uint8Array, offset: number): Result<Value, DecodeError> => {
    const lead = optionLead.decode(bytes, offset);
    if (!lead.ok) return cutShort(name, bytes, offset, optionLead.length);
    const { type, length: units } = lead.value;
    const length = units * unit + uncounted;
    if (length < optionLead.length)
      return malformed(name, `the length of option ${type} is ${units}`, offset + optionLead.length / 2);
    if (offset + length > bytes.length) return cutShort(name, bytes, offset, length);
    const start = offset + optionLead.length;
    const end = offset + length;
    const key = names.get(type);
    const layout = layouts.get(key);
    const fields = layout?.decode(bytes.subarray(0, end), start);
    return fields?.ok && layout?.lengthOf(fields.value) === end - start
      ? ok({ type: key, ...fields.value } as Value)
      : ok({ type: { unknown: type }, data: bytes.subarray(start, end) });
  };

  const encodeLead = (type: number, length: number, target: Uint8Array, offset: number): void => {
    if (length % unit !== 0) throw new RangeError(`${name}: ${length} octets are no multiple of ${unit}`);
    optionLead.encode({ type, length: (length - uncounted) / unit }, target, offset);
  };

  const encodeOne = (option: Value, target: Uint8Array, offset: number): void => {
    const length = lengthOf(option);
    if (typeof option.type === "object") {
      const { type, data } = option as UnknownOption;
      if (singleNames.has(type.unknown)) throw new RangeError(`${name} ${type.unknown} is one octet, without data`);
      encodeLead(type.unknown, length, target, offset);
      target.set(data, offset + optionLead.length);
      return;
    }
    const octet = singles.get(option.type as string);
    const type = types.get(option.type);
    if (octet !== undefined) target[offset] = octet;
    else if (type !== undefined) {
      encodeLead(type, length, target, offset);
      layouts.get(option.type)?.encode(option, target, offset + optionLead.length);
    } else throw new RangeError(`${name}: there is no option "${String(option.type)}"`);
  };

  const totalLength = (options: readonly Value[]): number =>
    options.reduce((total, option) => total + lengthOf(option), 0);

  return {
    name,
    lengthOf: totalLength,

    decode(bytes, offset = 0) {
      const options: Value[] = [];
      let position = offset;
      let ended = false;
      while (position < bytes.length) {
        const type: number = ended && end !== undefined ? end : (bytes[position] as number);
        const key = singleNames.get(type);
        if (key !== undefined) {
          ended ||= type === end;
          options.push({ type: key } as Value);
          position++;
          continue;
        }
        const option = decodeOne(bytes, position);
        if (!option.ok) return option;
        options.push(option.value);
        position += lengthOf(option.value);
      }
      return ok(options);
    },

    encode(options, target, offset = 0) {
      requireRoom(name, target, offset, totalLength(options));
      let position = offset;
      for (const option of options) {
        encodeOne(option, target, position);
        position += lengthOf(option);
      }
      return position - offset;
    },
  };
}

/**
 * A header that says itself how long it is in 4-octet words: those of the fixed part and the options after it, or those
 * of the `options` alone. That number is no part of the value: it follows from the options, which are padded with zero
 * octets.
 */
export function withOptions<
  Value extends { readonly [Key in LengthField]: number },
  LengthField extends string,
  Options,
>(
  fixedPart: Header<Value>,
  lengthField: LengthField,
  options: Codec<Options>,
  counted: "header" | "options" = "header",
): Codec<Omit<Value, LengthField> & { readonly options: Options }> {
  const { name } = fixedPart;
  const uncountedWords = counted === "header" ? 0 : fixedPart.length / 4;
  const words = (value: { readonly options: Options }): number =>
    Math.ceil((fixedPart.length + options.lengthOf(value.options)) / 4);

  return {
    name,
    lengthOf: (value) => words(value) * 4,

    decode(bytes, offset = 0) {
      const start = fixedPart.decode(bytes, offset);
      if (!start.ok) return start;
      const { [lengthField]: headerWords, ...fields } = start.value;
      const length = (uncountedWords + headerWords) * 4;
      if (length < fixedPart.length)
        return malformed(name, `${lengthField} is ${headerWords}, less than ${fixedPart.length / 4}`, offset);
      if (offset + length > bytes.length) return cutShort(name, bytes, offset, length);
      const rest = options.decode(bytes.subarray(0, offset + length), offset + fixedPart.length);
      return rest.ok ? ok({ ...fields, options: rest.value }) : rest;
    },

    encode(value, target, offset = 0) {
      const length = words(value) * 4;
      requireRoom(name, target, offset, length);
      fixedPart.encode({ ...value, [lengthField]: length / 4 - uncountedWords } as unknown as Value, target, offset);
      const end = fixedPart.length + options.encode(value.options, target, offset + fixedPart.length);
      target.fill(0, offset + end, offset + length);
      return length;
    },
  };
}
