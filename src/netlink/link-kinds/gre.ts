import { AttributeSchema, type AttributeValues, be16, be32, bool8, flag, ipAddress, u8, u32 } from "../attribute.ts";
import { ip6TunnelFlags } from "./ip-tunnel.ts";

/** linux/if_tunnel.h: bits of `inputFlags` and `outputFlags`: which fields the GRE header has (RFC 2890 §2). */
export const greFlag = { checksum: 0x8000, key: 0x2000, sequence: 0x1000 } as const;

/**
 * linux/if_tunnel.h: `IFLA_GRE_*`, for gre, gretap (over IPv4), ip6gre and ip6gretap (over IPv6). The kernel reports
 * addresses that are not set as zero, and keys only as far as the flags say that there is one.
 */
export const greSchema = new AttributeSchema("IFLA_GRE", {
  /** Index of the underlay interface; 0: any. */
  link: u32(1),
  /** What arriving packets must have. Bits of {@link greFlag}. */
  inputFlags: be16(2),
  outputFlags: be16(3),
  /** Without the flag `key` it says nothing. */
  inputKey: be32(4),
  outputKey: be32(5),
  local: ipAddress(6),
  remote: ipAddress(7),
  /** 0: that of the inner packet. */
  ttl: u8(8),
  /** IPv4 underlay only. */
  tos: u8(9),
  /** Sets DF on all outer packets; otherwise DF is that of the inner packet. IPv4 underlay only; the kernel's default is true. */
  pathMtuDiscovery: bool8(10),
  /** RFC 2473 §4.1.1. IPv6 underlay only; without {@link ip6TunnelFlag.ignoreEncapsulationLimit} 8 octets in each packet. */
  encapsulationLimit: u8(11),
  /** IPv6 traffic class and flow label. */
  flowInfo: be32(12),
  /** Bits of {@link ip6TunnelFlag}. IPv6 underlay only. */
  flags: ip6TunnelFlags(13),
  /** One device for all remotes and keys: the route or filter tells both. */
  collectMetadata: flag(18),
  /** The inner packet's DF does not count. IPv4 underlay only, and only without `pathMtuDiscovery`. */
  ignoreDontFragment: bool8(19),
});
export type GreSettings = AttributeValues<typeof greSchema.set>;
