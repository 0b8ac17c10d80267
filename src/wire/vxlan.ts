import { defineHeader, fixed, reserved, uint } from "./layout.ts";

/** The UDP destination port that IANA gave VXLAN. RFC 7348 §5. */
export const vxlanPort = 4789;

/**
 * VXLAN header, 8 octets. RFC 7348 §5. A header without the I flag carries no VNI and is refused.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |R|R|R|R|I|R|R|R|                   Reserved                    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |         VXLAN Network Identifier (VNI)        |   Reserved    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const vxlan = defineHeader("vxlan", {
  reserved1: reserved(4),
  vniPresent: fixed(1, 1),
  reserved2: reserved(27),
  /** 0…16777215: on the wire 0 is possible, though weft never gives it out. */
  vni: uint(24),
  reserved3: reserved(8),
});
