import { ok, type Result } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import { cutShort, type DecodeError, malformed } from "./decode-error.ts";
import { defineHeader, type Fields, type FieldValues, fixed, type Header, uint } from "./layout.ts";

/** An option that a list of options declares: its type number and the fields after type and length. */
export interface OptionLayout {
  readonly type: number;
  readonly fields: Readonly<Record<string, Exclude<Fields[string], { kind: "tail" }>>>;
}

export type Option<Declared extends Readonly<Record<string, OptionLayout>>, Single extends string> =
  | {
      [Name in keyof Declared]: { readonly type: Name } & FieldValues<Declared[Name]["fields"]>;
    }[keyof Declared]
  | { readonly type: Single }
  | UnknownOption;

/** An option that is not declared, or a declared one of another length: `data` is what follows type and length. */
export interface UnknownOption {
  readonly type: { readonly unknown: number };
  readonly data: Uint8Array;
}

const optionLead = defineHeader("option", { type: uint(8), length: uint(8) });

/** How the options of a list are written. */
export interface OptionForm<Single extends string> {
  /** What the length octet counts: the whole option, in octets or in words of 8, or its data alone, in octets. */
  readonly length: "octets" | "words" | "data-octets";
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
  const uncounted = form.length === "data-octets" ? 2 : 0;
  const single: Readonly<Record<string, number>> = form.single ?? {};
  const singles = new Map(Object.entries<number>(single));
  const end = form.end === undefined ? undefined : singles.get(form.end);
  const singleNames = new Map(Object.entries<number>(single).map(([key, type]) => [type, key]));
  const layouts = new Map<unknown, Header<object>>();
  const names = new Map<number, string>();
  for (const [key, { type, fields }] of Object.entries<OptionLayout>(declared)) {
    const octets = 2 + Object.values(fields).reduce((bits, field) => bits + field.bits, 0) / 8;
    const lead = { optionType: fixed(8, type), optionLength: fixed(8, (octets - uncounted) / unit) };
    layouts.set(key, defineHeader(name, { ...lead, ...fields }));
    names.set(type, key);
  }

  const lengthOf = (option: Value): number => {
    if (typeof option.type === "string" && singles.has(option.type)) return 1;
    if (typeof option.type === "object") return 2 + (option as UnknownOption).data.length;
    return layouts.get(option.type)?.length ?? 0;
  };

  const decodeOne = (bytes: Uint8Array, offset: number): Result<Value, DecodeError> => {
    const type = bytes[offset] as number;
    const units = bytes[offset + 1];
    if (units === undefined) return cutShort(name, bytes, offset, 2);
    const length = units * unit + uncounted;
    if (length < 2) return malformed(name, `the length of option ${type} is ${units}`, offset + 1);
    if (offset + length > bytes.length) return cutShort(name, bytes, offset, length);
    const key = names.get(type);
    const layout = layouts.get(key);
    if (layout?.length !== length)
      return ok({ type: { unknown: type }, data: bytes.subarray(offset + 2, offset + length) });
    const fields = layout.decode(bytes, offset);
    return fields.ok ? ok({ type: key, ...fields.value } as Value) : fields;
  };

  const encodeUnknown = (type: number, data: Uint8Array, target: Uint8Array, offset: number): void => {
    const length = 2 + data.length;
    if (singleNames.has(type)) throw new RangeError(`${name} ${type} is one octet, without data`);
    if (length % unit !== 0) throw new RangeError(`${name}: ${length} octets are no multiple of ${unit}`);
    optionLead.encode({ type, length: (length - uncounted) / unit }, target, offset);
    target.set(data, offset + 2);
  };

  const encodeOne = (option: Value, target: Uint8Array, offset: number): void => {
    if (typeof option.type === "object") {
      const { type, data } = option as UnknownOption;
      encodeUnknown(type.unknown, data, target, offset);
      return;
    }
    const octet = singles.get(option.type as string);
    const layout = layouts.get(option.type);
    if (octet !== undefined) target[offset] = octet;
    else if (layout !== undefined) layout.encode(option, target, offset);
    else throw new RangeError(`${name}: there is no option "${String(option.type)}"`);
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
          options.push({ type: key as Single });
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
