import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { type Ipv4Address, type Ipv6Address, ip } from "../../base/ip.ts";
import { broadcastMac, type MacAddress, mac, zeroMac } from "../../base/mac.ts";
import { buildFrame, type NeighbourOption } from "../../wire/index.ts";
import { readSighting } from "./sighting.ts";

const sender = mac("02:00:00:00:00:01");
const other = mac("02:00:00:00:00:02");
const ip4 = (text: string): Ipv4Address => ip(text) as Ipv4Address;
const ip6 = (text: string): Ipv6Address => ip(text) as Ipv6Address;

function arp(fields: {
  readonly operation?: "request" | "reply";
  readonly senderMac?: MacAddress;
  readonly senderIp?: string;
  readonly source?: MacAddress;
}) {
  const { operation = "request", senderMac = sender, senderIp = "10.0.0.1", source = sender } = fields;
  return buildFrame([
    { protocol: "ethernet", header: { destination: broadcastMac, source, etherType: "arp" } },
    {
      protocol: "arp",
      header: { operation, senderMac, senderIp: ip4(senderIp), targetMac: zeroMac, targetIp: ip4("10.0.0.2") },
    },
  ]);
}

function neighbour(fields: {
  readonly type: "neighbour-solicitation" | "neighbour-advertisement" | "echo-request";
  readonly source?: string;
  readonly target?: string;
  readonly hopLimit?: number;
  readonly options?: readonly NeighbourOption[];
}) {
  const { type, source = "fd00::1", target = "fd00::9", hopLimit = 255, options = [] } = fields;
  const message =
    type === "echo-request"
      ? ({ type, code: 0, identifier: 1, sequence: 1 } as const)
      : type === "neighbour-solicitation"
        ? ({ type, code: 0, target: ip6(target), options } as const)
        : ({ type, code: 0, router: false, solicited: true, override: true, target: ip6(target), options } as const);
  return buildFrame([
    { protocol: "ethernet", header: { destination: mac("33:33:ff:00:00:09"), source: sender, etherType: "ipv6" } },
    {
      protocol: "ipv6",
      header: {
        dscp: 0,
        ecn: 0,
        flowLabel: 0,
        nextHeader: "icmpv6",
        hopLimit,
        source: ip6(source),
        destination: ip6("ff02::1:ff00:9"),
      },
    },
    { protocol: "icmpv6", header: message },
  ]);
}

const cases: readonly (readonly [what: string, frame: Uint8Array, address: string | undefined])[] = [
  ["an ARP request", arp({}), "10.0.0.1"],
  ["an ARP reply", arp({ operation: "reply" }), "10.0.0.1"],
  ["an announcement", arp({ senderIp: "10.0.0.2" }), "10.0.0.2"],
  ["an ARP probe, of an address that is not its own yet", arp({ senderIp: "0.0.0.0" }), undefined],
  ["an ARP request on another's behalf", arp({ senderMac: other }), undefined],
  ["an ARP request from a group", arp({ source: broadcastMac, senderMac: broadcastMac }), undefined],
  ["a solicitation", neighbour({ type: "neighbour-solicitation" }), "fd00::1"],
  [
    "a solicitation with its source's MAC",
    neighbour({ type: "neighbour-solicitation", options: [{ type: "source-link-layer-address", address: sender }] }),
    "fd00::1",
  ],
  [
    "a solicitation with another's MAC",
    neighbour({ type: "neighbour-solicitation", options: [{ type: "source-link-layer-address", address: other }] }),
    undefined,
  ],
  ["duplicate address detection", neighbour({ type: "neighbour-solicitation", source: "::" }), undefined],
  ["an advertisement", neighbour({ type: "neighbour-advertisement" }), "fd00::9"],
  [
    "an advertisement with another's MAC: a proxy's",
    neighbour({ type: "neighbour-advertisement", options: [{ type: "target-link-layer-address", address: other }] }),
    undefined,
  ],
  [
    "an advertisement that a router passed on",
    neighbour({ type: "neighbour-advertisement", hopLimit: 254 }),
    undefined,
  ],
  ["another ICMPv6 message", neighbour({ type: "echo-request" }), undefined],
  ["a cut frame", arp({}).subarray(0, 30), undefined],
  ["nothing", new Uint8Array(0), undefined],
];

for (const [what, frame, address] of cases)
  it(`reads ${what}: ${address ?? "nothing"}`, () => {
    assert.deepEqual(readSighting(frame), address === undefined ? undefined : { mac: sender, ip: address });
  });

it("reads any octets without failing", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => readSighting(octets) === undefined || true));
  const frame = neighbour({ type: "neighbour-advertisement" });
  for (let length = 0; length < frame.length; length++)
    assert.equal(readSighting(frame.subarray(0, length)), undefined);
});
