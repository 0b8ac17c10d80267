import { ipToBigInt, parseIp } from "../../base/ip.ts";
import { parseMac } from "../../base/mac.ts";
import { type Truth, truth } from "./truth.ts";

/**
 * What an expression of a rule gives for a packet. `absent`: the packet has no such thing, and the kernel ends the rule there
 * (NFT_BREAK), whatever the comparison is.
 */
export type Value =
  | { readonly kind: "unknown" }
  | { readonly kind: "absent" }
  /** Of an interface. */
  | { readonly kind: "name"; readonly name: string }
  | NumberValue
  | { readonly kind: "concatenation"; readonly parts: readonly Value[] };

export interface NumberValue {
  readonly kind: "number";
  readonly value: bigint;
  /** How many bits the field has. */
  readonly bits: number;
  /** Bits of it that are not known. They are 0 in `value`. */
  readonly unsure: bigint;
  /** It is an EtherType, whose octets nft's JSON has in the order of the machine: 8 for 0x0800. */
  readonly isEtherType?: true;
}

export const unknown: Value = { kind: "unknown" };
export const absent: Value = { kind: "absent" };

export const numberValue = (value: number | bigint, bits: number, unsure = 0n): Value => ({
  kind: "number",
  value: BigInt(value) & ~unsure,
  bits,
  unsure,
});

/** A number that may not be known. */
export const numberOf = (value: number | bigint | undefined, bits: number): Value =>
  value === undefined ? unknown : numberValue(value, bits);

/** A constant of a rule; `undefined`: in a form that is not known here. */
export function constantOf(right: unknown): bigint | undefined {
  if (typeof right === "boolean") return right ? 1n : 0n;
  // What JSON.parse had to round cannot be compared.
  if (typeof right === "number") return Number.isSafeInteger(right) ? BigInt(right) : undefined;
  if (Array.isArray(right)) return flagsOf(right);
  if (typeof right !== "string") return undefined;
  if (/^(0x[0-9a-f]+|\d+)$/i.test(right)) return BigInt(right);
  const address = parseIp(right);
  if (address.ok) return ipToBigInt(address.value);
  const mac = parseMac(right);
  return mac.ok ? BigInt(`0x${mac.value.replaceAll(":", "")}`) : undefined;
}

function flagsOf(all: readonly unknown[]): bigint | undefined {
  let sum = 0n;
  for (const each of all) {
    const flag = constantOf(each);
    if (flag === undefined) return undefined;
    sum |= flag;
  }
  return sum;
}

/** Whether a value is what the right side of a comparison, or an element of a set, says: a constant, a prefix, a range, a pattern. */
export function isIn(value: Value, element: unknown): Truth {
  const { elem } = asObject(element);
  if (elem !== undefined) return isIn(value, asObject(elem).val);
  if (value.kind === "unknown") return "unknown";
  if (value.kind === "absent") return "no";
  if (value.kind === "name") return isNamed(value.name, element);
  if (value.kind === "concatenation") return isConcatenationIn(value.parts, element);
  const range = rangeOf(element, value);
  return range === undefined ? "unknown" : isBetween(value, range);
}

function isNamed(name: string, element: unknown): Truth {
  // An index that belongs to no interface.
  if (typeof element === "number") return "no";
  if (typeof element !== "string") return "unknown";
  if (element.endsWith("*") && !element.endsWith("\\*")) return truth(name.startsWith(element.slice(0, -1)));
  return truth(name === element.replace(/\\\*$/, "*"));
}

function isConcatenationIn(parts: readonly Value[], element: unknown): Truth {
  const { concat } = asObject(element);
  if (!Array.isArray(concat) || concat.length !== parts.length) return "unknown";
  let result: Truth = "yes";
  for (const [index, part] of parts.entries()) {
    const is = isIn(part, concat[index]);
    if (is === "no") return is;
    if (is === "unknown") result = is;
  }
  return result;
}

/** With a comparison by order: of numbers alone. */
export function isOrdered(value: Value, op: "<" | ">" | "<=" | ">=", right: unknown): Truth {
  if (value.kind === "absent") return "no";
  const bound = constantOf(right);
  if (value.kind !== "number" || bound === undefined) return "unknown";
  const most = (1n << BigInt(value.bits)) - 1n;
  if (op === "<") return bound === 0n ? "no" : isBetween(value, [0n, bound - 1n]);
  if (op === "<=") return isBetween(value, [0n, bound]);
  return isBetween(value, [op === ">" ? bound + 1n : bound, most]);
}

/** Whether any of the bits of `right` is set. */
export function hasFlag(value: Value, right: unknown): Truth {
  if (value.kind === "absent") return "no";
  const mask = constantOf(right);
  if (value.kind !== "number" || mask === undefined) return "unknown";
  if ((value.value & mask) !== 0n) return "yes";
  return (value.unsure & mask) === 0n ? "no" : "unknown";
}

function isBetween({ value, unsure }: NumberValue, [low, high]: readonly [bigint, bigint]): Truth {
  const most = value | unsure;
  if (value >= low && most <= high) return "yes";
  if (most < low || value > high) return "no";
  // A bit that is known and differs from all of the range's.
  if (low === high && ((value ^ low) & ~unsure) !== 0n) return "no";
  return "unknown";
}

function rangeOf(element: unknown, { bits, isEtherType }: NumberValue): readonly [bigint, bigint] | undefined {
  const { prefix, range } = asObject(element);
  if (prefix !== undefined) {
    const { addr, len } = asObject(prefix);
    const address = constantOf(addr);
    if (address === undefined || typeof len !== "number") return undefined;
    const hosts = (1n << BigInt(bits - len)) - 1n;
    return [address & ~hosts, address | hosts];
  }
  if (range !== undefined) {
    const [low, high] = Array.isArray(range) ? range.map(constantOf) : [];
    return low === undefined || high === undefined ? undefined : [low, high];
  }
  const constant = constantOf(element);
  if (constant === undefined) return undefined;
  const inOrder = isEtherType ? etherTypeOf(constant) : constant;
  return [inOrder, inOrder];
}

/** linux/if_ether.h: those that rules name. */
const etherTypes: ReadonlySet<bigint> = new Set([0x0800n, 0x0806n, 0x8100n, 0x86ddn, 0x88a8n]);

function etherTypeOf(constant: bigint): bigint {
  const turned = ((constant & 0xffn) << 8n) | (constant >> 8n);
  return etherTypes.has(turned) ? turned : constant;
}

const combinations: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  "|": (a, b) => a | b,
  "^": (a, b) => a ^ b,
  "<<": (a, b) => a << b,
  ">>": (a, b) => a >> b,
};

/** `left op right`, where `right` is a constant of the rule. */
export function combined(op: string, left: Value, right: unknown): Value {
  if (left.kind !== "number") return left.kind === "absent" ? absent : unknown;
  const constant = constantOf(right);
  if (constant === undefined) return unknown;
  if (op === "&") return { ...left, value: left.value & constant, unsure: left.unsure & constant };
  const combine = combinations[op];
  if (combine === undefined || left.unsure !== 0n) return unknown;
  return { ...left, value: BigInt.asUintN(left.bits, combine(left.value, constant)) };
}

/** The fields of what may be an object. */
export function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
