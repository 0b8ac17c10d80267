import { AttributeSchema, type AttributeValues, be16, bool8, ipAddress, u8, u32 } from "../attribute.ts";

/** linux/if_link.h: `IFLA_VXLAN_*`. */
export const vxlanSchema = new AttributeSchema("IFLA_VXLAN", {
  vni: u32(1),
  /** Multicast group or single default remote. */
  group: ipAddress(2),
  /** Index of the underlay interface. */
  link: u32(3),
  local: ipAddress(4),
  /** 0 in the message: as the route says. */
  ttl: u8(5),
  tos: u8(6),
  learning: bool8(7),
  /** Seconds; 0: entries do not age. */
  ageing: u32(8),
  /** The most FDB entries; 0: no limit. */
  limit: u32(9),
  proxy: bool8(11),
  l2Miss: bool8(13),
  l3Miss: bool8(14),
  port: be16(15),
  group6: ipAddress(16),
  local6: ipAddress(17),
  udpChecksum: bool8(18),
  udpZeroChecksum6Transmit: bool8(19),
  udpZeroChecksum6Receive: bool8(20),
  /** One device for many VNIs: the route or filter tells the VNI. */
  collectMetadata: bool8(25),
  /** 0 unset, 1 set, 2 inherit from the inner packet. */
  dontFragment: u8(29),
  vniFilter: bool8(30),
  localBypass: bool8(31),
});
export type VxlanSettings = AttributeValues<typeof vxlanSchema.set>;
