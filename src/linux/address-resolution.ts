import { etherType } from "../wire/ethernet.ts";
import { icmpv6Type } from "../wire/icmpv6.ts";
import { ipProtocol } from "../wire/ip-protocol.ts";
import { assembleEthernetFilter, ipv6NextHeaderOffset, ipv6PayloadOffset } from "./ethernet-filter.ts";

/**
 * The filter of a {@link PacketSocket} on Ethernet interfaces that lets through what tells which MAC address an IP
 * address has: ARP, and neighbour solicitations and advertisements directly behind the IPv6 header (RFC 4861 §4.3,
 * §4.4). Nothing that goes out, and nothing with a VLAN tag.
 */
export function addressResolutionFilter(): Uint8Array {
  return assembleEthernetFilter([
    { equals: etherType.encode("arp"), yes: "accept" },
    { equals: etherType.encode("ipv6"), no: "drop" },
    { load: 1, at: ipv6NextHeaderOffset },
    { equals: ipProtocol.encode("icmpv6"), no: "drop" },
    { load: 1, at: ipv6PayloadOffset },
    { equals: icmpv6Type.encode("neighbour-solicitation"), yes: "accept" },
    { equals: icmpv6Type.encode("neighbour-advertisement"), yes: "accept" },
  ]);
}

/**
 * The same, and reverse ARP (RFC 903), as QEMU sends it for machines that it has moved.
 */
export function announcementFilter(): Uint8Array {
  return assembleEthernetFilter([
    { equals: etherType.encode("arp"), yes: "accept" },
    { equals: etherType.encode("rarp"), yes: "accept" },
    { equals: etherType.encode("ipv6"), no: "drop" },
    { load: 1, at: ipv6NextHeaderOffset },
    { equals: ipProtocol.encode("icmpv6"), no: "drop" },
    { load: 1, at: ipv6PayloadOffset },
    { equals: icmpv6Type.encode("neighbour-solicitation"), yes: "accept" },
    { equals: icmpv6Type.encode("neighbour-advertisement"), yes: "accept" },
  ]);
}
