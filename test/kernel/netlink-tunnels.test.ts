/**
 * Tunnels of every kind: one request makes the device in one namespace, whose packets travel in another; what the kernel
 * reports is what was asked for; what can be changed is changed while it lives; what cannot is refused.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { type IpAddress, ip } from "../../src/base/ip.ts";
import { assembleBpf, PacketSocket, packetType } from "../../src/linux/index.ts";
import * as nl from "../../src/netlink/index.ts";
import { decodeFrame, type Layer } from "../../src/wire/index.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually } from "../support/underlay.ts";

const underlayMtu = 1500;

/** A host: a namespace whose interface `u` is on the underlay, and another where tunnels end. */
class Host {
  readonly underlay: TestNamespace;
  readonly tenant: TestNamespace;
  readonly sockets: { readonly underlay: nl.NetlinkSocket; readonly tenant: nl.NetlinkSocket };
  /** The last part of its addresses in the tunnel. */
  readonly number: number;
  /** The last part of its addresses on the underlay. */
  place: number;

  constructor(name: string, number: number) {
    this.underlay = testNamespace(`${name}-u`);
    this.tenant = testNamespace(`${name}-t`);
    this.sockets = {
      underlay: new nl.NetlinkSocket({ namespace: this.underlay.namespace }),
      tenant: new nl.NetlinkSocket({ namespace: this.tenant.namespace }),
    };
    this.number = number;
    this.place = number;
  }

  get ipv4(): IpAddress {
    return ip(`192.0.2.${this.place}`);
  }

  get ipv6(): IpAddress {
    return ip(`2001:db8::${this.place}`);
  }

  async index(): Promise<number> {
    return (await this.sockets.underlay.get(nl.getLink({ name: "u" }))).index;
  }

  /** Moves to other addresses on the underlay. */
  async renumber(place: number): Promise<void> {
    const index = await this.index();
    const all = (): nl.InterfaceAddressEntry[] => [
      { index, address: this.ipv4, prefixLength: 24 },
      { index, address: this.ipv6, prefixLength: 64, withoutDad: true },
    ];
    const former = all();
    this.place = place;
    const done = await this.sockets.underlay.batch([...former.map(nl.deleteAddress), ...all().map(nl.replaceAddress)]);
    assert.ok(done.failures.length <= 2, "the former addresses are not there the first time");
  }

  /** Makes the tunnel's end, with addresses of both families, by one request. */
  async create(name: string, kind: string, settings: nl.LinkSettings): Promise<nl.Link> {
    const { tenant } = this.sockets;
    const linkNamespaceId = await nl.namespaceIdOf(tenant, this.underlay.namespace);
    await tenant.execute(nl.createLink(kind, { name, linkNamespaceId, ...settings }));
    const { index } = await tenant.get(nl.getLink({ name }));
    await tenant.execute(nl.changeLink({ index }, { up: true, ipv6AddressGeneration: "none" }));
    await tenant.execute(nl.replaceAddress({ index, address: ip(`10.0.0.${this.number}`), prefixLength: 24 }));
    await tenant.execute(
      nl.replaceAddress({ index, address: ip(`fd00::${this.number}`), prefixLength: 64, withoutDad: true }),
    );
    return tenant.get(nl.getLink({ index }));
  }

  close(): void {
    this.sockets.underlay.close();
    this.sockets.tenant.close();
    this.tenant[Symbol.dispose]();
    this.underlay[Symbol.dispose]();
  }
}

interface Kind {
  readonly kind: string;
  readonly feature: KernelFeature;
  /** IP versions of what it carries. */
  readonly carries: readonly (4 | 6)[];
  /** Octets of the headers around what it carries. */
  readonly overhead: number;
  /** The layers of a frame on the underlay from its outer IP header to what tells the tunnel, as the codecs read them. */
  readonly outer: readonly Layer["protocol"][];
  /** What one end is told. */
  readonly info: (own: Host, other: Host) => nl.LinkInfo;
  /** How it is changed: by its whole description, or by what is new alone. */
  readonly changedBy: "whole" | "difference";
  /** Not changed by a message that changes what is the kind's own. */
  readonly mtuApart?: boolean;
  /** Refused on a living device. */
  readonly fixed: readonly (readonly [change: nl.LinkInfo, errno: string])[];
}

const key = {
  ...{ inputFlags: nl.greFlag.key, outputFlags: nl.greFlag.key, inputKey: 0xdead_beef, outputKey: 0xdead_beef },
};
const { ignoreEncapsulationLimit } = nl.ip6TunnelFlag;
const over4 = (own: Host, other: Host) => ({ local: own.ipv4, remote: other.ipv4, ttl: 64, pathMtuDiscovery: true });
const over6 = (own: Host, other: Host) => ({
  local: own.ipv6,
  remote: other.ipv6,
  ttl: 64,
  flags: ignoreEncapsulationLimit,
});
const gre = (kind: string, feature: KernelFeature, outer: "ipv4" | "ipv6", overhead: number): Kind => ({
  ...{ kind, feature, overhead, outer: [outer, "gre"], carries: [4, 6], changedBy: "whole", fixed: [] },
  info: (own, other) => ({ gre: { ...(outer === "ipv4" ? over4(own, other) : over6(own, other)), ...key } }),
});
const geneve = (outer: "ipv4" | "ipv6", overhead: number): Kind => ({
  ...{ kind: "geneve", feature: "geneve", overhead, outer: [outer, "udp", "geneve"], carries: [4, 6] },
  info: (_, other) => ({
    geneve: {
      ...{ vni: 0xabcdef, port: 6081, ttl: 64, dontFragment: 1 },
      ...(outer === "ipv4" ? { remote: other.ipv4 } : { remote6: other.ipv6, udpZeroChecksum6Receive: false }),
    },
  }),
  changedBy: "difference",
  fixed: [
    [{ geneve: { vni: 9 } }, "EOPNOTSUPP"],
    [{ geneve: { port: 6081 } }, "EOPNOTSUPP"],
    [{ geneve: outer === "ipv4" ? { remote6: ip("2001:db8::9") } : { remote: ip("192.0.2.9") } }, "EOPNOTSUPP"],
  ],
});
const vxlan = (outer: "ipv4" | "ipv6", overhead: number): Kind => ({
  ...{ kind: "vxlan", feature: "vxlan", overhead, outer: [outer, "udp", "vxlan"], carries: [4, 6] },
  info: (own, other) => ({
    vxlan: {
      ...{ vni: 0xabcdef, port: 4789, ttl: 64, dontFragment: 1, learning: false },
      ...(outer === "ipv4" ? { local: own.ipv4, group: other.ipv4 } : { local6: own.ipv6, group6: other.ipv6 }),
    },
  }),
  changedBy: "difference",
  mtuApart: true,
  fixed: [
    [{ vxlan: { vni: 9 } }, "EOPNOTSUPP"],
    [{ vxlan: { port: 4789 } }, "EOPNOTSUPP"],
  ],
});

const { any, ipv4, ipv6 } = nl.ipTunnelProtocol;
const kinds: readonly Kind[] = [
  gre("gre", "gre", "ipv4", 28),
  gre("gretap", "gretap", "ipv4", 42),
  gre("ip6gre", "ip6gre", "ipv6", 48),
  gre("ip6gretap", "ip6gretap", "ipv6", 62),
  {
    ...{ kind: "ipip", feature: "ipip", overhead: 20, outer: ["ipv4", "ipv4"], carries: [4], changedBy: "whole" },
    info: (own, other) => ({ ipTunnel: { ...over4(own, other), protocol: ipv4 } }),
    fixed: [[{ ipTunnel: { protocol: ipv6 } }, "EINVAL"]],
  },
  {
    ...{ kind: "sit", feature: "sit", overhead: 20, outer: ["ipv4"], carries: [4, 6], changedBy: "whole", fixed: [] },
    info: (own, other) => ({ ipTunnel: { ...over4(own, other), protocol: any } }),
  },
  {
    ...{
      kind: "ip6tnl",
      feature: "ip6tnl",
      overhead: 40,
      outer: ["ipv6"],
      carries: [4, 6],
      changedBy: "whole",
      fixed: [],
    },
    info: (own, other) => ({ ipTunnel: { ...over6(own, other), protocol: any } }),
  },
  geneve("ipv4", 50),
  geneve("ipv6", 70),
  vxlan("ipv4", 50),
  vxlan("ipv6", 70),
];

describe("tunnels", () => {
  let left: Host;
  let right: Host;
  before(async () => {
    left = new Host("left", 1);
    right = new Host("right", 2);
    left.underlay.shell(`ip link add u mtu ${underlayMtu} type veth peer name u netns ${right.underlay.name}`);
    for (const host of [left, right]) {
      host.underlay.shell("ip link set u addrgenmode none; ip link set u up; ethtool -K u tx off >/dev/null");
      await host.renumber(host.number);
    }
  });
  afterEach(async () => {
    for (const host of [left, right])
      for (const name of ["t", "again", "a", "b"])
        await host.sockets.tenant.execute(nl.deleteLink({ name })).catch((error: unknown) => {
          if (!nl.isErrno(error, "ENODEV")) throw error;
        });
  });
  after(() => {
    left.close();
    right.close();
  });

  /** Whether a full-size packet, not to be fragmented, is answered through the tunnel. */
  const pings = (version: 4 | 6, mtu: number, limit = "-w 20"): boolean => {
    const [address, headers] = version === 4 ? ["10.0.0.2", 28] : ["fd00::2", 48];
    return left.tenant.shell(`ping -c 1 ${limit} -M do -s ${mtu - headers} ${address} || true`).includes(" 1 received");
  };

  /** The largest frame that left sends to right's underlay interface meanwhile. */
  const captured = async (action: () => void): Promise<{ frame: Uint8Array; layers: readonly Layer[] }> => {
    using socket = new PacketSocket({
      ...{ namespace: right.underlay.namespace, interfaceIndex: await right.index() },
      filter: assembleBpf([{ accept: true }]),
    });
    action();
    let frame = new Uint8Array();
    for (let next = socket.receive(); next !== undefined; next = socket.receive())
      if (next.packetType !== packetType.outgoing && next.frame.length > frame.length) frame = next.frame.slice();
    return { frame, layers: decodeFrame(frame).layers };
  };

  for (const spec of kinds) {
    const { kind, carries, overhead, outer } = spec;
    const isOver4 = outer[0] === "ipv4";
    test(`${kind} over ${underlayOf(spec)}`, requires(spec.feature), async () => {
      const mtu = underlayMtu - overhead;
      const addressOf = (host: Host): IpAddress => (isOver4 ? host.ipv4 : host.ipv6);
      const assertCarries = async (): Promise<void> => {
        for (const version of carries) {
          const { frame, layers } = await captured(() => assert.ok(pings(version, mtu), `IPv${version} passes`));
          assert.equal(frame.length, underlayMtu + 14, `IPv${version} fills the underlay's packet`);
          assert.deepEqual(
            layers.slice(1, outer.length + 1).map(({ protocol }) => protocol),
            outer,
          );
          const header = layers[1]?.header as { source: IpAddress; destination: IpAddress };
          assert.deepEqual([header.source, header.destination], [addressOf(left), addressOf(right)]);
        }
      };
      const assertIs = (link: nl.Link, own: Host, other: Host): void => {
        assert.equal(link.mtu, mtu);
        const [field, wanted] = Object.entries(spec.info(own, other))[0] as [keyof nl.LinkInfo, object];
        const reported = Object.entries(link.info[field] ?? {}).filter(([name]) => name in wanted);
        assert.equal(link.info.kind, kind);
        assert.deepEqual(Object.fromEntries(reported), wanted);
      };

      const ends = [await left.create("t", kind, { mtu, info: spec.info(left, right) })] as nl.Link[];
      ends.push(await right.create("t", kind, { mtu, info: spec.info(right, left) }));
      const [leftEnd, rightEnd] = ends as [nl.Link, nl.Link];
      assertIs(leftEnd, left, right);
      assertIs(rightEnd, right, left);
      await assert.rejects(left.sockets.underlay.get(nl.getLink({ name: "t" })), (error) =>
        nl.isErrno(error, "ENODEV"),
      );
      await assertCarries();

      // Left moves, and both ends follow.
      const before = [spec.info(left, right), spec.info(right, left)] as const;
      await left.renumber(left.place + 10);
      const change = async (host: Host, other: Host, former: nl.LinkInfo, { index }: nl.Link): Promise<void> => {
        const wanted = spec.info(host, other);
        const info = { kind, ...(spec.changedBy === "whole" ? wanted : difference(former, wanted)) };
        await host.sockets.tenant.execute(nl.changeLink({ index }, spec.mtuApart ? { info } : { info, mtu }));
        assertIs(await host.sockets.tenant.get(nl.getLink({ index })), host, other);
      };
      await change(left, right, before[0], leftEnd);
      assert.equal(pings(carries[0] as 4 | 6, mtu, "-W 1"), false, "not with one end alone");
      await change(right, left, before[1], rightEnd);
      await assertCarries();

      for (const [refused, errno] of spec.fixed)
        await assert.rejects(
          left.sockets.tenant.execute(nl.changeLink({ index: leftEnd.index }, { info: { kind, ...refused } })),
          (error) => nl.isErrno(error, errno),
          JSON.stringify(refused),
        );
      await assert.rejects(left.create("again", kind, { info: spec.info(left, right) }), (error) =>
        nl.isErrno(error, kind === "geneve" ? "EBUSY" : "EEXIST"),
      );
      for (const [host, { index }] of [
        [left, leftEnd],
        [right, rightEnd],
      ] as const) {
        await host.sockets.tenant.execute(nl.deleteLink({ index }));
        await assert.rejects(host.sockets.tenant.get(nl.getLink({ index })), (error) => nl.isErrno(error, "ENODEV"));
      }
    });
  }

  /** Kinds of which a host has a device for each peer, all with one key or VNI. */
  for (const spec of kinds.filter(({ kind }) => kind !== "vxlan"))
    test(`${spec.kind} over ${underlayOf(spec)}: a device for each peer`, requires(spec.feature), async () => {
      const third = { ipv4: ip("192.0.2.77"), ipv6: ip("2001:db8::77") } as Host;
      for (const [name, other] of [
        ["a", right],
        ["b", third],
      ] as const)
        await left.create(name, spec.kind, { info: spec.info(left, other) });
    });
});

function underlayOf({ outer }: Kind): string {
  return outer[0] === "ipv4" ? "IPv4" : "IPv6";
}

/** Settings of a kind that are not as they were. */
function difference(former: nl.LinkInfo, wanted: nl.LinkInfo): nl.LinkInfo {
  return Object.fromEntries(
    Object.entries(wanted).map(([field, settings]) => {
      const was = (former as Record<string, Record<string, unknown>>)[field] ?? {};
      return [
        field,
        Object.fromEntries(Object.entries(settings as object).filter(([name, value]) => was[name] !== value)),
      ];
    }),
  );
}

test("a namespace has one id for another, however often and by whom it is asked", async () => {
  using here = testNamespace("here");
  using there = testNamespace("there");
  using socket = new nl.NetlinkSocket({ namespace: here.namespace });
  using other = new nl.NetlinkSocket({ namespace: here.namespace });
  const ids = await Promise.all([socket, other, socket].map((each) => nl.namespaceIdOf(each, there.namespace)));
  assert.deepEqual(new Set(ids).size, 1);
  assert.match(here.shell("ip netns list-id"), new RegExp(`nsid ${ids[0]} .*${there.name}`));
  using third = testNamespace("third");
  assert.notEqual(await nl.namespaceIdOf(socket, third.namespace), ids[0]);
  await assert.rejects(
    socket.execute(nl.createLink("vxlan", { name: "t", linkNamespaceId: 99, info: { vxlan: { vni: 1, port: 4789 } } })),
    (error) => nl.isErrno(error, "EINVAL"),
  );
});

test("when the namespace of its packets goes, a tunnel goes with it", async () => {
  using tenant = testNamespace("tenant");
  using socket = new nl.NetlinkSocket({ namespace: tenant.namespace });
  {
    using underlay = testNamespace("underlay");
    const linkNamespaceId = await nl.namespaceIdOf(socket, underlay.namespace);
    await socket.execute(
      nl.createLink("vxlan", { name: "t", linkNamespaceId, info: { vxlan: { vni: 1, port: 4789 } } }),
    );
    assert.equal((await socket.get(nl.getLink({ name: "t" }))).linkNamespaceId, linkNamespaceId);
  }
  const isGone = (): Promise<boolean> =>
    socket.get(nl.getLink({ name: "t" })).then(
      () => false,
      (error) => nl.isErrno(error, "ENODEV"),
    );
  await eventually("the tunnel is gone", isGone);
});
