import { octets, type ValueOf } from "./codec.ts";
import { ipProtocol } from "./ip-protocol.ts";
import { defineHeader, fixed, flag, ipv4Address, reserved, uint } from "./layout.ts";
import { withOptions } from "./options.ts";

const fixedPart = defineHeader(
  "ipv4",
  {
    version: fixed(4, 4),
    headerLength: uint(4),
    /** Differentiated services code point. RFC 2474 §3. */
    dscp: uint(6),
    /** Explicit congestion notification. RFC 3168 §5. */
    ecn: uint(2),
    /** Octets of header and payload. */
    totalLength: uint(16),
    identification: uint(16),
    reserved: reserved(1),
    dontFragment: flag(),
    moreFragments: flag(),
    /** In units of 8 octets. */
    fragmentOffset: uint(13),
    timeToLive: uint(8),
    protocol: ipProtocol,
    /** Of the header alone. */
    checksum: uint(16),
    source: ipv4Address(),
    destination: ipv4Address(),
  },
  ({ totalLength, headerLength }) =>
    totalLength < headerLength * 4
      ? `the total length is ${totalLength} octets, the header alone ${headerLength * 4}`
      : undefined,
);

/**
 * IPv4 header, 20 to 60 octets. RFC 791 §3.1. Options are kept as the octets they are; the header length follows
 * from them. The checksum is read and written as it stands: `verifyChecksums` checks it, `buildFrame` computes it.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |Version|  IHL  |   DSCP    |ECN|         Total Length          |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |        Identification         |0|D|M|     Fragment Offset     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     | Time to Live  |   Protocol    |        Header Checksum        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Source Address                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                      Destination Address                      |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Options, 0 to 40 octets                    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const ipv4 = withOptions(fixedPart, "headerLength", octets("ipv4 options"));
export type Ipv4Header = ValueOf<typeof ipv4>;
