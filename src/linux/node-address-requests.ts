import { type Ipv4Address, ipv4ToNumber } from "../base/ip.ts";
import { etherType } from "../wire/ethernet.ts";
import { type IpProtocol, ipProtocol } from "../wire/ip-protocol.ts";
import type { BpfStep } from "./bpf.ts";
import {
  arpTargetOffset,
  assembleEthernetFilter,
  ipOffset,
  ipv4DestinationOffset,
  ipv4FragmentOffset,
  ipv4ProtocolOffset,
  plainIpv4,
} from "./ethernet-filter.ts";

/**
 * The filter of a {@link PacketSocket} at an endpoint's port that lets through packets of a protocol to `address`, directly behind an IPv4
 * header without options and whole, and ARP that asks for it. `then`: what else is asked of such a packet; it ends with an answer, or at the label `accept` or `drop`.
 * Nothing that goes out, and nothing with a VLAN tag. The program at the port lets nothing that is for `address` go further: guard.c.
 */
export function requestsTo(address: Ipv4Address, protocol: IpProtocol, then: readonly BpfStep[]): Uint8Array {
  return assembleEthernetFilter([
    { equals: etherType.encode("ipv4"), yes: "ipv4" },
    { equals: etherType.encode("arp"), no: "drop" },
    { load: 4, at: arpTargetOffset },
    { equals: ipv4ToNumber(address), yes: "accept", no: "drop" },
    { label: "ipv4" },
    { load: 4, at: ipv4DestinationOffset },
    { equals: ipv4ToNumber(address), no: "drop" },
    { load: 1, at: ipOffset },
    { equals: plainIpv4, no: "drop" },
    { load: 1, at: ipv4ProtocolOffset },
    { equals: ipProtocol.encode(protocol), no: "drop" },
    { load: 2, at: ipv4FragmentOffset },
    { anyBit: 0x3fff, yes: "drop" },
    ...then,
  ]);
}
