import { type Ipv4Address, ipv4ToNumber } from "../base/ip.ts";
import { dnsPort } from "../wire/dns.ts";
import { etherType } from "../wire/ethernet.ts";
import { ipProtocol } from "../wire/ip-protocol.ts";
import {
  arpTargetOffset,
  assembleEthernetFilter,
  ipOffset,
  ipv4DestinationOffset,
  ipv4FragmentOffset,
  ipv4ProtocolOffset,
  plainIpv4,
} from "./ethernet-filter.ts";

const udpDestinationOffset = ipOffset + 20 + 2;

/**
 * The filter of a {@link PacketSocket} at an endpoint's port that lets through DNS over UDP to `server`, directly behind an IPv4 header
 * without options and whole, and ARP that asks for it. Nothing that goes out, and nothing with a VLAN tag. The program at the port lets
 * nothing that is for `server` go further: guard.c.
 */
export function nameRequestFilter(server: Ipv4Address): Uint8Array {
  return assembleEthernetFilter([
    { equals: etherType.encode("ipv4"), yes: "ipv4" },
    { equals: etherType.encode("arp"), no: "drop" },
    { load: 4, at: arpTargetOffset },
    { equals: ipv4ToNumber(server), yes: "accept", no: "drop" },
    { label: "ipv4" },
    { load: 4, at: ipv4DestinationOffset },
    { equals: ipv4ToNumber(server), no: "drop" },
    { load: 1, at: ipOffset },
    { equals: plainIpv4, no: "drop" },
    { load: 1, at: ipv4ProtocolOffset },
    { equals: ipProtocol.encode("udp"), no: "drop" },
    { load: 2, at: ipv4FragmentOffset },
    { anyBit: 0x3fff, yes: "drop" },
    { load: 2, at: udpDestinationOffset },
    { equals: dnsPort, yes: "accept", no: "drop" },
  ]);
}
