import assert from "node:assert/strict";
import { it } from "node:test";
import { type Ipv4Address, type Ipv6Address, ip } from "../../base/ip.ts";
import { broadcastMac, type MacAddress, mac, macToBytes, zeroMac } from "../../base/mac.ts";
import { buildFrame } from "../../wire/index.ts";
import { isAnnouncement } from "./announcement.ts";

const machine = mac("02:00:00:00:00:01");
const other = mac("02:00:00:00:00:02");

function arp(source: MacAddress, senderIp: string, targetIp: string) {
  return buildFrame([
    { protocol: "ethernet", header: { destination: broadcastMac, source, etherType: "arp" } },
    {
      protocol: "arp",
      header: {
        operation: "request",
        senderMac: source,
        senderIp: ip(senderIp) as Ipv4Address,
        targetMac: zeroMac,
        targetIp: ip(targetIp) as Ipv4Address,
      },
    },
  ]);
}

function neighbour(type: "neighbour-solicitation" | "neighbour-advertisement", source: string) {
  const target = ip("fd00::1") as Ipv6Address;
  const message =
    type === "neighbour-solicitation"
      ? ({ type, code: 0, target, options: [] } as const)
      : ({ type, code: 0, router: false, solicited: false, override: true, target, options: [] } as const);
  return buildFrame([
    { protocol: "ethernet", header: { destination: mac("33:33:00:00:00:01"), source: machine, etherType: "ipv6" } },
    {
      protocol: "ipv6",
      header: {
        dscp: 0,
        ecn: 0,
        flowLabel: 0,
        nextHeader: "icmpv6",
        hopLimit: 255,
        source: ip(source) as Ipv6Address,
        destination: ip("ff02::1") as Ipv6Address,
      },
    },
    { protocol: "icmpv6", header: message },
  ]);
}

/** RFC 903, as QEMU sends it: from the machine's MAC, with nothing but it in the packet. */
function reverseArp(of: MacAddress): Uint8Array {
  const own = macToBytes(of);
  const nobody = [0, 0, 0, 0];
  const head = [...macToBytes(broadcastMac), ...own, 0x80, 0x35];
  return Uint8Array.from([
    ...head,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    3,
    ...own,
    ...nobody,
    ...own,
    ...nobody,
    ...new Array(18).fill(0),
  ]);
}

for (const [what, frame, expected] of [
  ["reverse ARP, which QEMU sends in its stead", reverseArp(machine), true],
  ["gratuitous ARP", arp(machine, "10.0.0.1", "10.0.0.1"), true],
  ["a question for a neighbour", arp(machine, "10.0.0.1", "10.0.0.2"), true],
  ["an unsolicited neighbour advertisement", neighbour("neighbour-advertisement", "fd00::1"), true],
  ["a neighbour solicitation in its own name", neighbour("neighbour-solicitation", "fd00::1"), true],
  ["trying out an IPv4 address", arp(machine, "0.0.0.0", "10.0.0.1"), false],
  ["trying out an IPv6 address", neighbour("neighbour-solicitation", "::"), false],
  ["somebody else's reverse ARP", reverseArp(other), false],
  ["somebody else's ARP", arp(other, "10.0.0.1", "10.0.0.1"), false],
  ["no frame", new Uint8Array(3), false],
] as const)
  it(`${what} ${expected ? "shows" : "does not show"} that the machine runs here`, () =>
    assert.equal(isAnnouncement(frame, machine), expected));
