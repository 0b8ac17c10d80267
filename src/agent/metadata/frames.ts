import type { Ipv4Address } from "../../base/ip.ts";
import { nodeAddress } from "../../model/node-address.ts";
import { buildFrame, decodeFrame } from "../../wire/index.ts";
import type { Configuration } from "../dhcp/configuration.ts";
import type { Segment } from "./tcp-connection.ts";

/** An endpoint, and in whose name it is answered. */
export interface Ends extends Pick<Configuration, "mac" | "serverMac"> {
  readonly own: Ipv4Address;
}

export interface Ports {
  readonly client: number;
  readonly server: number;
}

/** What an endpoint wants of the address of metadata. */
export type Request =
  | { readonly kind: "arp" }
  | { readonly kind: "segment"; readonly ports: Ports; readonly segment: Segment };

/**
 * Reads a frame of the endpoint's; `undefined`: it is none that it may send, or is not understood. Checksums are not looked at: between
 * the endpoint's kernel and this one they may be yet to come.
 */
export function requestOf(bytes: Uint8Array, { mac, own }: Ends): Request | undefined {
  const [ethernet, network, transport, payload] = decodeFrame(bytes).layers;
  if (ethernet?.protocol !== "ethernet" || ethernet.header.source !== mac) return undefined;
  if (network?.protocol === "arp") {
    const { operation, senderMac, senderIp, targetIp } = network.header;
    const isOwn = operation === "request" && senderMac === mac && senderIp === own;
    return isOwn && targetIp === nodeAddress ? { kind: "arp" } : undefined;
  }
  if (network?.protocol !== "ipv4" || transport?.protocol !== "tcp") return undefined;
  if (network.header.source !== own || network.header.destination !== nodeAddress) return undefined;
  const { sourcePort: client, destinationPort: server, ...header } = transport.header;
  const data = payload?.protocol === "payload" ? payload.header : new Uint8Array();
  return { kind: "segment", ports: { client, server }, segment: { header, data } };
}

export function arpReply({ mac, serverMac, own }: Ends): Uint8Array {
  return buildFrame([
    { protocol: "ethernet", header: { source: serverMac, destination: mac, etherType: "arp" } },
    {
      protocol: "arp",
      header: {
        operation: "reply",
        senderMac: serverMac,
        senderIp: nodeAddress,
        targetMac: mac,
        targetIp: own,
      },
    },
  ]);
}

export function segmentFrame(ports: Ports, { header, data }: Segment, { mac, serverMac, own }: Ends): Uint8Array {
  return buildFrame([
    { protocol: "ethernet", header: { source: serverMac, destination: mac, etherType: "ipv4" } },
    {
      protocol: "ipv4",
      header: {
        ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0 },
        ...{ timeToLive: 64, protocol: "tcp", options: new Uint8Array() },
        source: nodeAddress,
        destination: own,
      },
    },
    {
      protocol: "tcp",
      header: {
        ...{ sourcePort: ports.server, destinationPort: ports.client },
        ...{ cwr: false, ece: false, urg: false, ack: false, psh: false, rst: false, syn: false, fin: false },
        ...{ urgentPointer: 0, ...header },
      },
    },
    ...(data.length === 0 ? [] : [{ protocol: "payload" as const, header: data }]),
  ]);
}
