import { assembleBpf, type BpfStep, packetProperty } from "./bpf.ts";
import { packetType } from "./packet-socket.ts";

/** Octets into an Ethernet frame without a VLAN tag. */
const etherTypeOffset = 12;
export const ipOffset = 14;
export const arpTargetOffset = ipOffset + 24;
export const ipv4FragmentOffset = ipOffset + 6;
export const ipv4ProtocolOffset = ipOffset + 9;
export const ipv4DestinationOffset = ipOffset + 16;
export const ipv6NextHeaderOffset = ipOffset + 6;
export const ipv6PayloadOffset = ipOffset + 40;
/** The first octet of an IPv4 header of five words: without options. */
export const plainIpv4 = 0x45;

/**
 * A filter of frames that come in without a VLAN tag: nothing else gets through. `steps` begin with the EtherType loaded, and lead to the
 * labels `accept` and `drop`; where they end it is dropped.
 */
export function assembleEthernetFilter(steps: readonly BpfStep[]): Uint8Array {
  return assembleBpf([
    { load: 4, at: packetProperty.type },
    { equals: packetType.outgoing, yes: "drop" },
    { load: 4, at: packetProperty.vlanTagPresent },
    { equals: 0, no: "drop" },
    { load: 2, at: etherTypeOffset },
    ...steps,
    { label: "drop" },
    { accept: false },
    { label: "accept" },
    { accept: true },
  ]);
}
