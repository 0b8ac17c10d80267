import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type Ipv4Address, type Ipv6Address, ip } from "../../base/ip.ts";
import { broadcastMac, mac } from "../../base/mac.ts";
import {
  buildFrame,
  decodeFrame,
  describeFrame,
  dhcpv4,
  dhcpv6,
  type LayerDraft,
  verifyChecksums,
} from "../../wire/index.ts";
import { exampleConfiguration, exampleEndpoint, serverLinkLocal } from "./example.test.ts";
import { answerFrame } from "./frames.ts";

const configuration = exampleConfiguration();
const withoutGateway = exampleConfiguration({}, { ...exampleEndpoint, gateways: [] });
const own = configuration.mac;
const linkLocal = ip("fe80::aa:ff:fe00:1") as Ipv6Address;
const v4 = (text: string): Ipv4Address => ip(text) as Ipv4Address;

const link = (etherType: "ipv4" | "ipv6" | "arp", source = own): LayerDraft => ({
  protocol: "ethernet",
  header: { source, destination: broadcastMac, etherType },
});

function discover(source = own): Uint8Array {
  const header = new Uint8Array(300);
  const none = v4("0.0.0.0");
  dhcpv4.encode(
    {
      ...{ operation: "request", hops: 0, transaction: 7, seconds: 0, broadcast: false },
      ...{ clientAddress: none, yourAddress: none, nextServer: none, relayAgent: none, clientMac: own },
      ...{ serverName: "", bootFile: "", options: [{ type: "message-type", messageType: "discover" }] },
    },
    header,
  );
  return buildFrame([
    link("ipv4", source),
    {
      protocol: "ipv4",
      header: {
        ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: false, moreFragments: false, fragmentOffset: 0 },
        ...{ timeToLive: 64, protocol: "udp", source: none, destination: v4("255.255.255.255") },
        options: new Uint8Array(),
      },
    },
    { protocol: "udp", header: { sourcePort: 68, destinationPort: 67 } },
    { protocol: "payload", header },
  ]);
}

function over6(source: Ipv6Address, hopLimit: number, inner: readonly LayerDraft[]): Uint8Array {
  const nextHeader = inner[0]?.protocol === "udp" ? "udp" : "icmpv6";
  const destination = ip("ff02::2") as Ipv6Address;
  return buildFrame([
    link("ipv6"),
    { protocol: "ipv6", header: { dscp: 0, ecn: 0, flowLabel: 0, nextHeader, hopLimit, source, destination } },
    ...inner,
  ]);
}

function solicitation(source = linkLocal, hopLimit = 255): Uint8Array {
  return over6(source, hopLimit, [
    { protocol: "icmpv6", header: { type: "router-solicitation", code: 0, options: [] } },
  ]);
}

function informationRequest(source: Ipv6Address): Uint8Array {
  const header = new Uint8Array(4);
  dhcpv6.encode({ type: "information-request", transaction: 7, options: [] }, header);
  return over6(source, 1, [
    { protocol: "udp", header: { sourcePort: 546, destinationPort: 547 } },
    { protocol: "payload", header },
  ]);
}

function arp(targetIp: string, senderIp = "10.0.0.2"): Uint8Array {
  return buildFrame([
    link("arp"),
    {
      protocol: "arp",
      header: {
        ...{ operation: "request", senderMac: own, senderIp: v4(senderIp) },
        ...{ targetMac: mac("00:00:00:00:00:00"), targetIp: v4(targetIp) },
      },
    },
  ]);
}

/** Who sends the answer to whom, and that its checksums are right. */
function ends(frame: Uint8Array, of = configuration): string {
  const answer = answerFrame(frame, of).frame;
  if (answer === undefined) return "nothing";
  const { layers, error } = decodeFrame(answer);
  assert.equal(error, undefined);
  assert.deepEqual(
    verifyChecksums(answer, layers).filter(({ status }) => status !== "correct"),
    [],
  );
  const [ethernet, network] = layers;
  if (ethernet?.protocol !== "ethernet") return "no frame";
  const packet = network?.protocol === "ipv4" || network?.protocol === "ipv6" ? network.header : undefined;
  return [
    `${ethernet.header.source} > ${ethernet.header.destination}`,
    packet && `${packet.source} > ${packet.destination}`,
  ]
    .filter((each) => each !== undefined)
    .join(", ");
}

const between = `02:57:00:00:00:64 > ${own}`;

describe("an answer", () => {
  it("is sent by the server to the endpoint alone", () => {
    assert.equal(ends(discover()), `${between}, 10.0.0.1 > 10.0.0.2`);
    assert.equal(ends(informationRequest(linkLocal)), `${between}, ${serverLinkLocal} > ${linkLocal}`);
    assert.equal(ends(solicitation()), `${between}, ${serverLinkLocal} > ${linkLocal}`);
  });

  it("to whoever has no address yet goes to all nodes", () =>
    assert.equal(
      ends(solicitation(ip("::") as Ipv6Address)),
      `02:57:00:00:00:64 > 33:33:00:00:00:01, ${serverLinkLocal} > ff02::1`,
    ));

  it("says where the server is that has nobody's address, and nothing of others", () => {
    const { frame } = answerFrame(arp("169.254.0.1"), withoutGateway);
    assert.ok(frame);
    assert.match(describeFrame(decodeFrame(frame)), /169\.254\.0\.1 is-at 02:57:00:00:00:64/);
    assert.equal(ends(arp("169.254.0.1")), "nothing");
    assert.equal(ends(arp("10.0.0.9"), withoutGateway), "nothing");
    assert.equal(ends(arp("169.254.0.1", "10.0.0.9"), withoutGateway), "nothing");
  });

  it("comes to no other MAC address, and to nothing that came through a router or by no link-local address", () => {
    assert.equal(ends(discover(mac("02:aa:00:00:00:02"))), "nothing");
    assert.equal(ends(solicitation(linkLocal, 64)), "nothing");
    assert.equal(ends(informationRequest(ip("fd00::2") as Ipv6Address)), "nothing");
  });

  it("or none follows from whatever a guest sends; nothing is thrown", () => {
    const frames = [discover(), solicitation(), informationRequest(linkLocal), arp("169.254.0.1")];
    const altered = fc
      .tuple(fc.constantFrom(...frames), fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 20 }), fc.nat(400))
      .map(([frame, changes, length]) => {
        const bytes = frame.slice();
        // The MAC addresses stay, or all else is for nothing.
        for (const [position, octet] of changes) bytes[Math.max(12, position % bytes.length)] = octet;
        return length % 3 === 0 ? bytes.subarray(0, length) : bytes;
      });
    fc.assert(
      fc.property(altered, (bytes) => {
        answerFrame(bytes, withoutGateway);
      }),
      { numRuns: 2_000 },
    );
    assert.deepEqual(answerFrame(new Uint8Array(65_000), configuration), {});
  });

  it("to options that nobody would think of is none, or one", () => {
    const start = discover().subarray(0, 14 + 20 + 8 + 240);
    const type = fc.integer({ min: 1, max: 8 });
    const v4Options = fc.tuple(type, fc.uint8Array({ maxLength: 200 })).map(([message, more]) => {
      const bytes = Uint8Array.of(...start, 53, 1, message, ...more);
      const view = new DataView(bytes.buffer);
      view.setUint16(16, bytes.length - 14);
      view.setUint16(38, bytes.length - 34);
      return bytes;
    });
    const option = fc.tuple(fc.constantFrom(1, 2, 3, 6, 8, 13, 14, 23, 25, 39), fc.uint8Array({ maxLength: 60 }));
    const v6Options = fc
      .tuple(fc.integer({ min: 1, max: 13 }), fc.array(option, { maxLength: 6 }))
      .map(([message, all]) => {
        const options = all.flatMap(([code, data]) => [0, code, 0, data.length, ...data]);
        return over6(linkLocal, 1, [
          { protocol: "udp", header: { sourcePort: 546, destinationPort: 547 } },
          { protocol: "payload", header: Uint8Array.of(message, 0, 0, 7, 0, 1, 0, 2, 9, 9, ...options) },
        ]);
      });
    let answered = 0;
    fc.assert(
      fc.property(fc.oneof(v4Options, v6Options), (bytes) => {
        if (answerFrame(bytes, configuration).frame !== undefined) answered++;
      }),
      { numRuns: 3_000 },
    );
    assert.ok(answered > 100, `${answered} of 3000`);
  });
});
