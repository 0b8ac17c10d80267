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

/**
 * Why no endpoint and no gateway may have an address of `subnet`, or `undefined` when one may. A subnet of two addresses is
 * for two: it has no network, broadcast or anycast address. RFC 3021 §2.2, RFC 6164 §6.
 */
export function reservedReason(subnet: Cidr, address: IpAddress): string | undefined {
  if (cidrSize(subnet) === 2n) return undefined;
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

/** The first address that a host in the subnet can have. */
export function firstUsable(subnet: Cidr): IpAddress {
  return addressAt(subnet, cidrSize(subnet) === 2n ? 0n : 1n);
}

/** The address by which the endpoints in a block of an l3 network reach their node: the first that is usable. */
export function blockGateway(block: Cidr): IpAddress {
  return addressAt(block, 1n);
}

/**
 * Why no endpoint may have an address of a block, or `undefined` when one may. A block is no link of its own, so that
 * the anycast addresses of RFC 2526 mean nothing in it.
 */
export function blockReservedReason(block: Cidr, address: IpAddress): string | undefined {
  if (address === networkAddress(block)) return "the network address";
  if (address === blockGateway(block)) return "the gateway";
  if (cidrFamily(block) === 4 && address === lastAddress(block)) return "the broadcast address";
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
