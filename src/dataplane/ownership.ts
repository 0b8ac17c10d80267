import { createHash } from "node:crypto";
import type { IpAddress } from "../base/ip.ts";
import { type MacAddress, macFromBytes } from "../base/mac.ts";
import type { Link } from "../netlink/index.ts";

/**
 * How weft marks what it makes. What does not carry the mark is never changed or deleted.
 */

/** The route protocol number (RTPROT_*, NDA_PROTOCOL) of weft. Values from 4 on mean nothing to the kernel. */
export const weftProtocol = 119;

/**
 * The group (IFLA_GROUP) of each device: set in the message that makes it, so that there is no moment in which a
 * device of weft's is not known as such. The letters WEFT.
 */
export const weftGroup = 0x5745_4654;

export function isOwnLink(link: Link): boolean {
  return link.group === weftGroup;
}

/** The alias of each device, and the mark of a tenant's namespace on its loopback device: for people, and by instance. */
export function aliasOf(instance: string): string {
  return `weft:${instance}`;
}

/** The alias of an endpoint's port: also of which namespace, by its inode number, the other end was put into. */
export function portAliasOf(instance: string, inode: number): string {
  return `${aliasOf(instance)} net:[${inode}]`;
}

/**
 * The MAC of a node's tunnels in layer-3 networks, by its VTEP address: every node can tell it of every other. Locally
 * administered; 46 bits of a hash, so that the addresses of 5,000 nodes share one with a chance of 2 in 10 million.
 */
export function routerMac(vtep: IpAddress): MacAddress {
  const bytes = Uint8Array.from(createHash("sha256").update(vtep).digest().subarray(0, 6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}

/**
 * Nexthop identifiers are shared by all who use a namespace. Those of an instance begin with 18 bits that follow
 * from its name; 14 bits number its nexthops.
 */
export function nexthopRange(instance: string): { readonly first: number; readonly last: number } {
  let hash = 0x811c9dc5;
  for (const character of instance) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x0100_0193) >>> 0;
  const first = (0x4000_0000 | ((hash & 0xffff) << 14)) >>> 0;
  return { first, last: first + 0x3fff };
}
