/** Attributes, fixed headers, messages: tables of bytes both ways, round trips of each family, and bytes that nobody expects. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { fromHex, toHex } from "../base/bytes.ts";
import { type Cidr, cidrOf } from "../base/cidr.ts";
import { type IpAddress, ip, ipFromBytes } from "../base/ip.ts";
import { type MacAddress, mac, macFromBytes } from "../base/mac.ts";
import { readAcknowledgement } from "./acknowledgement.ts";
import { type InterfaceAddressEntry, readAddress, replaceAddress } from "./address.ts";
import {
  type Attribute,
  AttributeSchema,
  be16,
  be32,
  binary,
  bool8,
  flag,
  ipAddress,
  macAddress,
  nested,
  s32,
  string,
  u8,
  u16,
  u32,
  u64,
} from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { changeBridgePort, createLink, type LinkInfo, readLink, readLinkHeader } from "./link.ts";
import { beginMessage, endMessage, messagesOf } from "./message.ts";
import {
  appendFdbEntry,
  type FdbEntry,
  type Neighbour,
  readFdbEntry,
  readNeighbour,
  replaceNeighbour,
} from "./neighbour.ts";
import { type Nexthop, readNexthop, replaceNexthop } from "./nexthop.ts";
import { createHtbClass, createQdisc, type HtbClass, readHtbClass, readQdisc, tcHandle } from "./qdisc.ts";
import type { Query, Request } from "./request.ts";
import { type Route, readRoute, replaceRoute } from "./route.ts";
import { createRule, type Rule, readRule } from "./rule.ts";
import { MessageWriter } from "./writer.ts";

/** A writer whose memory was used before. */
function usedWriter(): MessageWriter {
  const writer = new MessageWriter(8);
  const start = writer.reserve(5000);
  writer.bytes.fill(0xff, start);
  writer.reset();
  return writer;
}

function payloadOf(request: Request): Uint8Array {
  const writer = usedWriter();
  request.write(writer);
  return writer.written();
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readWith<Value>(read: Query<Value>["read"], bytes: Uint8Array): Value | undefined {
  return read(bytes, viewOf(bytes), 0, bytes.length, 0);
}

/** A value, or RangeError; nothing else. */
function decodes(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch (error) {
    assert.ok(error instanceof RangeError, `threw ${error}`);
    return false;
  }
}

describe("attributes", () => {
  // biome-ignore lint/suspicious/noExplicitAny: a table of attributes of all types.
  const examples: readonly (readonly [string, Attribute<any>, unknown, string])[] = [
    ["u8", u8(1), 0xab, "0500 0100 ab000000"],
    ["bool8, true", bool8(1), true, "0500 0100 01000000"],
    ["bool8, false", bool8(1), false, "0500 0100 00000000"],
    ["u16", u16(1), 0x1234, "0600 0100 34120000"],
    ["be16", be16(1), 0x12b5, "0600 0100 12b50000"],
    ["u32", u32(1), 0xfedc_ba98, "0800 0100 98badcfe"],
    ["be32", be32(1), 0xfedc_ba98, "0800 0100 fedcba98"],
    ["s32", s32(1), -2, "0800 0100 feffffff"],
    ["u64", u64(1), 0x0123_4567_89ab_cdefn, "0c00 0100 efcdab8967452301"],
    ["string", string(3), "vx0", "0800 0300 76783000"],
    ["string of many octets", string(3), "é", "0700 0300 c3a90000"],
    ["macAddress", macAddress(1), "02:00:5e:10:00:0f", "0a00 0100 02005e10000f0000"],
    ["ipAddress, IPv4", ipAddress(2), "192.0.2.1", "0800 0200 c0000201"],
    ["ipAddress, IPv6", ipAddress(2), "2001:db8::1", "1400 0200 20010db8000000000000000000000001"],
    ["flag", flag(11), true, "0400 0b00"],
    ["binary", binary(7), Uint8Array.of(1, 2, 3, 4, 5), "0900 0700 0102030405000000"],
    ["nested", nested(10, new AttributeSchema("inner", { one: u8(8) })), { one: 1 }, "0c00 0a80 0500080001000000"],
  ];
  for (const [name, attribute, value, bytes] of examples)
    test(name, () => {
      const schema = new AttributeSchema("example", { value: attribute });
      const writer = usedWriter();
      schema.write(writer, { value });
      assert.equal(toHex(writer.written()), bytes.replaceAll(" ", ""));
      const read = fromHex(bytes) ?? new Uint8Array();
      assert.deepEqual(schema.read(read, viewOf(read), 0, read.length), { value });
      for (let end = 0; end < 4; end++)
        assert.deepEqual(schema.read(read, viewOf(read), 0, end), {}, "what is shorter than a header is padding");
      const length = viewOf(read).getUint16(0, true);
      for (let end = 4; end < length; end++)
        assert.equal(
          decodes(() => schema.read(read, viewOf(read), 0, end)),
          false,
          `cut at ${end}`,
        );
    });

  test("a payload that is too short for its type is refused", () => {
    for (const [name, attribute] of examples) {
      if (/string|binary|flag|nested|mac/.test(name)) continue;
      const schema = new AttributeSchema("example", { value: attribute });
      const empty = Uint8Array.of(4, 0, attribute.code, 0);
      assert.throws(() => schema.read(empty, viewOf(empty), 0, 4), RangeError, name);
    }
  });

  test("absent values and flags that are not set are not written", () => {
    const schema = new AttributeSchema("example", { number: u32(1), on: flag(2) });
    const writer = usedWriter();
    schema.write(writer, { number: undefined, on: false });
    assert.equal(writer.position, 0);
  });

  test("unknown attributes are skipped, the nested bit does not matter, the last of two counts", () => {
    const schema = new AttributeSchema("example", { known: u8(2) });
    const bytes = fromHex("0600 ff01 aaaa0000  0500 0280 07000000  0500 0200 09000000") ?? new Uint8Array();
    assert.deepEqual(schema.read(bytes, viewOf(bytes), 0, bytes.length), { known: 9 });
  });

  test("a link-layer address of another length is none", () => {
    const schema = new AttributeSchema("example", { mac: macAddress(1) });
    const bytes = fromHex("0800 0100 c0000201") ?? new Uint8Array();
    assert.equal(schema.read(bytes, viewOf(bytes), 0, bytes.length).mac, undefined);
  });
});

test("fixed headers: each field in its place, those left out and padding zero", () => {
  const header = new FixedHeader("example", [
    ["one", "u8"],
    ["pad", "pad8"],
    ["two", "u16"],
    ["three", "s32"],
    ["pad2", "pad16"],
    ["four", "u16"],
    ["five", "u32"],
  ]);
  assert.equal(header.length, 16);
  const writer = usedWriter();
  header.write(writer, { one: 1, pad: 9, two: 0x0203, three: -1, five: 0xffff_fffe });
  assert.equal(toHex(writer.written()), "01000302ffffffff00000000feffffff");
  const bytes = writer.written();
  assert.deepEqual(
    { ...header.read(viewOf(bytes), 0, 16) },
    { one: 1, two: 0x0203, three: -1, four: 0, five: 0xffff_fffe },
  );
  for (let end = 0; end < 16; end++) assert.throws(() => header.read(viewOf(bytes), 0, end), RangeError);
});

test("messages: lengths, padding, and every truncation of a datagram", () => {
  const writer = usedWriter();
  for (const [sequence, text] of [
    [1, "a"],
    [2, "abcd"],
  ] as const) {
    const start = beginMessage(writer, 24, 5, sequence);
    const at = writer.reserve(text.length);
    writer.bytes.set(new TextEncoder().encode(text), at);
    endMessage(writer, start);
  }
  const datagram = writer.written();
  const read = (bytes: Uint8Array) => [...messagesOf(bytes, viewOf(bytes))];
  assert.deepEqual(read(datagram), [
    { type: 24, flags: 5, sequence: 1, portId: 0, start: 16, end: 17 },
    { type: 24, flags: 5, sequence: 2, portId: 0, start: 36, end: 40 },
  ]);
  for (let end = 1; end < datagram.length; end++) {
    // The first message ends at 17; what is cut off its padding is nothing.
    const whole = end >= 17 && end <= 20;
    assert.equal(
      decodes(() => read(datagram.subarray(0, end))),
      whole,
      `cut at ${end}`,
    );
  }
});

const anyIpv4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ipFromBytes(bytes));
const anyIpv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => ipFromBytes(bytes));
const anyIp: fc.Arbitrary<IpAddress> = fc.oneof(anyIpv4, anyIpv6);
const anyMac: fc.Arbitrary<MacAddress> = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => macFromBytes(bytes));
const anyIndex = fc.integer({ min: 1, max: 0x7fff_ffff });
const any32 = fc.nat(0xffff_ffff);
const any8 = fc.nat(255);
const any16 = fc.nat(0xffff);
const anyWeight = fc.integer({ min: 1, max: 256 });
const anyName = fc.stringMatching(/^[a-z0-9]{1,15}$/);
function anyCidr(family: 4 | 6): fc.Arbitrary<Cidr> {
  return fc
    .tuple(family === 4 ? anyIpv4 : anyIpv6, fc.integer({ min: 1, max: family === 4 ? 32 : 128 }))
    .map(([address, length]) => cidrOf(address, length));
}
/** Some fields may be absent. */
function record<Value>(
  required: { [Field in keyof Value as undefined extends Value[Field] ? never : Field]: fc.Arbitrary<Value[Field]> },
  optional: { [Field in keyof Value]?: fc.Arbitrary<Exclude<Value[Field], undefined>> },
): fc.Arbitrary<Value> {
  return fc.record({ ...required, ...optional } as Record<string, fc.Arbitrary<unknown>>, {
    requiredKeys: Object.keys(required),
  }) as fc.Arbitrary<Value>;
}

/** Values of the family, the request that writes one, and what reads it. */
interface Family<Value> {
  readonly any: fc.Arbitrary<Value>;
  readonly write: (value: Value) => Request;
  readonly read: Query<unknown>["read"];
  /** What is read of what was written, where that is not the same. */
  readonly expected?: (value: Value) => unknown;
}

function family<Value>(of: Family<Value>): Family<unknown> {
  return of as Family<unknown>;
}

const anyVxlan = fc.record(
  {
    vni: fc.nat(0xff_ffff),
    group: anyIpv4,
    link: any32,
    local: anyIpv4,
    ttl: any8,
    tos: any8,
    learning: fc.boolean(),
    ageing: any32,
    limit: any32,
    proxy: fc.boolean(),
    l2Miss: fc.boolean(),
    l3Miss: fc.boolean(),
    port: any16,
    group6: anyIpv6,
    local6: anyIpv6,
    udpChecksum: fc.boolean(),
    udpZeroChecksum6Transmit: fc.boolean(),
    udpZeroChecksum6Receive: fc.boolean(),
    collectMetadata: fc.boolean(),
    dontFragment: any8,
    vniFilter: fc.boolean(),
    localBypass: fc.boolean(),
  },
  { requiredKeys: [] },
);
const anyBridge = fc.record(
  {
    forwardDelay: any32,
    ageingTime: any32,
    stpState: any32,
    vlanFiltering: fc.boolean(),
    multicastSnooping: fc.boolean(),
    callIptables: fc.boolean(),
    callIp6tables: fc.boolean(),
    callArptables: fc.boolean(),
    vlanDefaultPvid: any16,
  },
  { requiredKeys: [] },
);
const anyBridgePort = fc.record(
  {
    state: any8,
    hairpin: fc.boolean(),
    bpduGuard: fc.boolean(),
    learning: fc.boolean(),
    unicastFlood: fc.boolean(),
    proxyArp: fc.boolean(),
    multicastFlood: fc.boolean(),
    vlanTunnel: fc.boolean(),
    broadcastFlood: fc.boolean(),
    neighbourSuppress: fc.boolean(),
    isolated: fc.boolean(),
    locked: fc.boolean(),
  },
  { requiredKeys: [] },
);
const anyGeneve = fc.record(
  {
    vni: fc.nat(0xff_ffff),
    remote: anyIpv4,
    ttl: any8,
    tos: any8,
    port: any16,
    collectMetadata: fc.constant(true),
    remote6: anyIpv6,
    udpChecksum: fc.boolean(),
    udpZeroChecksum6Transmit: fc.boolean(),
    udpZeroChecksum6Receive: fc.boolean(),
    label: any32,
    ttlInherit: fc.boolean(),
    dontFragment: any8,
    innerProtocolInherit: fc.constant(true),
  },
  { requiredKeys: [] },
);
const anyGre = fc.record(
  {
    link: any32,
    inputFlags: any16,
    outputFlags: any16,
    inputKey: any32,
    outputKey: any32,
    local: anyIp,
    remote: anyIp,
    ttl: any8,
    tos: any8,
    pathMtuDiscovery: fc.boolean(),
    encapsulationLimit: any8,
    flowInfo: any32,
    flags: any16,
    collectMetadata: fc.constant(true),
    ignoreDontFragment: fc.boolean(),
  },
  { requiredKeys: [] },
);
const anyIpTunnel = fc.record(
  {
    link: any32,
    local: anyIp,
    remote: anyIp,
    ttl: any8,
    tos: any8,
    encapsulationLimit: any8,
    flowInfo: any32,
    flags: any16,
    protocol: any8,
    pathMtuDiscovery: fc.boolean(),
    collectMetadata: fc.constant(true),
  },
  { requiredKeys: [] },
);
/** A kind, and the field and settings that are its own. */
const anyKind: fc.Arbitrary<{ readonly kind: string } & LinkInfo> = fc.oneof(
  anyVxlan.map((vxlan) => ({ kind: "vxlan", vxlan })),
  anyBridge.map((bridge) => ({ kind: "bridge", bridge })),
  anyGeneve.map((geneve) => ({ kind: "geneve", geneve })),
  fc.tuple(fc.constantFrom("gre", "gretap", "ip6gre", "ip6gretap"), anyGre).map(([kind, gre]) => ({ kind, gre })),
  fc.tuple(fc.constantFrom("ipip", "sit", "ip6tnl"), anyIpTunnel).map(([kind, ipTunnel]) => ({ kind, ipTunnel })),
);
const anyLink = fc.record({
  info: anyKind,
  bridgePort: anyBridgePort,
  settings: fc.record(
    {
      name: anyName,
      mac: anyMac,
      mtu: any32,
      master: any32,
      alias: fc.string(),
      group: any32,
      transmitQueueLength: any32,
      gsoMaxSize: any32,
      gsoMaxSegments: any32,
      gsoIpv4MaxSize: any32,
      linkNamespaceId: fc.nat(0x7fff_ffff),
    },
    { requiredKeys: [] },
  ),
});

const families: Readonly<Record<string, Family<unknown>>> = {
  neighbour: family<Neighbour>({
    any: record<Neighbour>({ index: anyIndex, ip: anyIp, state: any16, flags: any8 }, { mac: anyMac, protocol: any8 }),
    write: replaceNeighbour,
    read: readNeighbour,
  }),
  "FDB entry": family<FdbEntry>({
    any: record<FdbEntry>(
      { index: anyIndex, mac: anyMac, state: any16, flags: any8 },
      { vtep: anyIp, nexthop: any32, vlan: any16, protocol: any8 },
    ),
    write: appendFdbEntry,
    read: readFdbEntry,
  }),
  nexthop: family<Nexthop>({
    any: record<Nexthop>(
      { id: any32, protocol: any8 },
      {
        fdb: fc.constant(true),
        gateway: anyIp,
        group: fc.array(fc.record({ id: any32, weight: anyWeight })),
        interfaceIndex: any32,
      },
    ),
    write: replaceNexthop,
    read: readNexthop,
  }),
  address: family<InterfaceAddressEntry>({
    any: record<InterfaceAddressEntry>(
      { index: anyIndex, address: anyIp, prefixLength: any8 },
      { peer: anyIp, withoutDad: fc.boolean(), withoutPrefixRoute: fc.constant(true), scope: any8 },
    ),
    write: replaceAddress,
    read: readAddress,
    expected: (entry) => ({ withoutDad: false, scope: 0, permanent: false, ...entry }),
  }),
  route: family<Route>({
    any: fc.constantFrom(4 as const, 6 as const).chain((version) =>
      record<Route>(
        {
          destination: anyCidr(version),
          protocol: any8,
          nexthops: fc.array(
            fc.record({
              index: anyIndex,
              gateway: version === 4 ? anyIp : anyIpv6,
              weight: anyWeight,
              onLink: fc.boolean(),
            }),
            { minLength: 2, maxLength: 5 },
          ),
        },
        {
          table: fc.integer({ min: 1, max: 0xffff_ffff }),
          type: fc.integer({ min: 1, max: 8 }),
          nexthopId: any32,
          preferredSource: version === 4 ? anyIpv4 : anyIpv6,
          priority: any32,
          mtu: any32,
          isMtuLocked: fc.constant(true),
        },
      ),
    ),
    write: replaceRoute,
    read: readRoute,
    expected: (route) => ({ table: 254, type: 1, ...route }),
  }),
  rule: family<Rule>({
    any: fc.constantFrom(4 as const, 6 as const).chain((version) =>
      record<Rule>(
        { family: fc.constant(version), table: any32, priority: any32, protocol: any8 },
        {
          source: anyCidr(version),
          destination: anyCidr(version),
          inputInterface: anyName,
          outputInterface: anyName,
          mark: any32,
          markMask: any32,
        },
      ),
    ),
    write: createRule,
    read: readRule,
  }),
  "link (tunnels, bridge, bridge port)": family({
    any: anyLink,
    write: ({ info, bridgePort, settings }) =>
      createLink(info.kind, { ...settings, info: { portKind: "bridge", bridgePort, ...info } }),
    read: readLink,
    expected: ({ info, bridgePort, settings }) => ({
      index: 0,
      name: "",
      mtu: 0,
      group: 0,
      up: false,
      carrier: false,
      ...settings,
      info: { portKind: "bridge", bridgePort, ...info },
    }),
  }),
  "htb class": family<HtbClass>({
    any: fc.record({
      index: anyIndex,
      handle: any32,
      parent: fc.nat(0xffff_0000),
      // Whole octets, up to 10 Tbit/s: beyond 32 bits too.
      rate: fc.integer({ min: 1, max: 1.25e12 }).map((octets) => octets * 8),
      ceil: fc.integer({ min: 1, max: 1.25e12 }).map((octets) => octets * 8),
      quantum: any32,
      priority: fc.nat(7),
      burst: fc.constant(0),
      ceilBurst: fc.constant(0),
    }),
    write: createHtbClass,
    read: readHtbClass,
  }),
  "tbf qdisc": family({
    any: fc.record({
      rate: fc.integer({ min: 1, max: 1.25e12 }).map((octets) => octets * 8),
      limit: any32,
    }),
    write: ({ rate, limit }) =>
      createQdisc({ index: 1, kind: "tbf", handle: tcHandle(1), parent: 0xffff_ffff, tbf: { rate, limit, burst: 0 } }),
    read: readQdisc,
    expected: ({ rate, limit }) => ({
      index: 1,
      kind: "tbf",
      handle: 0x1_0000,
      parent: 0xffff_ffff,
      tbf: { rate, limit, burst: 0 },
    }),
  }),
  "htb qdisc": family({
    any: any32,
    write: (defaultClass) =>
      createQdisc({ index: 1, kind: "htb", handle: tcHandle(1), parent: 0xffff_ffff, htb: { defaultClass } }),
    read: readQdisc,
    expected: (defaultClass) => ({
      index: 1,
      kind: "htb",
      handle: 0x1_0000,
      parent: 0xffff_ffff,
      htb: { defaultClass },
    }),
  }),
};

/** Without the fields that are `undefined`, and the prototypes. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown;

for (const [name, { any, write, read, expected }] of Object.entries(families)) {
  test(`${name}: what is written is read`, () => {
    fc.assert(
      fc.property(any, (value) => {
        assert.deepEqual(plain(readWith(read, payloadOf(write(value)))), plain(expected ? expected(value) : value));
      }),
    );
  });

  test(`${name}: every truncation and any damage gives a value or RangeError`, () => {
    const position = fc.nat(300);
    fc.assert(
      fc.property(any, fc.array(fc.tuple(position, any8), { maxLength: 8 }), (value, damage) => {
        const payload = payloadOf(write(value)).slice();
        for (let end = 0; end < payload.length; end++) decodes(() => readWith(read, payload.slice(0, end)));
        for (const [at, octet] of damage) if (at < payload.length) payload[at] = octet;
        decodes(() => readWith(read, payload));
      }),
      { numRuns: 60 },
    );
  });
}

test("no reader throws anything but RangeError, or hangs, whatever it is given", () => {
  const readers: readonly ((bytes: Uint8Array) => unknown)[] = [
    ...Object.values(families).map(
      ({ read }) =>
        (bytes: Uint8Array) =>
          readWith(read, bytes),
    ),
    (bytes) => readLinkHeader(viewOf(bytes), 0, bytes.length),
    (bytes) => [...messagesOf(bytes, viewOf(bytes))],
    (bytes) => {
      for (const header of messagesOf(bytes, viewOf(bytes))) readAcknowledgement(bytes, viewOf(bytes), header);
    },
  ];
  // Half of them begin like a message or an address family that is known.
  const anyStart = fc.constantFrom([], [2], [10], [7], [40, 0, 0, 0, 2, 0, 0, 3], [24, 0, 0, 0, 2, 0, 0, 2]);
  fc.assert(
    fc.property(anyStart, fc.uint8Array({ maxLength: 200 }), (start, rest) => {
      const bytes = Uint8Array.from([...start, ...rest]);
      for (const read of readers) decodes(() => read(bytes));
    }),
    { numRuns: 2000 },
  );
});

test("a message of another family is not of interest", () => {
  const neighbour = payloadOf(
    replaceNeighbour({ index: 1, ip: ip("10.0.0.1"), mac: mac("02:00:00:00:00:01"), state: 0x80, flags: 0 }),
  );
  assert.equal(readWith(readFdbEntry, neighbour), undefined);
  const entry = payloadOf(appendFdbEntry({ index: 1, mac: mac("02:00:00:00:00:01"), state: 0x80, flags: 2 }));
  assert.equal(readWith(readNeighbour, entry), undefined);
  const port = payloadOf(changeBridgePort(1, { learning: false }));
  assert.equal(readWith(readLink, port), undefined);
  assert.deepEqual(readLinkHeader(viewOf(port), 0, port.length), { index: 1, isBridgePort: true });
});

test("flags of tunnels over IPv6: what the kernel adds of its own is not read, nor what sit has in their place", () => {
  for (const [kind, flags, expected] of [
    ["ip6tnl", "0800 0800 01000300", { flags: 1 }],
    ["sit", "0600 0800 0100 0000", {}],
  ] as const) {
    const payload = payloadOf(createLink(kind, { info: { ipTunnel: { flags: 0xffff } } }));
    const octets = fromHex(flags) ?? new Uint8Array();
    payload.set(octets, payload.length - 8);
    const read = readWith(readLink, payload);
    assert.deepEqual(plain(read?.info.ipTunnel), expected, kind);
  }
});

test("rates that cannot be are refused before anything is sent", () => {
  const entry = { index: 1, handle: tcHandle(1, 1), parent: tcHandle(1), rate: 7 };
  assert.throws(() => payloadOf(createHtbClass(entry)), /less than one octet per second/);
});
