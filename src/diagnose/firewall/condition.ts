import { familyOf } from "../../base/ip.ts";
import { conntrackField, isDestinationOf, metaField, type Place, payloadField, rawField } from "./fields.ts";
import { anyOf, not, type Truth } from "./truth.ts";
import {
  absent,
  asObject,
  combined,
  constantOf,
  hasFlag,
  isIn,
  isOrdered,
  numberValue,
  unknown,
  type Value,
} from "./value.ts";

/** Looks a key up in a named set or map. */
export type LookUp = (set: string, key: Value) => Found;

/** What a set or map has for a key; `data`: of a map, in JSON as nft lists it. */
export interface Found {
  readonly is: Truth;
  readonly data?: unknown;
}

/** Whether the packet is what a `match` says. */
export function matches(place: Place, match: Readonly<Record<string, unknown>>, lookUp: LookUp): Truth {
  const { op, left, right } = match;
  const isOfType = destinationType(place, left, right);
  if (isOfType !== undefined) return op === "!=" ? not(isOfType) : isOfType;
  const value = evaluate(place, left);
  if (value.kind === "absent" || isPartlyAbsent(value)) return "no";
  if (op === "<" || op === ">" || op === "<=" || op === ">=") return isOrdered(value, op, right);
  if (op === "in") return hasFlag(value, right);
  if (op === "!") return not(hasFlag(value, right));
  if (op !== "==" && op !== "!=") return "unknown";
  const is = isOneOf(value, right, lookUp);
  return op === "==" ? is : not(is);
}

const isPartlyAbsent = (value: Value): boolean =>
  value.kind === "concatenation" && value.parts.some(({ kind }) => kind === "absent");

function isOneOf(value: Value, right: unknown, lookUp: LookUp): Truth {
  if (typeof right === "string" && right.startsWith("@")) return lookUp(right.slice(1), value).is;
  const { set } = asObject(right);
  return set === undefined ? isIn(value, right) : anyOf([set].flat().map((element) => isIn(value, element)));
}

/** `fib daddr type`, which Docker and ufw ask. */
function destinationType(place: Place, left: unknown, right: unknown): Truth | undefined {
  const { result, flags } = asObject(asObject(left).fib);
  const type = constantOf(right);
  if (result !== "type" || [flags].flat().join() !== "daddr" || type === undefined) return undefined;
  return isDestinationOf(place, type);
}

/** What is compared. */
export function evaluate(place: Place, left: unknown): Value {
  const [[kind, content] = []] = Object.entries(asObject(left));
  const { protocol, field, base, offset, len, key, dir, name } = asObject(content);
  switch (kind) {
    case "payload":
      return typeof base === "string"
        ? rawField(place, base, Number(offset), Number(len))
        : payloadField(place, String(protocol), String(field));
    case "meta":
      return metaField(place, String(key));
    case "ct":
      return conntrackField(place, String(key), dir);
    case "exthdr":
      return extensionHeader(place, String(name), field);
    case "concat":
      return { kind: "concatenation", parts: [content].flat().map((part) => evaluate(place, part)) };
    case "&":
    case "|":
    case "^":
    case "<<":
    case ">>": {
      const [first, ...others] = [content].flat();
      // `|` and `^` with a list of flags have it as one operand.
      return others.reduce<Value>((value, other) => combined(kind, value, other), evaluate(place, first));
    }
    default:
      return unknown;
  }
}

/** Fragments are the only extension header that is known of a packet, and IPv4 has none. */
function extensionHeader({ packet }: Place, name: string, field: unknown): Value {
  if (familyOf(packet.source) === 4) return absent;
  if (name !== "frag" || packet.fragment !== undefined) return unknown;
  return field === undefined ? numberValue(0, 8) : absent;
}

/** What one finds in a set, or in a map, whose elements are pairs. */
export function foundAmong(elements: readonly unknown[], key: Value, isMap: boolean): Found {
  let result: Found = { is: "no" };
  for (const element of elements) {
    const [of, data] = isMap ? [element].flat() : [element];
    const is = isIn(key, of);
    if (is === "yes") return { is, data };
    if (is === "unknown") result = { is };
  }
  return result;
}
