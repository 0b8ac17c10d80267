import {
  addressAt,
  type Cidr,
  cidrContains,
  cidrFamily,
  cidrOf,
  cidrSize,
  networkAddress,
  prefixLengthOf,
} from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";

/** The highest address of a subnet; for IPv4 the broadcast address. */
export function lastAddress(subnet: Cidr): IpAddress {
  return addressAt(subnet, cidrSize(subnet) - 1n);
}

/** Why no endpoint and no gateway may have an address of `subnet`, or `undefined` when one may. */
export function reservedReason(subnet: Cidr, address: IpAddress): string | undefined {
  if (cidrFamily(subnet) === 4) {
    if (address === networkAddress(subnet)) return "the network address";
    if (address === lastAddress(subnet)) return "the broadcast address";
    return undefined;
  }
  if (address === networkAddress(subnet)) return "the subnet-router anycast address (RFC 4291 §2.6.1)";
  const anycast = reservedAnycast(subnet);
  if (anycast !== undefined && cidrContains(anycast, address)) return "a reserved anycast address (RFC 2526 §2)";
  return undefined;
}

/**
 * The 128 addresses of RFC 2526 §2 in an IPv6 subnet. Of a /64 they have the interface identifiers
 * fdff:ffff:ffff:ff80…fdff:ffff:ffff:ffff (the universal bit is zero), of other lengths they are the highest.
 * Subnets of 128 addresses or fewer would be nothing but reserved; there they are not kept.
 */
function reservedAnycast(subnet: Cidr): Cidr | undefined {
  const length = prefixLengthOf(subnet);
  if (cidrFamily(subnet) === 4 || length > 120) return undefined;
  const highest = length === 64 ? addressAt(subnet, 0xfdff_ffff_ffff_ffffn) : lastAddress(subnet);
  return cidrOf(highest, 121);
}
