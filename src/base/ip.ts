import ipaddr from "ipaddr.js";
import { hexByte } from "./bytes.ts";
import { err, ok, type Result } from "./result.ts";

declare const ipv4Brand: unique symbol;
declare const ipv6Brand: unique symbol;
/** An IPv4 address in dotted decimal, canonical, so that `===` compares addresses. */
export type Ipv4Address = string & { readonly [ipv4Brand]: true };
/** An IPv6 address in the canonical text form of RFC 5952, without a zone. */
export type Ipv6Address = string & { readonly [ipv6Brand]: true };
export type IpAddress = Ipv4Address | Ipv6Address;
/** The IP version. */
export type IpFamily = 4 | 6;

const octet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const ipv4Pattern = new RegExp(`^${octet}(?:\\.${octet}){3}$`);

/** Strict: dotted decimal without leading zeros, or IPv6 text; no zones, no octal, no short forms. */
export function parseIp(text: string): Result<IpAddress, string> {
  if (ipv4Pattern.test(text)) return ok(text as Ipv4Address);
  if (text.includes(":") && !text.includes("%") && ipaddr.IPv6.isValid(text)) {
    return ok(ipFromBytes(Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray())));
  }
  return err(`"${text}" is not an IPv4 or IPv6 address`);
}

/** An address that the program itself wrote down; throws when it is none. */
export function ip(text: string): IpAddress {
  const result = parseIp(text);
  if (!result.ok) throw new TypeError(result.error);
  return result.value;
}

export function familyOf(address: IpAddress): IpFamily {
  return address.includes(":") ? 6 : 4;
}

/** 4 or 16 octets in network byte order. */
export function ipToBytes(address: IpAddress): Uint8Array {
  const bytes = new Uint8Array(familyOf(address) === 4 ? 4 : 16);
  writeIp(address, bytes);
  return bytes;
}

/** Writes 4 or 16 octets in network byte order at `offset`. */
export function writeIp(address: IpAddress, target: Uint8Array, offset = 0): void {
  if (familyOf(address) === 4) {
    let octet = 0;
    let position = offset;
    for (let index = 0; index < address.length; index++) {
      const code = address.charCodeAt(index);
      if (code === 46) {
        target[position++] = octet;
        octet = 0;
      } else octet = octet * 10 + code - 48;
    }
    target[position] = octet;
    return;
  }
  // Canonical text has hexadecimal groups alone. What stands after "::" is moved to the end once its length is known.
  target.fill(0, offset, offset + 16);
  let group = 0;
  let digits = 0;
  let position = offset;
  let gap = -1;
  for (let index = 0; index <= address.length; index++) {
    const code = index === address.length ? 58 : address.charCodeAt(index);
    if (code !== 58) {
      group = (group << 4) | (code >= 97 ? code - 87 : code - 48);
      digits++;
      continue;
    }
    if (digits > 0) {
      target[position++] = group >> 8;
      target[position++] = group & 0xff;
      group = 0;
      digits = 0;
    }
    if (address.charCodeAt(index + 1) === 58) gap = position;
  }
  if (gap < 0) return;
  const moved = position - gap;
  target.copyWithin(offset + 16 - moved, gap, position);
  target.fill(0, gap, offset + 16 - moved);
}

/** Reads an address of 4 or 16 octets: all of `bytes`, or `length` octets at `offset`. */
export function ipFromBytes(bytes: Uint8Array, offset = 0, length = bytes.length - offset): IpAddress {
  if (offset + length > bytes.length)
    throw new RangeError(`an IP address needs ${length} octets at ${offset} of ${bytes.length}`);
  if (length === 4)
    return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}` as Ipv4Address;
  if (length === 16) return ipv6Text(bytes, offset);
  throw new RangeError(`an IP address has 4 or 16 octets, not ${length}`);
}

/** 0 to 2^32 - 1. */
export function ipv4ToNumber(address: Ipv4Address): number {
  let value = 0;
  let octet = 0;
  for (let index = 0; index < address.length; index++) {
    const code = address.charCodeAt(index);
    if (code === 46) {
      value = (value << 8) | octet;
      octet = 0;
    } else octet = octet * 10 + code - 48;
  }
  return ((value << 8) | octet) >>> 0;
}

export function ipv4FromNumber(value: number): Ipv4Address {
  return `${value >>> 24}.${(value >>> 16) & 0xff}.${(value >>> 8) & 0xff}.${value & 0xff}` as Ipv4Address;
}

/** The address as a number, for arithmetic on addresses. */
export function ipToBigInt(address: IpAddress): bigint {
  let value = 0n;
  for (const byte of ipToBytes(address)) value = (value << 8n) | BigInt(byte);
  return value;
}

export function ipFromBigInt(value: bigint, family: IpFamily): IpAddress {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let index = bytes.length - 1; index >= 0; index--) {
    bytes[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  if (rest !== 0n) throw new RangeError(`${value} does not fit an IPv${family} address`);
  return ipFromBytes(bytes);
}

/** Orders IPv4 before IPv6, and by number within a family. */
export function compareIp(a: IpAddress, b: IpAddress): number {
  const families = familyOf(a) - familyOf(b);
  if (families !== 0) return families;
  const left = ipToBytes(a);
  const right = ipToBytes(b);
  for (let index = 0; index < left.length; index++) {
    const difference = (left[index] as number) - (right[index] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** RFC 5952 §4: lower case, no leading zeros, the longest run of zero groups (of two at least, the first of equals) shortened. */
function ipv6Text(bytes: Uint8Array, offset: number): Ipv6Address {
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (
      start + length < 8 &&
      bytes[offset + (start + length) * 2] === 0 &&
      bytes[offset + (start + length) * 2 + 1] === 0
    )
      length++;
    if (length > bestLength) {
      bestStart = start;
      bestLength = length;
    }
  }
  let text = "";
  for (let group = 0; group < 8; group++) {
    if (group === bestStart) {
      text += "::";
      group += bestLength - 1;
      continue;
    }
    if (text !== "" && !text.endsWith(":")) text += ":";
    const high = bytes[offset + group * 2] as number;
    const low = bytes[offset + group * 2 + 1] as number;
    text += high === 0 ? low.toString(16) : high.toString(16) + hexByte[low];
  }
  return text as Ipv6Address;
}
