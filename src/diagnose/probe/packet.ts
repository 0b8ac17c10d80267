import { crc32 } from "node:zlib";
import { familyOf, type IpAddress, ip } from "../../base/ip.ts";
import { type MacAddress, mac } from "../../base/mac.ts";
import { tunnelHeader } from "../../dataplane/encapsulation/tunnel-header.ts";
import { encapsulations, type TunnelEncapsulation } from "../../model/encapsulation.ts";
import type { Vni } from "../../model/index.ts";
import { buildFrame, type LayerDraft } from "../../wire/index.ts";

/** How packets of a network travel between two VTEPs. */
export interface ProbeWay {
  readonly encapsulation: TunnelEncapsulation;
  /** UDP destination port; 0: none. */
  readonly port: number;
  readonly vni: Vni;
  readonly from: IpAddress;
  readonly to: IpAddress;
}

/** By which a probe is known from all other packets: `weftprob`. */
export const probeMagic = new TextEncoder().encode("weftprob");
/** Octets of magic, train, sequence number, moment of sending and a checksum of these, which come first in what a tunnel carries. */
export const leadLength = 8 + 8 + 4 + 8 + 4;
const checksumOffset = leadLength - 4;

/** What a probe says of itself. */
export interface ProbeLead {
  readonly train: bigint;
  readonly sequence: number;
  /** Microseconds since 1970 by the sender's clock. */
  readonly sentAt: number;
}

/**
 * No bridge forwards frames to this group (IEEE 802.1Q, 8.6.3): a probe that comes out of a tunnel for Ethernet reaches no
 * endpoint. Its EtherType is one for experiments (RFC 9542 §3.3).
 */
const frameHeader = {
  destination: mac("01:80:c2:00:00:0e"),
  source: mac("02:57:00:00:00:00") as MacAddress,
  etherType: { unknown: 0x88b5 },
} as const;
/** All hosts on the link, which nobody forwards to (RFC 1112 §4), and a protocol for experiments (RFC 3692 §2.1). */
const innerDestination = ip("224.0.0.1");
const experimentalProtocol = 253;
const innerHeader = {
  dscp: 0,
  ecn: 0,
  identification: 0,
  dontFragment: true,
  moreFragments: false,
  fragmentOffset: 0,
  timeToLive: 1,
  protocol: { unknown: experimentalProtocol },
  /** An address that nobody has (RFC 7600 §4.5). */
  source: ip("192.0.0.8"),
  destination: innerDestination,
  options: new Uint8Array(0),
} as Extract<LayerDraft, { protocol: "ipv4" }>["header"];

/** Octets of the outer IP header without options. */
function outerHeader({ to }: ProbeWay): number {
  return familyOf(to) === 4 ? 20 : 40;
}

const udpHeader = 8;

/** The number of the IP protocol that the outer header names; `udp` where there is a port. */
export function outerProtocol({ port, encapsulation }: ProbeWay): "udp" | number {
  return port > 0 ? "udp" : (encapsulations[encapsulation].ipProtocols[0] ?? 0);
}

const udpProtocol = 17;

/** The same as a number. IANA "Protocol Numbers". */
export function protocolNumber(way: ProbeWay): number {
  const protocol = outerProtocol(way);
  return protocol === "udp" ? udpProtocol : protocol;
}

/** Octets of the smallest probe's outer IP packet. */
export function smallestProbe(way: ProbeWay): number {
  return outerHeader(way) + (way.port > 0 ? udpHeader : 0) + tunnelled(way, new Uint8Array(leadLength)).length;
}

/**
 * What follows the outer IP header, or the UDP header where there is one, of a probe whose outer IP packet has `size` octets: the
 * tunnel's header, and in it the probe.
 */
export function probePayload(way: ProbeWay, lead: ProbeLead, size: number): Uint8Array {
  return tunnelled(way, probeContent(lead, leadLength + size - smallestProbe(way)));
}

/** What says that a packet is a probe, and which one, and a pattern behind it. `length`: at least {@link leadLength}. */
export function probeContent(lead: ProbeLead, length: number): Uint8Array {
  const content = new Uint8Array(length);
  const view = new DataView(content.buffer);
  content.set(probeMagic);
  view.setBigUint64(8, lead.train);
  view.setUint32(16, lead.sequence);
  view.setBigUint64(20, BigInt(Math.round(lead.sentAt)));
  view.setUint32(checksumOffset, crc32(content.subarray(0, checksumOffset)));
  for (let offset = leadLength; offset < content.length; offset++) content[offset] = patternAt(offset);
  return content;
}

/**
 * The probe in `packet`, and whether all of it is as it was sent; `undefined`: there is none. Of one that was changed in what it says of
 * itself, nothing that it says can be relied on.
 */
export function readProbe(packet: Uint8Array): (ProbeLead & { readonly isChanged: boolean }) | undefined {
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.length);
  const start = bytes.indexOf(probeMagic);
  if (start < 0 || start + leadLength > bytes.length) return undefined;
  let isChanged = crc32(bytes.subarray(start, start + checksumOffset)) !== bytes.readUInt32BE(start + checksumOffset);
  for (let offset = start + leadLength; offset < bytes.length && !isChanged; offset++)
    isChanged = bytes[offset] !== patternAt(offset - start);
  return {
    train: bytes.readBigUInt64BE(start + 8),
    sequence: bytes.readUInt32BE(start + 16),
    sentAt: Number(bytes.readBigUInt64BE(start + 20)),
    isChanged,
  };
}

/** Octets that repeat nowhere near: a part that was moved shows as well as one that was changed. */
function patternAt(offset: number): number {
  return (offset * 167 + (offset >> 8)) & 0xff;
}

function tunnelled({ encapsulation, vni }: ProbeWay, content: Uint8Array): Uint8Array {
  const carried: LayerDraft = encapsulations[encapsulation].carriesEthernet
    ? { protocol: "ethernet", header: frameHeader }
    : { protocol: "ipv4", header: innerHeader };
  return buildFrame([...tunnelHeader(encapsulation, vni), carried, { protocol: "payload", header: content }]);
}
