import { codes, defineHeader, macAddress } from "./layout.ts";

/** What an Ethernet frame or a VLAN tag carries. IANA "IEEE 802 Numbers", EtherTypes. */
export const etherType = codes(16, {
  ipv4: 0x0800,
  arp: 0x0806,
  /** A whole Ethernet frame in a tunnel: GRE, Geneve. Transparent Ethernet Bridging, RFC 1701. */
  "transparent-ethernet-bridging": 0x6558,
  /** Reverse ARP, RFC 903: machines that were moved send it so that bridges learn where they are. */
  rarp: 0x8035,
  vlan: 0x8100,
  ipv6: 0x86dd,
  "provider-vlan": 0x88a8,
  lldp: 0x88cc,
});

/**
 * Ethernet II header, 14 octets, without preamble and frame check sequence. RFC 894; IEEE 802.3-2018 §3.1.1.
 * An `etherType` below 0x600 is the length of an IEEE 802.3 frame instead, and unknown here.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                      Destination Address                      |
 *     +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                               |                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
 *     |                        Source Address                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           EtherType           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const ethernet = defineHeader("ethernet", {
  destination: macAddress(),
  source: macAddress(),
  etherType,
});
