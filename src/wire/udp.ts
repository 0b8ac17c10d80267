import { defineHeader, uint } from "./layout.ts";

/**
 * UDP header, 8 octets. RFC 768.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Source Port          |       Destination Port        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |            Length             |           Checksum            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const udp = defineHeader(
  "udp",
  {
    sourcePort: uint(16),
    destinationPort: uint(16),
    /** Octets of header and data, 8 at least. */
    length: uint(16),
    /** 0: none was computed. Over IPv6 that is allowed to tunnels only (RFC 6935 §5). */
    checksum: uint(16),
  },
  ({ length }) => (length < 8 ? `the length is ${length} octets, the header alone 8` : undefined),
);
