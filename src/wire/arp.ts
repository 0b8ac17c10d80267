import { codes, defineHeader, fixed, ipv4Address, macAddress } from "./layout.ts";

/** IANA "ARP Parameters", operation codes. */
export const arpOperation = codes(16, { request: 1, reply: 2, "reverse-request": 3, "reverse-reply": 4 });

/**
 * ARP packet for Ethernet and IPv4, 28 octets; others are refused. RFC 826.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |       Hardware Type = 1       |    Protocol Type = 0x0800     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     | HW Length = 6 |Proto Length=4 |           Operation           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Sender Hardware Address                    |
 *     +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                               |    Sender Protocol Address    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                               |                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
 *     |                    Target Hardware Address                    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Target Protocol Address                    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const arp = defineHeader("arp", {
  hardwareType: fixed(16, 1),
  protocolType: fixed(16, 0x0800),
  hardwareLength: fixed(8, 6),
  protocolLength: fixed(8, 4),
  operation: arpOperation,
  senderMac: macAddress(),
  senderIp: ipv4Address(),
  /** Zero in a request. */
  targetMac: macAddress(),
  targetIp: ipv4Address(),
});
