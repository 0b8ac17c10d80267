import { type Ipv4Address, type Ipv6Address, ip } from "../../base/ip.ts";
import { isLinkLocal } from "../../base/link-local.ts";
import { broadcastMac, type MacAddress, mac } from "../../base/mac.ts";
import { serverWithoutGateway } from "../../model/dhcp.ts";
import {
  buildFrame,
  type Dhcpv4Message,
  type Dhcpv6Message,
  decodeFrame,
  dhcpv4,
  dhcpv4Port,
  dhcpv6,
  dhcpv6Port,
  type LayerDraft,
} from "../../wire/index.ts";
import type { Configuration } from "./configuration.ts";
import { answerDhcpv4, isBroadcast } from "./dhcpv4.ts";
import { answerDhcpv6 } from "./dhcpv6.ts";
import { advertisementOf } from "./router-advertisement.ts";

/** RFC 951 §3: some clients drop less. */
const smallestDhcpv4 = 300;
/** Nothing that asks for configuration is larger. */
const largestFrame = 2_048;
const everybody = ip("255.255.255.255") as Ipv4Address;
const unspecified6 = ip("::") as Ipv6Address;
/** RFC 4291 §2.7.1, and its group MAC: RFC 2464 §7. */
const allNodes = ip("ff02::1") as Ipv6Address;
const allNodesMac = mac("33:33:00:00:00:01");

export interface AnsweredFrame {
  readonly frame?: Uint8Array;
  /** The endpoint says that somebody else has this address of its. */
  readonly declined?: Ipv4Address | Ipv6Address;
}

/** What a frame from the endpoint's port is answered. Never throws: what is not understood is not answered. */
export function answerFrame(bytes: Uint8Array, configuration: Configuration): AnsweredFrame {
  if (bytes.length > largestFrame) return {};
  const [ethernet, network, transport, payload] = decodeFrame(bytes).layers;
  if (ethernet?.protocol !== "ethernet" || ethernet.header.source !== configuration.mac) return {};
  if (network?.protocol === "arp") {
    const { operation, senderMac, senderIp, targetIp } = network.header;
    const isForServer = targetIp === serverWithoutGateway && configuration.ipv4?.server === serverWithoutGateway;
    const isOwn = senderMac === configuration.mac && senderIp === configuration.ipv4?.address;
    return operation === "request" && isForServer && isOwn ? { frame: arpReply(senderIp, configuration) } : {};
  }
  if (network?.protocol === "ipv4" && transport?.protocol === "udp" && payload?.protocol === "payload")
    return answerIpv4(payload.header, configuration);
  if (network?.protocol !== "ipv6") return {};
  const { source } = network.header;
  if (transport?.protocol === "udp" && payload?.protocol === "payload")
    return answerIpv6(payload.header, source, configuration);
  if (transport?.protocol !== "icmpv6" || transport.header.type !== "router-solicitation") return {};
  // RFC 4861 §6.1.1: it comes from the link.
  if (network.header.hopLimit !== 255) return {};
  const frame = advertisementFrame(configuration, source === unspecified6 ? undefined : source);
  return frame === undefined ? {} : { frame };
}

function answerIpv4(octets: Uint8Array, configuration: Configuration): AnsweredFrame {
  const request = dhcpv4.decode(octets);
  if (!request.ok) return {};
  const { reply, declined } = answerDhcpv4(request.value, configuration);
  const own = configuration.ipv4?.address;
  return {
    ...(declined === undefined || own === undefined ? {} : { declined: own }),
    ...(reply === undefined ? {} : { frame: dhcpv4Frame(reply, configuration) }),
  };
}

function answerIpv6(octets: Uint8Array, source: Ipv6Address, configuration: Configuration): AnsweredFrame {
  const request = dhcpv6.decode(octets);
  // RFC 8415 §13.1: from link-local addresses alone.
  if (!request.ok || !isLinkLocal(source)) return {};
  const { reply, declined } = answerDhcpv6(request.value, configuration);
  const own = configuration.ipv6?.address;
  return {
    ...(declined === undefined || own === undefined ? {} : { declined: own }),
    ...(reply === undefined ? {} : { frame: dhcpv6Frame(reply, source, configuration) }),
  };
}

/** To whoever asked, or to all. `former`: what may have been told before. */
export function advertisementFrame(
  configuration: Configuration,
  to?: Ipv6Address,
  message = advertisementOf(configuration),
): Uint8Array | undefined {
  if (message === undefined) return undefined;
  const destination = to ?? allNodes;
  return buildFrame([
    ...ipv6Layers(configuration, destination, to === undefined ? allNodesMac : configuration.mac, "icmpv6", 255),
    { protocol: "icmpv6", header: message },
  ]);
}

function dhcpv4Frame(reply: Dhcpv4Message, { mac: client, serverMac, ipv4 }: Configuration): Uint8Array {
  const toAll = isBroadcast(reply);
  const own = reply.clientAddress === ip("0.0.0.0") ? reply.yourAddress : reply.clientAddress;
  const header = new Uint8Array(Math.max(smallestDhcpv4, dhcpv4.lengthOf(reply)));
  dhcpv4.encode(reply, header);
  return buildFrame([
    {
      protocol: "ethernet",
      header: { source: serverMac, destination: toAll ? broadcastMac : client, etherType: "ipv4" },
    },
    {
      protocol: "ipv4",
      header: {
        ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0 },
        ...{ timeToLive: 64, protocol: "udp", options: new Uint8Array() },
        source: ipv4?.server ?? serverWithoutGateway,
        destination: toAll ? everybody : own,
      },
    },
    ...udpLayers(dhcpv4Port, header),
  ]);
}

function dhcpv6Frame(reply: Dhcpv6Message, to: Ipv6Address, configuration: Configuration): Uint8Array {
  const header = new Uint8Array(dhcpv6.lengthOf(reply));
  dhcpv6.encode(reply, header);
  return buildFrame([...ipv6Layers(configuration, to, configuration.mac, "udp", 64), ...udpLayers(dhcpv6Port, header)]);
}

function ipv6Layers(
  { serverMac, serverLinkLocal }: Configuration,
  destination: Ipv6Address,
  receiver: MacAddress,
  nextHeader: "udp" | "icmpv6",
  hopLimit: number,
): LayerDraft[] {
  return [
    { protocol: "ethernet", header: { source: serverMac, destination: receiver, etherType: "ipv6" } },
    {
      protocol: "ipv6",
      header: { dscp: 0, ecn: 0, flowLabel: 0, nextHeader, hopLimit, source: serverLinkLocal, destination },
    },
  ];
}

function udpLayers(ports: typeof dhcpv4Port | typeof dhcpv6Port, header: Uint8Array): LayerDraft[] {
  return [
    { protocol: "udp", header: { sourcePort: ports.server, destinationPort: ports.client } },
    { protocol: "payload", header },
  ];
}

function arpReply(asker: Ipv4Address, { mac: client, serverMac }: Configuration): Uint8Array {
  return buildFrame([
    { protocol: "ethernet", header: { source: serverMac, destination: client, etherType: "arp" } },
    {
      protocol: "arp",
      header: {
        operation: "reply",
        senderMac: serverMac,
        senderIp: serverWithoutGateway,
        targetMac: client,
        targetIp: asker,
      },
    },
  ]);
}
