import { AttributeSchema, type AttributeValues, be16, be32, bool8, flag, ipAddress, u8, u32 } from "../attribute.ts";

/** linux/if_link.h: `IFLA_GENEVE_*`. */
export const geneveSchema = new AttributeSchema("IFLA_GENEVE", {
  vni: u32(1),
  /** The IPv4 address that packets go to and are taken from. */
  remote: ipAddress(2),
  /** 0: as the route says. */
  ttl: u8(3),
  tos: u8(4),
  port: be16(5),
  /** One device for all VNIs and remotes: the route or filter tells both. */
  collectMetadata: flag(6),
  remote6: ipAddress(7),
  udpChecksum: bool8(8),
  udpZeroChecksum6Transmit: bool8(9),
  udpZeroChecksum6Receive: bool8(10),
  /** IPv6 flow label. */
  label: be32(11),
  ttlInherit: bool8(12),
  /** 0 unset, 1 set, 2 inherit from the inner packet. */
  dontFragment: u8(13),
  /** IP packets without an Ethernet header inside. */
  innerProtocolInherit: flag(14),
});
export type GeneveSettings = AttributeValues<typeof geneveSchema.set>;
