import type { Ipv4Address, Ipv6Address } from "../../src/base/ip.ts";
import { ip } from "../../src/base/ip.ts";
import { linkLocalOf } from "../../src/base/link-local.ts";
import { broadcastMac, type MacAddress, mac, zeroMac } from "../../src/base/mac.ts";
import type { DropReason } from "../../src/dataplane/guard/rows.ts";
import { buildFrame, type LayerDraft } from "../../src/wire/index.ts";

/** Who plays: the attacker, a victim on the same node and one on another. */
export interface Player {
  readonly id: string;
  readonly mac: MacAddress;
  readonly ipv4: Ipv4Address;
  readonly ipv6: Ipv6Address;
}

/** What an endpoint may not send. */
export interface Attack {
  readonly name: string;
  /** By which it is counted. */
  readonly reason: DropReason;
  /** A frame to this victim, without what marks it. */
  frame(victim: Player): Uint8Array;
}

const gateway = { ipv4: ip("10.0.0.254") as Ipv4Address, ipv6: ip("fd00::fe") as Ipv6Address };
const allNodes = mac("33:33:00:00:00:01");
const outside = { ipv4: ip("203.0.113.9") as Ipv4Address, ipv6: ip("2001:db8:99::9") as Ipv6Address };
const nobody = mac("02:aa:00:00:00:99");
/** IEEE 802 local experimental EtherType 1. */
const experimental = { unknown: 0x88b5 } as const;

/** Octets before an IPv6 packet's payload length, its Ethernet header among them. */
const payloadLengthAt = 18;

/** The tunnel's own port. */
const tunnelPort = 4789;

/** `other`: whom the attacker pretends to be. */
export function attacksOf(attacker: Player, other: Player): readonly Attack[] {
  const link = (destination: MacAddress, type: "ipv4" | "ipv6" | "arp", source = attacker.mac): LayerDraft => ({
    protocol: "ethernet",
    header: { destination, source, etherType: type },
  });
  const udp4 = (source: Ipv4Address, destination: Ipv4Address, from = 5000, to = 5001, more = {}): LayerDraft[] => [
    ipv4(source, destination, "udp", more),
    { protocol: "udp", header: { sourcePort: from, destinationPort: to } },
  ];
  const udp6 = (source: Ipv6Address, destination: Ipv6Address, from = 5000, to = 5001): LayerDraft[] => [
    ipv6(source, destination, "udp"),
    { protocol: "udp", header: { sourcePort: from, destinationPort: to } },
  ];
  const arp = (
    destination: MacAddress,
    operation: "request" | "reply",
    senderMac: MacAddress,
    senderIp: Ipv4Address,
    targetIp: Ipv4Address,
  ): Uint8Array =>
    buildFrame([
      link(destination, "arp"),
      { protocol: "arp", header: { operation, senderMac, senderIp, targetMac: zeroMac, targetIp } },
    ]);
  const own = linkLocalOf(attacker.mac) as Ipv6Address;
  const advertisement = (target: Ipv6Address, address: MacAddress): LayerDraft => ({
    protocol: "icmpv6",
    header: {
      type: "neighbour-advertisement",
      code: 0,
      router: false,
      solicited: false,
      override: true,
      target,
      options: [{ type: "target-link-layer-address", address }],
    },
  });
  const routerAdvertisement: LayerDraft = {
    protocol: "icmpv6",
    header: {
      type: "router-advertisement",
      code: 0,
      hopLimit: 64,
      managed: false,
      otherConfiguration: false,
      routerLifetime: 1800,
      reachableTime: 0,
      retransmitTimer: 0,
      options: [],
    },
  };
  const toAll = ip("ff02::1") as Ipv6Address;
  const vxlan: LayerDraft[] = [
    { protocol: "vxlan", header: { vni: 4242 } },
    link(broadcastMac, "arp", other.mac),
    {
      protocol: "arp",
      header: {
        operation: "reply",
        senderMac: other.mac,
        senderIp: other.ipv4,
        targetMac: zeroMac,
        targetIp: other.ipv4,
      },
    },
  ];
  return [
    {
      name: "MAC of another endpoint",
      reason: "mac",
      frame: (victim) => bare(victim.mac, other.mac),
    },
    { name: "MAC of nobody", reason: "mac", frame: (victim) => bare(victim.mac, nobody) },
    {
      name: "IPv4 source of another endpoint",
      reason: "ip",
      frame: (victim) => buildFrame([link(victim.mac, "ipv4"), ...udp4(other.ipv4, victim.ipv4)]),
    },
    {
      name: "IPv4 source of the outside",
      reason: "ip",
      frame: (victim) => buildFrame([link(victim.mac, "ipv4"), ...udp4(outside.ipv4, victim.ipv4)]),
    },
    {
      name: "IPv4 source of another, in a later fragment",
      reason: "ip",
      frame: (victim) =>
        buildFrame([link(victim.mac, "ipv4"), ipv4(other.ipv4, victim.ipv4, "udp", { fragmentOffset: 100 })]),
    },
    {
      name: "IPv6 source of another endpoint",
      reason: "ip",
      frame: (victim) => buildFrame([link(victim.mac, "ipv6"), ...udp6(other.ipv6, victim.ipv6)]),
    },
    {
      name: "IPv6 source of the outside",
      reason: "ip",
      frame: (victim) => buildFrame([link(victim.mac, "ipv6"), ...udp6(outside.ipv6, victim.ipv6)]),
    },
    {
      name: "link-local IPv6 source of another",
      reason: "ip",
      frame: (victim) =>
        buildFrame([link(victim.mac, "ipv6"), ...udp6(linkLocalOf(other.mac) as Ipv6Address, victim.ipv6)]),
    },
    {
      name: "ARP reply in another's name",
      reason: "arp",
      frame: (victim) => arp(victim.mac, "reply", attacker.mac, other.ipv4, victim.ipv4),
    },
    {
      name: "gratuitous ARP of the gateway",
      reason: "arp",
      frame: () => arp(broadcastMac, "request", attacker.mac, gateway.ipv4, gateway.ipv4),
    },
    {
      name: "ARP with another's MAC inside",
      reason: "arp",
      frame: (victim) => arp(victim.mac, "reply", other.mac, attacker.ipv4, victim.ipv4),
    },
    {
      name: "ARP probe for another's address",
      reason: "arp",
      frame: () => arp(broadcastMac, "request", attacker.mac, ip("0.0.0.0") as Ipv4Address, other.ipv4),
    },
    {
      name: "neighbour advertisement in another's name",
      reason: "neighbour-discovery",
      frame: (victim) =>
        buildFrame([
          link(victim.mac, "ipv6"),
          ipv6(attacker.ipv6, victim.ipv6, "icmpv6"),
          advertisement(other.ipv6, attacker.mac),
        ]),
    },
    {
      name: "neighbour advertisement of another's MAC",
      reason: "neighbour-discovery",
      frame: (victim) =>
        buildFrame([
          link(victim.mac, "ipv6"),
          ipv6(attacker.ipv6, victim.ipv6, "icmpv6"),
          advertisement(attacker.ipv6, other.mac),
        ]),
    },
    {
      name: "duplicate address detection of another's",
      reason: "neighbour-discovery",
      frame: () =>
        buildFrame([
          link(allNodes, "ipv6"),
          ipv6(ip("::") as Ipv6Address, toAll, "icmpv6"),
          {
            protocol: "icmpv6",
            header: { type: "neighbour-solicitation", code: 0, target: other.ipv6, options: [] },
          },
        ]),
    },
    {
      name: "neighbour advertisement in a fragment",
      reason: "malformed",
      frame: (victim) =>
        buildFrame([
          link(victim.mac, "ipv6"),
          ipv6(attacker.ipv6, victim.ipv6, "ipv6-fragment"),
          fragment("icmpv6"),
          advertisement(other.ipv6, attacker.mac),
        ]),
    },
    {
      name: "neighbour advertisement behind the packet's end",
      reason: "malformed",
      frame: (victim) => {
        const frame = buildFrame([
          link(victim.mac, "ipv6"),
          ipv6(attacker.ipv6, victim.ipv6, "hop-by-hop-options"),
          { protocol: "ipv6-extension", header: { nextHeader: "icmpv6", data: Uint8Array.of(1, 4, 0, 0, 0, 0) } },
          advertisement(attacker.ipv6, other.mac),
        ]);
        // As of a jumbogram, which it is not: Linux reads on to the end of the frame.
        new DataView(frame.buffer).setUint16(payloadLengthAt, 0);
        return frame;
      },
    },
    {
      name: "router advertisement",
      reason: "router-advertisement",
      frame: () => buildFrame([link(allNodes, "ipv6"), ipv6(own, toAll, "icmpv6"), routerAdvertisement]),
    },
    {
      name: "router advertisement behind destination options",
      reason: "router-advertisement",
      frame: () =>
        buildFrame([
          link(allNodes, "ipv6"),
          ipv6(own, toAll, "destination-options"),
          {
            protocol: "ipv6-extension",
            header: { nextHeader: "icmpv6", data: Uint8Array.of(1, 4, 0, 0, 0, 0) },
          },
          routerAdvertisement,
        ]),
    },
    {
      name: "router advertisement in a fragment",
      reason: "router-advertisement",
      frame: () =>
        buildFrame([
          link(allNodes, "ipv6"),
          ipv6(own, toAll, "ipv6-fragment"),
          fragment("icmpv6"),
          routerAdvertisement,
        ]),
    },
    {
      name: "header chain that ends in another fragment",
      reason: "malformed",
      frame: () =>
        buildFrame([
          link(allNodes, "ipv6"),
          ipv6(own, toAll, "ipv6-fragment"),
          fragment("destination-options"),
          { protocol: "payload", header: Uint8Array.of(58) },
        ]),
    },
    {
      name: "ICMP redirect",
      reason: "redirect",
      frame: (victim) =>
        buildFrame([
          link(victim.mac, "ipv4"),
          ipv4(attacker.ipv4, victim.ipv4, "icmpv4"),
          { protocol: "payload", header: Uint8Array.of(5, 1, 0, 0, 10, 0, 0, 1) },
        ]),
    },
    {
      name: "ICMPv6 redirect",
      reason: "redirect",
      frame: (victim) =>
        buildFrame([
          link(victim.mac, "ipv6"),
          ipv6(own, victim.ipv6, "icmpv6"),
          { protocol: "payload", header: Uint8Array.of(137, 0, 0, 0, 0, 0, 0, 0) },
        ]),
    },
    {
      name: "DHCP server",
      reason: "dhcp-server",
      frame: (victim) => buildFrame([link(victim.mac, "ipv4"), ...udp4(attacker.ipv4, victim.ipv4, 67, 68)]),
    },
    {
      name: "DHCPv6 server",
      reason: "dhcp-server",
      frame: (victim) => buildFrame([link(victim.mac, "ipv6"), ...udp6(own, victim.ipv6, 547, 546)]),
    },
    {
      name: "frame with a VLAN tag",
      reason: "vlan-tag",
      frame: (victim) => tagged(victim.mac, attacker, 7, victim),
    },
    {
      name: "ARP in another's name in a priority tag",
      // Where tags may pass at all, it is judged as what is in it.
      reason: "vlan-tag",
      frame: (victim) => tagged(victim.mac, attacker, 0, { ...victim, ipv4: other.ipv4 }),
    },
    {
      name: "VXLAN to a tunnel's port",
      reason: "tunnel",
      frame: (victim) =>
        buildFrame([link(victim.mac, "ipv4"), ...udp4(attacker.ipv4, victim.ipv4, 5000, tunnelPort), ...vxlan]),
    },
    {
      name: "VXLAN over IPv6 to a tunnel's port",
      reason: "tunnel",
      frame: (victim) =>
        buildFrame([link(victim.mac, "ipv6"), ...udp6(attacker.ipv6, victim.ipv6, 5000, tunnelPort), ...vxlan]),
    },
    {
      name: "VXLAN in fragments to a tunnel's port",
      reason: "tunnel",
      frame: (victim) =>
        buildFrame([
          link(victim.mac, "ipv4"),
          ...udp4(attacker.ipv4, victim.ipv4, 5000, tunnelPort, { moreFragments: true }),
        ]),
    },
  ];
}

/** What an endpoint may not send more of than its network's limit. */
export function floodsOf(attacker: Player): readonly Attack[] {
  return [
    { name: "broadcast storm", reason: "storm", frame: () => bare(broadcastMac, attacker.mac) },
    { name: "multicast storm", reason: "storm", frame: () => bare(allNodes, attacker.mac) },
    { name: "flood of frames to nobody", reason: "unknown-unicast", frame: () => bare(nobody, attacker.mac) },
  ];
}

/** A frame that says nothing but from whom it is. */
export function bare(destination: MacAddress, source: MacAddress): Uint8Array {
  const header = { destination, source, etherType: experimental };
  return buildFrame([
    { protocol: "ethernet", header },
    { protocol: "payload", header: new Uint8Array(46) },
  ]);
}

function tagged(destination: MacAddress, from: Player, vlanId: number, claimed: Player): Uint8Array {
  return buildFrame([
    { protocol: "ethernet", header: { destination, source: from.mac, etherType: "vlan" } },
    { protocol: "vlan", header: { priority: 0, dropEligible: false, vlanId, etherType: "arp" } },
    {
      protocol: "arp",
      header: {
        operation: "reply",
        senderMac: from.mac,
        senderIp: claimed.ipv4,
        targetMac: zeroMac,
        targetIp: claimed.ipv4,
      },
    },
  ]);
}

export function ipv4(
  source: Ipv4Address,
  destination: Ipv4Address,
  protocol: "tcp" | "udp" | "icmpv4",
  more: { readonly fragmentOffset?: number; readonly moreFragments?: boolean } = {},
): LayerDraft {
  return {
    protocol: "ipv4",
    header: {
      dscp: 0,
      ecn: 0,
      identification: 7,
      dontFragment: false,
      moreFragments: false,
      fragmentOffset: 0,
      timeToLive: 64,
      protocol,
      source,
      destination,
      options: new Uint8Array(),
      ...more,
    },
  };
}

export function ipv6(
  source: Ipv6Address,
  destination: Ipv6Address,
  nextHeader: "tcp" | "udp" | "icmpv6" | "ipv6-fragment" | "hop-by-hop-options" | "destination-options",
): LayerDraft {
  return {
    protocol: "ipv6",
    header: { dscp: 0, ecn: 0, flowLabel: 0, nextHeader, hopLimit: 255, source, destination },
  };
}

function fragment(nextHeader: "icmpv6" | "destination-options"): LayerDraft {
  return {
    protocol: "ipv6-fragment",
    header: { nextHeader, fragmentOffset: 0, moreFragments: true, identification: 7 },
  };
}
