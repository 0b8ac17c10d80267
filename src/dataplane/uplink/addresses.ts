import { type Cidr, cidr, cidrOf, cidrsOverlap, prefixLengthOf } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { type IpAddress, type IpFamily, ip, ipFromBigInt, ipToBigInt } from "../../base/ip.ts";
import { addressSeed, type UplinkIdentity } from "../kernel-names.ts";
import { spanOf, spansOverlap } from "./span.ts";

/** One end's and the other end's address, of one family. */
export interface AddressPair {
  readonly host: IpAddress;
  readonly tenant: IpAddress;
}

export type PairAddresses = Readonly<Record<IpFamily, AddressPair>>;

/** RFC 3021 and RFC 6164: two addresses are enough for a link with two ends. */
export const pairPrefixLength: Readonly<Record<IpFamily, number>> = { 4: 31, 6: 127 };

/** Link-local addresses are the business of one link. Neighbour discovery does not work without (RFC 4861 §4.3). */
export const linkLocal: AddressPair = { host: ip("fe80::1"), tenant: ip("fe80::2") };

/** RFC 3927, without its first and last 256 addresses, which are reserved. */
const ipv4Space = cidr("169.254.0.0/16");
const firstIpv4 = ipToBigInt(ip("169.254.1.0"));
const ipv4Pairs = BigInt((254 * 256) / 2);
/** What cloud providers serve there to every machine: metadata, time, names, credentials. */
const wellKnown = [cidr("169.254.169.0/24"), cidr("169.254.170.0/24")];
/** RFC 4193: locally assigned, a 40-bit global identifier. */
const ipv6Space = cidr("fd00::/8");
const firstIpv6 = ipToBigInt(ip("fd00::2"));
const ipv6Pairs = 1n << 40n;
const ipv6Step = 1n << 80n;

/** Routes as wide as this lead to link-local or unique local space as such, and to no neighbour in particular. */
const widest: Readonly<Record<IpFamily, number>> = { 4: 16, 6: 8 };

/** The pair that an earlier run gave this uplink, by any address of one of its two ends. */
export function knownPair(
  family: IpFamily,
  addresses: readonly { readonly address: IpAddress; readonly prefixLength: number }[],
): AddressPair | undefined {
  const space = family === 4 ? ipv4Space : ipv6Space;
  for (const { address, prefixLength } of addresses)
    if (prefixLength === pairPrefixLength[family] && cidrsOverlap(space, cidrOf(address, prefixLength)))
      return pairAt(ipToBigInt(address) & ~1n, family);
  return undefined;
}

/** A pair that overlaps nothing of what is `occupied`: addresses and destinations of routes. The same one as ever, if that is free. */
export function choosePair(identity: UplinkIdentity, family: IpFamily, occupied: readonly Cidr[]): AddressPair {
  const [first, pairs, step] = family === 4 ? [firstIpv4, ipv4Pairs, 2n] : [firstIpv6, ipv6Pairs, ipv6Step];
  const space = spanOf(family === 4 ? ipv4Space : ipv6Space);
  const inTheWay = [...occupied.filter((prefix) => prefixLengthOf(prefix) > widest[family]), ...wellKnown]
    .map(spanOf)
    .filter((span) => spansOverlap(span, space));
  const start = addressSeed(identity) % pairs;
  for (let attempt = 0n; attempt < ipv4Pairs; attempt++) {
    const host = first + ((start + attempt) % pairs) * step;
    if (!inTheWay.some(({ first, last }) => first <= host + 1n && host <= last)) return pairAt(host, family);
  }
  throw new WeftError({
    code: "exhausted",
    attempted: `choose IPv${family} addresses for the uplink of tenant ${identity.tenant}`,
    reason: `all of ${family === 4 ? ipv4Space : ipv6Space} is taken on this host`,
    hint: "see ip address and ip route",
  });
}

function pairAt(host: bigint, family: IpFamily): AddressPair {
  return { host: ipFromBigInt(host, family), tenant: ipFromBigInt(host + 1n, family) };
}
