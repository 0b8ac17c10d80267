import {
  compareIp,
  familyOf,
  type IpAddress,
  type IpFamily,
  type Ipv4Address,
  ipFromBigInt,
  ipToBigInt,
  ipv4FromNumber,
  ipv4ToNumber,
  parseIp,
} from "./ip.ts";
import { err, ok, type Result } from "./result.ts";

declare const cidrBrand: unique symbol;
/** An IP prefix as `10.0.0.0/24`: canonical, host bits zero, so that `===` compares prefixes. RFC 4632 §3.1. */
export type Cidr = string & { readonly [cidrBrand]: true };

/** Refuses a prefix with host bits set and says which prefix was probably meant. */
export function parseCidr(text: string): Result<Cidr, string> {
  const interfaceAddress = parseInterfaceAddress(text);
  if (!interfaceAddress.ok) return interfaceAddress;
  const { address, prefixLength } = interfaceAddress.value;
  const prefix = cidrOf(address, prefixLength);
  // One string, where the text is canonical, instead of parts put together.
  if (text === prefix) return ok(text as Cidr);
  const canonical = `${address}/${prefixLength}`;
  if (canonical !== prefix) return err(`"${text}" has host bits set; the prefix is ${prefix}`);
  return ok(prefix);
}

/** A prefix that the program itself wrote down; throws when it is none. */
export function cidr(text: string): Cidr {
  const result = parseCidr(text);
  if (!result.ok) throw new TypeError(result.error);
  return result.value;
}

/** An address with the length of its prefix, as an interface has it: `10.0.0.7/24`. */
export interface InterfaceAddress {
  readonly address: IpAddress;
  /** 0…32 for IPv4, 0…128 for IPv6. */
  readonly prefixLength: number;
}

export function parseInterfaceAddress(text: string): Result<InterfaceAddress, string> {
  const slash = text.indexOf("/");
  const lengthText = text.slice(slash + 1);
  const address = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (slash < 0 || !address.ok || !/^\d{1,3}$/.test(lengthText))
    return err(`"${text}" is not a prefix such as 10.0.0.0/24 or fd00::/64`);
  const prefixLength = Number(lengthText);
  const bits = addressBits(familyOf(address.value));
  if (prefixLength > bits) return err(`"${text}": a prefix length is 0 to ${bits}`);
  return ok({ address: address.value, prefixLength });
}

/** The prefix of `prefixLength` bits that holds `address`. */
export function cidrOf(address: IpAddress, prefixLength: number): Cidr {
  const family = familyOf(address);
  if (family === 4) {
    // A shift of a 32-bit number by 32 would be none.
    const mask = prefixLength === 0 ? 0 : -1 << (32 - prefixLength);
    return `${ipv4FromNumber(ipv4ToNumber(address as Ipv4Address) & mask)}/${prefixLength}` as Cidr;
  }
  const hostBits = BigInt(addressBits(family) - prefixLength);
  return `${ipFromBigInt((ipToBigInt(address) >> hostBits) << hostBits, family)}/${prefixLength}` as Cidr;
}

/** The prefix that holds the address alone. */
export function hostPrefix(address: IpAddress): Cidr {
  return cidrOf(address, addressBits(familyOf(address)));
}

export function cidrFamily(prefix: Cidr): IpFamily {
  return prefix.includes(":") ? 6 : 4;
}

export function networkAddress(prefix: Cidr): IpAddress {
  return prefix.slice(0, prefix.indexOf("/")) as IpAddress;
}

export function prefixLengthOf(prefix: Cidr): number {
  return Number(prefix.slice(prefix.indexOf("/") + 1));
}

/** The number of addresses in the prefix, the network and broadcast addresses among them. */
export function cidrSize(prefix: Cidr): bigint {
  return 1n << BigInt(addressBits(cidrFamily(prefix)) - prefixLengthOf(prefix));
}

export function cidrContains(prefix: Cidr, address: IpAddress): boolean {
  return cidrFamily(prefix) === familyOf(address) && cidrOf(address, prefixLengthOf(prefix)) === prefix;
}

export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return prefixLengthOf(a) <= prefixLengthOf(b)
    ? cidrContains(a, networkAddress(b))
    : cidrContains(b, networkAddress(a));
}

/** The prefixes that together are `outer` without `holes`; none if these cover it. */
export function cidrWithout(outer: Cidr, holes: readonly Cidr[]): Cidr[] {
  const inside = holes.filter((hole) => cidrsOverlap(outer, hole));
  if (inside.length === 0) return [outer];
  const length = prefixLengthOf(outer) + 1;
  if (inside.some((hole) => prefixLengthOf(hole) < length)) return [];
  const halves = [networkAddress(outer), addressAt(outer, cidrSize(outer) / 2n)];
  return halves.flatMap((address) => cidrWithout(cidrOf(address, length), inside));
}

/** The address at `index` in the prefix, counted from its network address. */
export function addressAt(prefix: Cidr, index: bigint): IpAddress {
  if (index < 0n || index >= cidrSize(prefix)) throw new RangeError(`${prefix} has no address number ${index}`);
  return ipFromBigInt(ipToBigInt(networkAddress(prefix)) + index, cidrFamily(prefix));
}

/** Orders by address, then the shorter prefix first. */
export function compareCidr(a: Cidr, b: Cidr): number {
  return compareIp(networkAddress(a), networkAddress(b)) || prefixLengthOf(a) - prefixLengthOf(b);
}

function addressBits(family: IpFamily): number {
  return family === 4 ? 32 : 128;
}
