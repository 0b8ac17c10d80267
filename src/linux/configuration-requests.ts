import { type Ipv4Address, ipv4ToNumber } from "../base/ip.ts";
import { dhcpv4Port } from "../wire/dhcpv4.ts";
import { dhcpv6Port } from "../wire/dhcpv6.ts";
import { etherType } from "../wire/ethernet.ts";
import { icmpv6Type } from "../wire/icmpv6.ts";
import { ipProtocol } from "../wire/ip-protocol.ts";
import {
  arpTargetOffset,
  assembleEthernetFilter,
  ipOffset,
  ipv4FragmentOffset,
  ipv4ProtocolOffset,
  ipv6NextHeaderOffset,
  ipv6PayloadOffset,
  plainIpv4,
} from "./ethernet-filter.ts";

/** Octets into an Ethernet frame without a VLAN tag. */
const ipv4PortsOffset = ipOffset + 20;
const ports = ({ client, server }: { readonly client: number; readonly server: number }): number =>
  client * 0x1_0000 + server;

/**
 * The filter of a {@link PacketSocket} at an endpoint's port that lets through what asks for configuration: DHCPv4 and DHCPv6 of
 * clients and router solicitations, each directly behind an IP header without options; and ARP that asks for `server`. Nothing that
 * goes out, and nothing with a VLAN tag. The program at the port lets none of that go further: guard.c.
 */
export function configurationRequestFilter(server: Ipv4Address): Uint8Array {
  return assembleEthernetFilter([
    { equals: etherType.encode("ipv4"), yes: "ipv4" },
    { equals: etherType.encode("ipv6"), yes: "ipv6" },
    { equals: etherType.encode("arp"), no: "drop" },
    { load: 4, at: arpTargetOffset },
    { equals: ipv4ToNumber(server), yes: "accept", no: "drop" },
    { label: "ipv4" },
    { load: 1, at: ipOffset },
    { equals: plainIpv4, no: "drop" },
    { load: 1, at: ipv4ProtocolOffset },
    { equals: ipProtocol.encode("udp"), no: "drop" },
    { load: 2, at: ipv4FragmentOffset },
    { anyBit: 0x1fff, yes: "drop" },
    { load: 4, at: ipv4PortsOffset },
    { equals: ports(dhcpv4Port), yes: "accept", no: "drop" },
    { label: "ipv6" },
    { load: 1, at: ipv6NextHeaderOffset },
    { equals: ipProtocol.encode("udp"), yes: "udp" },
    { equals: ipProtocol.encode("icmpv6"), no: "drop" },
    { load: 1, at: ipv6PayloadOffset },
    { equals: icmpv6Type.encode("router-solicitation"), yes: "accept", no: "drop" },
    { label: "udp" },
    { load: 4, at: ipv6PayloadOffset },
    { equals: ports(dhcpv6Port), yes: "accept" },
  ]);
}
