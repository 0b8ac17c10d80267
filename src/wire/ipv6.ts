import { ipProtocol } from "./ip-protocol.ts";
import { defineHeader, fixed, ipv6Address, uint } from "./layout.ts";

/**
 * IPv6 header, 40 octets, without extension headers. RFC 8200 §3.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |Version|   DSCP    |ECN|              Flow Label               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |        Payload Length         |  Next Header  |   Hop Limit   |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                                                               |
 *     +                        Source Address                         +
 *     |                          (4 words)                            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                                                               |
 *     +                      Destination Address                      +
 *     |                          (4 words)                            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const ipv6 = defineHeader("ipv6", {
  version: fixed(4, 6),
  /** Differentiated services code point. RFC 2474 §3. */
  dscp: uint(6),
  /** Explicit congestion notification. RFC 3168 §5. */
  ecn: uint(2),
  flowLabel: uint(20),
  /** Octets after this header, extension headers included. */
  payloadLength: uint(16),
  nextHeader: ipProtocol,
  hopLimit: uint(8),
  source: ipv6Address(),
  destination: ipv6Address(),
});
