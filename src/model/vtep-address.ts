import { type Cidr, cidr, cidrContains } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import { linkLocalPrefix } from "../base/link-local.ts";

/** Where no tunnel can end, and what such an address is. The first that holds an address says it. */
const impossible: readonly (readonly [prefix: Cidr, what: string])[] = [
  [cidr("0.0.0.0/8"), 'an address of "this network" (RFC 1122 §3.2.1.3)'],
  [cidr("127.0.0.0/8"), "a loopback address (RFC 1122 §3.2.1.3)"],
  [cidr("169.254.0.0/16"), "a link-local address (RFC 3927)"],
  [cidr("224.0.0.0/4"), "a multicast address (RFC 5771)"],
  [cidr("255.255.255.255/32"), "the broadcast address (RFC 919 §7)"],
  [cidr("240.0.0.0/4"), "a reserved address (RFC 1112 §4)"],
  [cidr("::/128"), "the unspecified address (RFC 4291 §2.5.2)"],
  [cidr("::1/128"), "the loopback address (RFC 4291 §2.5.3)"],
  [cidr("::/96"), "an IPv4-compatible address (RFC 4291 §2.5.5.1)"],
  [cidr("::ffff:0:0/96"), "an IPv4-mapped address (RFC 4291 §2.5.5.2)"],
  [linkLocalPrefix, "a link-local address (RFC 4291 §2.5.6)"],
  [cidr("ff00::/8"), "a multicast address (RFC 4291 §2.7)"],
];

/**
 * Why no tunnel can end at the address: it is not one host's, or means something else on each host or link. Undefined:
 * one can. Agent and server judge by this alone.
 */
export function vtepObstacle(address: IpAddress): string | undefined {
  const what = impossibleVtep(address);
  return what === undefined ? undefined : `${address} is ${what}`;
}

/** What an address is at which no tunnel can end: `a loopback address (RFC …)`. Undefined: one can. */
export function impossibleVtep(address: IpAddress): string | undefined {
  return impossible.find(([prefix]) => cidrContains(prefix, address))?.[1];
}
