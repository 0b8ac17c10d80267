import { familyOf, type Ipv4Address } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { LocalEndpoint } from "../../dataplane/index.ts";
import { nodeAddress } from "../../model/node-address.ts";
import { buildFrame, decodeFrame, dnsPort } from "../../wire/index.ts";

/** What an endpoint wants of the node's address; `own`: the address that it asks with. */
export type Request =
  | { readonly kind: "arp"; readonly own: Ipv4Address }
  | { readonly kind: "query"; readonly own: Ipv4Address; readonly port: number; readonly message: Uint8Array };

/**
 * Reads a frame of the endpoint's; `undefined`: it is none that it may send, or is not understood. Checksums are not looked at: between
 * the endpoint's kernel and this one they may be yet to come.
 */
export function requestOf(
  bytes: Uint8Array,
  { mac, addresses }: Pick<LocalEndpoint, "mac" | "addresses">,
): Request | undefined {
  const [ethernet, network, transport, payload] = decodeFrame(bytes).layers;
  if (ethernet?.protocol !== "ethernet" || ethernet.header.source !== mac) return undefined;
  const ownOf = (address: Ipv4Address) => addresses.some((each) => each.address === address) && familyOf(address) === 4;
  if (network?.protocol === "arp") {
    const { operation, senderMac, senderIp, targetIp } = network.header;
    const isOwn = operation === "request" && senderMac === mac && ownOf(senderIp);
    return isOwn && targetIp === nodeAddress ? { kind: "arp", own: senderIp } : undefined;
  }
  if (network?.protocol !== "ipv4" || transport?.protocol !== "udp" || payload?.protocol !== "payload")
    return undefined;
  const { source, destination } = network.header;
  const { sourcePort: port, destinationPort } = transport.header;
  if (!ownOf(source) || destination !== nodeAddress || destinationPort !== dnsPort) return undefined;
  return { kind: "query", own: source, port, message: payload.header };
}

/** A DNS message of the node's to the endpoint. */
export function responseFrame(
  { own, port }: { readonly own: Ipv4Address; readonly port: number },
  message: Uint8Array,
  { mac, serverMac }: { readonly mac: MacAddress; readonly serverMac: MacAddress },
): Uint8Array {
  return buildFrame([
    { protocol: "ethernet", header: { source: serverMac, destination: mac, etherType: "ipv4" } },
    {
      protocol: "ipv4",
      header: {
        ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: false, moreFragments: false, fragmentOffset: 0 },
        ...{ timeToLive: 64, protocol: "udp", options: new Uint8Array() },
        ...{ source: nodeAddress, destination: own },
      },
    },
    { protocol: "udp", header: { sourcePort: dnsPort, destinationPort: port } },
    { protocol: "payload", header: message },
  ]);
}
