import {
  type Attribute,
  AttributeSchema,
  type AttributeValues,
  be32,
  bool8,
  flag,
  ipAddress,
  u8,
  u32,
} from "../attribute.ts";

/** linux/ip6_tunnel.h: bits of `flags` of ip6tnl, ip6gre and ip6gretap. */
export const ip6TunnelFlag = { ignoreEncapsulationLimit: 0x1, useInnerTrafficClass: 0x2 } as const;

/** What the tunnel carries: IP protocol numbers. */
export const ipTunnelProtocol = { any: 0, ipv4: 4, ipv6: 41 } as const;

/**
 * Flags of a tunnel over IPv6. Above 16 bits the kernel notes what it has found out by itself, which is no setting. sit
 * has 16 bits of another meaning under the same number, which are nobody's concern here.
 */
export function ip6TunnelFlags(code: number): Attribute<number> {
  const attribute = u32(code);
  return {
    ...attribute,
    read: (bytes, view, offset, length) => {
      const value = length === 2 ? undefined : attribute.read(bytes, view, offset, length);
      return value === undefined ? undefined : value & 0xffff;
    },
  };
}

/**
 * linux/if_tunnel.h: `IFLA_IPTUN_*`, for ipip, sit (over IPv4) and ip6tnl (over IPv6). The kernel reports addresses
 * that are not set as zero.
 */
export const ipTunnelSchema = new AttributeSchema("IFLA_IPTUN", {
  /** Index of the underlay interface; 0: any. */
  link: u32(1),
  local: ipAddress(2),
  remote: ipAddress(3),
  /** 0: that of the inner packet. */
  ttl: u8(4),
  /** IPv4 underlay only. */
  tos: u8(5),
  /** RFC 2473 §4.1.1. IPv6 underlay only; without {@link ip6TunnelFlag.ignoreEncapsulationLimit} 8 octets in each packet. */
  encapsulationLimit: u8(6),
  /** IPv6 traffic class and flow label. */
  flowInfo: be32(7),
  /** Bits of {@link ip6TunnelFlag}. IPv6 underlay only. */
  flags: ip6TunnelFlags(8),
  /** One of {@link ipTunnelProtocol}. */
  protocol: u8(9),
  /** Sets DF on all outer packets; otherwise DF is that of the inner packet. IPv4 underlay only; the kernel's default is true. */
  pathMtuDiscovery: bool8(10),
  /** One device for all remotes: the route or filter tells them. */
  collectMetadata: flag(19),
});
export type IpTunnelSettings = AttributeValues<typeof ipTunnelSchema.set>;
