import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { toHex } from "../base/bytes.ts";
import { type Ipv4Address, type Ipv6Address, ip } from "../base/ip.ts";
import { broadcastMac, mac, zeroMac } from "../base/mac.ts";
import { buildFrame, type LayerDraft } from "./build-frame.ts";
import { onesComplementSum } from "./checksum.ts";
import { annotated } from "./codec-suite.test.ts";
import { decodeFrame, maximumLayers } from "./decode-frame.ts";
import { describeFrame } from "./describe-frame.ts";
import { verifyChecksums } from "./frame-checksums.ts";
import { encodeFrame } from "./layers.ts";
import { nvgreHeader } from "./nvgre.ts";

const v4 = (text: string) => ip(text) as Ipv4Address;
const v6 = (text: string) => ip(text) as Ipv6Address;

type DraftOf<Protocol extends LayerDraft["protocol"]> = Extract<LayerDraft, { protocol: Protocol }>;

function ethernet(etherType: DraftOf<"ethernet">["header"]["etherType"]): LayerDraft {
  const source = mac("02:00:00:00:00:01");
  return { protocol: "ethernet", header: { destination: mac("02:00:00:00:00:02"), source, etherType } };
}

function ipv4(
  protocol: DraftOf<"ipv4">["header"]["protocol"],
  more: Partial<DraftOf<"ipv4">["header"]> = {},
): LayerDraft {
  return {
    protocol: "ipv4",
    header: {
      ...{ dscp: 0, ecn: 0, identification: 1, dontFragment: true, moreFragments: false, fragmentOffset: 0 },
      ...{ timeToLive: 64, protocol, source: v4("192.0.2.1"), destination: v4("192.0.2.2") },
      options: new Uint8Array(),
      ...more,
    },
  };
}

function ipv6(nextHeader: DraftOf<"ipv6">["header"]["nextHeader"]): LayerDraft {
  const addresses = { source: v6("2001:db8::1"), destination: v6("2001:db8::2") };
  return { protocol: "ipv6", header: { dscp: 0, ecn: 0, flowLabel: 0, nextHeader, hopLimit: 64, ...addresses } };
}

const udp = (destinationPort: number): LayerDraft => ({
  protocol: "udp",
  header: { sourcePort: 51234, destinationPort },
});
const vxlan = (vni: number): LayerDraft => ({ protocol: "vxlan", header: { vni } });
const gre = (header: DraftOf<"gre">["header"]): LayerDraft => ({ protocol: "gre", header });
const geneve = (header: Partial<DraftOf<"geneve">["header"]>): LayerDraft => ({
  protocol: "geneve",
  header: {
    ...{ control: false, criticalOptions: false, protocolType: "transparent-ethernet-bridging", vni: 100 },
    options: [],
    ...header,
  },
});
/** Destination options as Linux sends them ahead of what a tunnel over IPv6 carries. */
const encapsulationLimit = (limit: number, nextHeader: DraftOf<"ipv6">["header"]["nextHeader"]): LayerDraft => ({
  protocol: "ipv6-extension",
  header: { nextHeader, data: Uint8Array.of(4, 1, limit, 1, 1, 0) },
});
const payload = (text: string): LayerDraft => ({ protocol: "payload", header: annotated(text) });
const arp: LayerDraft = {
  protocol: "arp",
  header: {
    operation: "request",
    senderMac: mac("02:00:00:00:00:01"),
    senderIp: v4("10.0.0.1"),
    targetMac: zeroMac,
    targetIp: v4("10.0.0.2"),
  },
};
const echo: LayerDraft = {
  protocol: "icmpv4",
  header: { type: "echo-request", code: 0, identifier: 1, sequence: 2 },
};

const cases: readonly { readonly name: string; readonly drafts: readonly LayerDraft[]; readonly line: string }[] = [
  { name: "ARP", drafts: [ethernet("arp"), arp], line: "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28" },
  {
    name: "padding of a short frame",
    drafts: [ethernet("arp"), arp, { protocol: "trailer", header: new Uint8Array(18) }],
    line: "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28",
  },
  {
    name: "VXLAN over IPv4",
    drafts: [
      ethernet("ipv4"),
      ipv4("udp"),
      udp(4789),
      vxlan(100),
      ethernet("ipv4"),
      ipv4("icmpv4"),
      echo,
      payload("61 62 63"),
    ],
    line: "IP 192.0.2.1.51234 > 192.0.2.2.4789: VXLAN, vni 100: IP 192.0.2.1 > 192.0.2.2: ICMP echo request, id 1, seq 2, length 11",
  },
  {
    name: "VXLAN over IPv6 behind two VLAN tags, TCP inside",
    drafts: [
      ethernet("provider-vlan"),
      { protocol: "vlan", header: { priority: 0, dropEligible: false, vlanId: 100, etherType: "vlan" } },
      { protocol: "vlan", header: { priority: 3, dropEligible: false, vlanId: 200, etherType: "ipv6" } },
      ipv6("udp"),
      udp(4789),
      vxlan(200),
      ethernet("ipv6"),
      ipv6("tcp"),
      {
        protocol: "tcp",
        header: {
          ...{ sourcePort: 1, destinationPort: 2, sequence: 3, acknowledgment: 4, window: 5, urgentPointer: 0 },
          ...{ cwr: false, ece: true, urg: false, ack: true, psh: false, rst: true, syn: false, fin: false },
          options: [],
        },
      },
    ],
    line: "vlan 100, p 0, vlan 200, p 3, IP6 2001:db8::1.51234 > 2001:db8::2.4789: VXLAN, vni 200: IP6 2001:db8::1.1 > 2001:db8::2.2: Flags [R.E], seq 3, ack 4, win 5, length 0",
  },
  {
    name: "IPv6 extension headers",
    drafts: [
      ethernet("ipv6"),
      ipv6("hop-by-hop-options"),
      { protocol: "ipv6-extension", header: { nextHeader: "destination-options", data: new Uint8Array(6) } },
      { protocol: "ipv6-extension", header: { nextHeader: "udp", data: new Uint8Array(14) } },
      udp(53),
      payload("01 02"),
    ],
    line: "IP6 2001:db8::1.51234 > 2001:db8::2.53: UDP, length 2",
  },
  {
    name: "IPv4 in IPv6 in IPv4",
    drafts: [ethernet("ipv4"), ipv4("ipv6"), ipv6("ipv4"), ipv4("udp"), udp(9)],
    line: "IP 192.0.2.1 > 192.0.2.2: IP6 2001:db8::1 > 2001:db8::2: IP 192.0.2.1.51234 > 192.0.2.2.9: UDP, length 0",
  },
  {
    name: "a later fragment",
    drafts: [ethernet("ipv4"), ipv4("udp", { fragmentOffset: 185 }), payload("01 02 03")],
    line: "IP 192.0.2.1 > 192.0.2.2: frag 1480, udp, length 3",
  },
  {
    name: "a later fragment over IPv6",
    drafts: [
      ethernet("ipv6"),
      ipv6("ipv6-fragment"),
      {
        protocol: "ipv6-fragment",
        header: { nextHeader: "udp", fragmentOffset: 181, moreFragments: true, identification: 7 },
      },
      payload("01 02 03 04 05 06 07 08"),
    ],
    line: "IP6 2001:db8::1 > 2001:db8::2: frag 1448+, udp, length 8",
  },
  {
    name: "a protocol without a codec",
    drafts: [ethernet("ipv4"), ipv4({ unknown: 132 }), payload("01 02 03")],
    line: "IP 192.0.2.1 > 192.0.2.2: 132, length 3",
  },
  {
    name: "GRE without key, IPv4 inside",
    drafts: [ethernet("ipv4"), ipv4("gre"), gre({ protocolType: "ipv4" }), ipv4("icmpv4"), echo],
    line: "IP 192.0.2.1 > 192.0.2.2: GRE: IP 192.0.2.1 > 192.0.2.2: ICMP echo request, id 1, seq 2, length 8",
  },
  {
    name: "GRE with key and sequence number over IPv6, behind an encapsulation limit, IPv6 inside",
    drafts: [
      ethernet("ipv6"),
      ipv6("destination-options"),
      encapsulationLimit(4, "gre"),
      gre({ protocolType: "ipv6", key: 0xbeef, sequence: 9 }),
      ipv6("udp"),
      udp(9),
    ],
    line: "IP6 2001:db8::1 > 2001:db8::2: encaplimit 4, GRE, key 0xbeef, seq 9: IP6 2001:db8::1.51234 > 2001:db8::2.9: UDP, length 0",
  },
  {
    name: "NVGRE, or GRE for Ethernet with a key: a padded ARP request inside",
    drafts: [
      ethernet("ipv4"),
      ipv4("gre"),
      gre(nvgreHeader({ vsid: 0x123456, flowId: 0x78 })),
      ethernet("arp"),
      arp,
      { protocol: "trailer", header: new Uint8Array(18) },
    ],
    line: "IP 192.0.2.1 > 192.0.2.2: GRE, key 0x12345678: ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28",
  },
  {
    name: "GRE around a protocol that is not read",
    drafts: [ethernet("ipv4"), ipv4("gre"), gre({ protocolType: { unknown: 0x88be } }), payload("01 02 03")],
    line: "IP 192.0.2.1 > 192.0.2.2: GRE, ethertype 0x88be, length 3",
  },
  {
    name: "IP in IP",
    drafts: [ethernet("ipv4"), ipv4("ipv4"), ipv4("udp"), udp(9), payload("01")],
    line: "IP 192.0.2.1 > 192.0.2.2: IP 192.0.2.1.51234 > 192.0.2.2.9: UDP, length 1",
  },
  {
    name: "6in4",
    drafts: [ethernet("ipv4"), ipv4("ipv6"), ipv6("udp"), udp(9)],
    line: "IP 192.0.2.1 > 192.0.2.2: IP6 2001:db8::1.51234 > 2001:db8::2.9: UDP, length 0",
  },
  {
    name: "4in6",
    drafts: [ethernet("ipv6"), ipv6("ipv4"), ipv4("udp"), udp(9)],
    line: "IP6 2001:db8::1 > 2001:db8::2: IP 192.0.2.1.51234 > 192.0.2.2.9: UDP, length 0",
  },
  {
    name: "6in6 behind an encapsulation limit",
    drafts: [ethernet("ipv6"), ipv6("destination-options"), encapsulationLimit(0, "ipv6"), ipv6("udp"), udp(9)],
    line: "IP6 2001:db8::1 > 2001:db8::2: encaplimit 0, IP6 2001:db8::1.51234 > 2001:db8::2.9: UDP, length 0",
  },
  {
    name: "Geneve over IPv4, an Ethernet frame inside",
    drafts: [ethernet("ipv4"), ipv4("udp"), udp(6081), geneve({}), ethernet("arp"), arp],
    line: "IP 192.0.2.1.51234 > 192.0.2.2.6081: Geneve, vni 100: ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28",
  },
  {
    name: "Geneve over IPv6 with options, an IP packet inside",
    drafts: [
      ethernet("ipv6"),
      ipv6("udp"),
      udp(6081),
      geneve({
        control: true,
        criticalOptions: true,
        protocolType: "ipv4",
        options: [
          { optionClass: "ovn", type: 0x80, data: Uint8Array.of(0, 1, 0, 2) },
          { optionClass: { unknown: 0xff }, type: 1, data: new Uint8Array() },
        ],
      }),
      ipv4("icmpv4"),
      echo,
    ],
    line: "IP6 2001:db8::1.51234 > 2001:db8::2.6081: Geneve, Flags [OC], vni 100, options [ovn 0x80 critical 4 octets, 0x00ff 0x01 0 octets]: IP 192.0.2.1 > 192.0.2.2: ICMP echo request, id 1, seq 2, length 8",
  },
  {
    name: "an Ethernet frame straight in an Ethernet frame is no tunnel",
    drafts: [ethernet("transparent-ethernet-bridging"), payload("01 02")],
    line: "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype TRANSPARENT-ETHERNET-BRIDGING, length 2",
  },
  {
    name: "an EtherType without a name",
    drafts: [ethernet({ unknown: 0x9000 }), payload("01 02")],
    line: "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 0x9000, length 2",
  },
];

describe("frames", () => {
  for (const { name, drafts, line } of cases) {
    const frame = buildFrame(drafts);

    test(`${name}: read as it was built, and written as it was read`, () => {
      const { layers, error } = decodeFrame(frame);
      assert.equal(error, undefined);
      assert.deepEqual(
        layers.map(({ protocol }) => protocol),
        drafts.map(({ protocol }) => protocol),
      );
      for (const [index, { header }] of drafts.entries()) assert.partialDeepStrictEqual(layers[index]?.header, header);
      assert.equal(toHex(encodeFrame(layers)), toHex(frame));
      for (const { layer, status } of verifyChecksums(frame, layers)) {
        const tunnel = layer.protocol === "udp" && layer.header.destinationPort === 4789;
        assert.equal(status, tunnel ? "absent" : "correct");
      }
    });

    test(`${name}: one line`, () => assert.equal(describeFrame(decodeFrame(frame)), line));

    test(`${name}: cut short`, () => {
      const whole = decodeFrame(frame).layers;
      for (let length = 0; length < frame.length; length++) {
        const { layers, error } = decodeFrame(frame.subarray(0, length));
        const trailer = whole.at(-1)?.protocol === "trailer" ? (whole.at(-1)?.offset ?? 0) : frame.length;
        // Unknown data has no length of its own to miss.
        const unbounded = whole.length === 2 && whole[1]?.protocol === "payload" && length >= 14;
        assert.equal(error === undefined, length >= trailer || unbounded, `${length} of ${frame.length}`);
        for (const [index, layer] of layers.entries())
          if (layer.protocol !== "payload" && layer.protocol !== "trailer") assert.deepEqual(layer, whole[index]);
      }
    });
  }

  test("VXLAN is known by its ports", () => {
    const frame = buildFrame([ethernet("ipv4"), ipv4("udp"), udp(8472), vxlan(5), ethernet("arp"), arp]);
    assert.equal(decodeFrame(frame).layers.at(-1)?.protocol, "payload");
    assert.equal(decodeFrame(frame, { vxlanPorts: new Set([4789, 8472]) }).layers.at(-1)?.protocol, "arp");
  });

  test("Geneve is known by its ports", () => {
    const frame = buildFrame([ethernet("ipv4"), ipv4("udp"), udp(7000), geneve({}), ethernet("arp"), arp]);
    assert.equal(decodeFrame(frame).layers.at(-1)?.protocol, "payload");
    assert.equal(decodeFrame(frame, { genevePorts: new Set([7000]) }).layers.at(-1)?.protocol, "arp");
    const both = { genevePorts: new Set([6081]), vxlanPorts: new Set([6081]) };
    const vxlanFrame = buildFrame([ethernet("ipv4"), ipv4("udp"), udp(6081), vxlan(5), ethernet("arp"), arp]);
    assert.equal(decodeFrame(vxlanFrame, both).layers[3]?.protocol, "vxlan");
  });

  test("a GRE checksum is computed when one is asked for, over header and payload", () => {
    const inner = [ipv4("udp"), udp(9), payload("01 02 03")];
    const drafts = [ethernet("ipv4"), ipv4("gre"), gre({ protocolType: "ipv4", checksum: 1, key: 5 }), ...inner];
    const frame = buildFrame(drafts);
    const statuses = (bytes: Uint8Array) =>
      verifyChecksums(bytes, decodeFrame(bytes).layers).map(({ layer, status }) => `${layer.protocol} ${status}`);
    assert.deepEqual(statuses(frame), ["ipv4 correct", "gre correct", "ipv4 correct", "udp correct"]);
    assert.equal(onesComplementSum(frame.subarray(34)), 0xffff);
    frame[frame.length - 1] = 0xff;
    assert.deepEqual(statuses(frame), ["ipv4 correct", "gre wrong", "ipv4 correct", "udp wrong"]);
    const bare = buildFrame([ethernet("ipv4"), ipv4("gre"), gre({ protocolType: "ipv4", key: 5 }), ...inner]);
    assert.deepEqual(statuses(bare), ["ipv4 correct", "ipv4 correct", "udp correct"]);
  });

  for (const [name, tunnel] of Object.entries<LayerDraft[]>({
    "IP in IP": [ipv4("ipv4", { moreFragments: true })],
    "6in4": [ipv4("ipv6", { moreFragments: true })],
    GRE: [ipv4("gre", { moreFragments: true }), gre({ protocolType: "ipv4", checksum: 0 })],
  }))
    test(`${name}: what the first fragment of a packet carries is payload, as the whole is not there`, () => {
      const frame = buildFrame([ethernet("ipv4"), ...tunnel, payload("45 00 05 dc")]);
      const { layers, error } = decodeFrame(frame);
      assert.equal(error, undefined);
      assert.deepEqual(
        layers.map(({ protocol }) => protocol),
        ["ethernet", ...tunnel.map(({ protocol }) => protocol), "payload"],
      );
      assert.deepEqual(
        verifyChecksums(frame, layers).map(({ layer, status }) => `${layer.protocol} ${status}`),
        ["ipv4 correct"],
      );
    });

  test("a tunnel header that is refused ends the walk", () => {
    const pptp = buildFrame([ethernet("ipv4"), ipv4("gre"), payload("30 01 88 0b 00 00 00 01 00 00 00 00")]);
    assert.deepEqual(decodeFrame(pptp).error, { header: "gre", what: "version is 1, not 0", offset: 35 });
    const late = buildFrame([ethernet("ipv4"), ipv4("udp"), udp(6081), payload("3f 00 65 58 00 00 64 00")]);
    assert.equal(
      describeFrame(decodeFrame(late)),
      "IP 192.0.2.1.51234 > 192.0.2.2.6081: UDP, length 8 [malformed: geneve at octet 42: cut short: needs 260 octets, 8 are there]",
    );
  });

  test("a malformed inner packet: the layers so far, and where it is wrong", () => {
    const bad = [
      ethernet("ipv4"),
      ipv4("udp"),
      udp(4789),
      vxlan(5),
      ethernet("ipv4"),
      payload("65 00 00 14".padEnd(59, " 00")),
    ];
    const frame = decodeFrame(buildFrame(bad));
    assert.equal(frame.layers.length, 5);
    assert.deepEqual(frame.error, { header: "ipv4", what: "version is 6, not 4", offset: 64 });
    assert.equal(
      describeFrame(frame),
      "IP 192.0.2.1.51234 > 192.0.2.2.4789: VXLAN, vni 5: [malformed: ipv4 at octet 64: version is 6, not 4]",
    );
  });

  test("a packet that is shorter than it says", () => {
    const { layers, error } = decodeFrame(buildFrame([ethernet("ipv4"), ipv4("udp"), udp(9)]).subarray(0, 40));
    assert.equal(layers.length, 2);
    assert.deepEqual(error, { header: "ipv4 packet", what: "cut short", offset: 14, needed: 28, available: 26 });
  });

  test("nesting is bounded", () => {
    const tags = Array.from({ length: 1_000 }, () => "00 01 81 00").join("");
    const { layers, error } = decodeFrame(annotated(`${"00".repeat(12)} 81 00 ${tags}`));
    assert.equal(layers.length, maximumLayers);
    assert.deepEqual(error, { header: "vlan", what: "it would be layer 33 of the frame", offset: 14 + 31 * 4 });
  });

  test("checksums that are wrong, and such as cannot be checked", () => {
    const frame = buildFrame([ethernet("ipv4"), ipv4("udp"), udp(9), payload("01 02")]);
    frame[43] = 0xff;
    const statuses = (bytes: Uint8Array) =>
      verifyChecksums(bytes, decodeFrame(bytes).layers).map(({ layer, status }) => `${layer.protocol} ${status}`);
    assert.deepEqual(statuses(frame), ["ipv4 correct", "udp wrong"]);
    assert.deepEqual(statuses(frame.subarray(0, 43)), ["ipv4 correct"]);

    const routed = [ethernet("ipv6"), ipv6("ipv6-routing"), udp(9)];
    routed.splice(2, 0, { protocol: "ipv6-extension", header: { nextHeader: "udp", data: new Uint8Array(6) } });
    assert.deepEqual(statuses(buildFrame(routed)), []);
    const fragment = buildFrame([ethernet("ipv4"), ipv4("udp", { moreFragments: true }), udp(9), payload("01 02")]);
    assert.deepEqual(statuses(fragment), ["ipv4 correct"]);
  });

  test("a computed UDP checksum of zero is sent as all ones", () => {
    const sumless = [ethernet("ipv4"), ipv4("udp"), udp(9), payload("00 00")];
    const checksum = (bytes: Uint8Array) => toHex(bytes.subarray(40, 42));
    const complement = checksum(buildFrame(sumless));
    assert.equal(checksum(buildFrame([...sumless.slice(0, 3), payload(complement)])), "ffff");
  });

  test("a frame that cannot be is not built", () => {
    const large = { protocol: "payload", header: new Uint8Array(65_536) } as const;
    assert.throws(() => buildFrame([ethernet("ipv4"), ipv4("udp"), large]), /ipv4\.totalLength is 65556/);
  });

  test("a Buffer reads like any other octets", () => {
    const { layers } = decodeFrame(Buffer.from(annotated(`${toHex(buildFrame([ethernet({ unknown: 1 })]))} 01 02`)));
    assert.deepEqual(layers[1]?.header, Uint8Array.of(1, 2));
  });

  test("any octets are read without throwing, and what is read survives writing", () => {
    const bases = cases.map(({ drafts }) => buildFrame(drafts));
    const altered = fc
      .tuple(fc.constantFrom(...bases), fc.array(fc.tuple(fc.nat(199), fc.nat(255)), { maxLength: 4 }))
      .map(([base, changes]) => {
        const bytes = base.slice();
        for (const [position, octet] of changes) if (position < bytes.length) bytes[position] = octet;
        return bytes;
      });
    const broadcast = fc.uint8Array({ maxLength: 200 }).map((rest) => annotated(toHex(rest).padStart(28, "0")));
    fc.assert(
      fc.property(fc.oneof(altered, broadcast, fc.uint8Array({ maxLength: 2_000 })), (bytes) => {
        const frame = decodeFrame(bytes);
        assert.ok(describeFrame(frame).length < 10_000);
        verifyChecksums(bytes, frame.layers);
        if (frame.error !== undefined) return;
        const written = encodeFrame(frame.layers);
        assert.equal(written.length, bytes.length);
        assert.deepEqual(decodeFrame(written), frame);
      }),
      { numRuns: 2_000 },
    );
  });

  test("the broadcast address is what ARP goes to", () => {
    const [first] = decodeFrame(annotated(`ff ff ff ff ff ff 02 00 00 00 00 01 08 06`)).layers;
    assert.equal(first?.protocol === "ethernet" && first.header.destination, broadcastMac);
  });
});
