import { AttributeSchema, type AttributeValues, bool8, flag, u8, u16, u32 } from "../attribute.ts";

/** linux/if_link.h: `IFLA_BR_*`. */
export const bridgeSchema = new AttributeSchema("IFLA_BR", {
  /** Hundredths of a second. */
  forwardDelay: u32(1),
  ageingTime: u32(4),
  stpState: u32(5),
  /** EOPNOTSUPP, also for `false`, where the kernel was built without it. */
  vlanFiltering: bool8(7),
  multicastSnooping: bool8(23),
  callIptables: bool8(36),
  callIp6tables: bool8(37),
  callArptables: bool8(38),
  /** The VLAN that new ports are members of; 0: of none. Absent where the kernel was built without VLANs of bridges. */
  vlanDefaultPvid: u16(39),
});
export type BridgeSettings = AttributeValues<typeof bridgeSchema.set>;

/** linux/if_link.h: `IFLA_BRPORT_*`. */
export const bridgePortSchema = new AttributeSchema("IFLA_BRPORT", {
  /** 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking. */
  state: u8(1),
  hairpin: bool8(4),
  bpduGuard: bool8(5),
  learning: bool8(8),
  unicastFlood: bool8(9),
  proxyArp: bool8(10),
  /** To be set: the bridge forgets what it learned at the port. */
  flush: flag(24),
  multicastFlood: bool8(27),
  vlanTunnel: bool8(29),
  broadcastFlood: bool8(30),
  /** ARP and neighbour discovery that the bridge can answer from its own tables do not leave by this port. */
  neighbourSuppress: bool8(32),
  /** Nothing is forwarded from one isolated port to another. */
  isolated: bool8(33),
  locked: bool8(39),
});
export type BridgePortSettings = AttributeValues<typeof bridgePortSchema.set>;
