import { familyOf } from "../../../base/ip.ts";
import { buildFrame, type LayerDraft } from "../../../wire/index.ts";
import { leadLength, type ProbeLead, probeContent, probeMagic, readProbe } from "../../probe/packet.ts";
import type { TracedPacket } from "../step.ts";

/** Octets of headers that come before what marks a packet: IP without options, then the protocol's. */
const ipHeader = { 4: 20, 6: 40 } as const;
const transportHeader = { icmp: 8, udp: 8, tcp: 20 } as const;

/** Octets from the packet's IP header on to its mark. */
export function markOffset({ source, protocol }: Pick<TracedPacket, "source" | "protocol">): number {
  return ipHeader[familyOf(source)] + transportHeader[protocol];
}

/** Octets of the smallest packet that can be marked. */
export function smallestMarked(packet: Pick<TracedPacket, "source" | "protocol">): number {
  return markOffset(packet) + leadLength;
}

/** What follows the IP header of a marked packet. */
export function markedPayload(packet: TracedPacket, lead: ProbeLead): Uint8Array {
  const content = probeContent(lead, packet.size - markOffset(packet));
  const frame = buildFrame([ipLayer(packet), transportLayer(packet, lead), { protocol: "payload", header: content }]);
  return frame.subarray(ipHeader[familyOf(packet.source)]);
}

/** For the sums of what it carries; the kernel makes its own. */
function ipLayer({ source, destination, protocol, timeToLive }: TracedPacket): LayerDraft {
  if (familyOf(source) === 4)
    return {
      protocol: "ipv4",
      header: {
        ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0 },
        ...{ protocol: protocol === "icmp" ? "icmpv4" : protocol },
        ...{ timeToLive, source, destination, options: new Uint8Array(0) },
      } as Extract<LayerDraft, { protocol: "ipv4" }>["header"],
    };
  return {
    protocol: "ipv6",
    header: {
      ...{ dscp: 0, ecn: 0, flowLabel: 0, nextHeader: protocol === "icmp" ? "icmpv6" : protocol },
      ...{ hopLimit: timeToLive, source, destination },
    } as Extract<LayerDraft, { protocol: "ipv6" }>["header"],
  };
}

function transportLayer(
  { protocol, source, sourcePort, destinationPort }: TracedPacket,
  { sequence }: ProbeLead,
): LayerDraft {
  switch (protocol) {
    case "icmp":
      return {
        protocol: familyOf(source) === 4 ? "icmpv4" : "icmpv6",
        header: { type: "echo-request", code: 0, identifier: sourcePort, sequence },
      } as LayerDraft;
    case "udp":
      return { protocol, header: { sourcePort, destinationPort } };
    case "tcp":
      return {
        protocol,
        header: {
          ...{ sourcePort, destinationPort, sequence, acknowledgment: 0 },
          ...{ cwr: false, ece: false, urg: false, ack: false, psh: false, rst: false, syn: true, fin: false },
          ...{ window: 65_535, urgentPointer: 0, options: [] },
        } as Extract<LayerDraft, { protocol: "tcp" }>["header"],
      };
  }
}

/** RFC 792, RFC 4443: the types of the answers to echo requests. */
const echoReplies: readonly number[] = [0, 129];
const icmpHeader = transportHeader.icmp;

/** The mark of a packet, and whether it answers one. */
export function readMark(
  packet: Uint8Array,
  { protocol }: Pick<TracedPacket, "protocol">,
): { readonly id: bigint; readonly sequence: number; readonly isAnswer: boolean } | undefined {
  const probe = readProbe(packet);
  if (probe === undefined) return undefined;
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.length);
  const type = packet[bytes.indexOf(probeMagic) - icmpHeader] ?? 0;
  return { id: probe.train, sequence: probe.sequence, isAnswer: protocol === "icmp" && echoReplies.includes(type) };
}
