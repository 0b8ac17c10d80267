import { etherType } from "./ethernet.ts";
import { defineHeader, flag, uint } from "./layout.ts";

/**
 * VLAN tag after its EtherType (0x8100 customer, 0x88a8 provider): tag control information and the EtherType of what
 * follows, which may be a further tag. IEEE 802.1Q-2018 §9.6.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     | PCP |D|        VLAN ID        |           EtherType           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const vlan = defineHeader("vlan", {
  /** Priority code point, 0…7. */
  priority: uint(3),
  dropEligible: flag(),
  /** 0: priority tag, no VLAN. 4095 is reserved. */
  vlanId: uint(12),
  etherType,
});
