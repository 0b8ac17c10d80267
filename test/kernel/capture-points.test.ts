/**
 * Captures at each point of a node, in networks made by hand of what weft makes them of: packets as they are there, names, filters
 * inside and outside of tunnels, what the kernel has taken out or not filled in yet, what there was no room for.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { openCapture } from "../../src/diagnose/capture/capture.ts";
import type { CapturedPacket, PointKind } from "../../src/diagnose/capture/packet.ts";
import type { Selection } from "../../src/diagnose/capture/points.ts";
import { Reader } from "../../src/diagnose/capture/reading.ts";
import type { NetworkView, NodeView } from "../../src/diagnose/capture/view.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually, makeUnderlay } from "../support/underlay.ts";

interface Side {
  readonly host: TestNamespace;
  readonly tenant: TestNamespace;
  readonly container: TestNamespace;
  readonly view: NodeView;
}

const macOf = (number: number): string => `02:00:00:00:00:0${number}`;

/** Two nodes with a container each, and the tunnel that `make` says between them, in the tenant's namespace. */
function twoNodes(
  t: TestContext,
  network: Pick<NetworkView, "encapsulation" | "port" | "vni" | "bridge"> & { readonly mode: "l2" | "l3" },
  make: (number: number, other: number, tenant: TestNamespace) => string,
): readonly [Side, Side] {
  const underlay = makeUnderlay(2);
  t.after(() => underlay[Symbol.dispose]());
  const sides = underlay.hosts.map((host, index): Side => {
    const number = index + 1;
    const [tenant, container] = [testNamespace(`tenant${number}`), testNamespace(`c${number}`)];
    t.after(() => tenant[Symbol.dispose]());
    t.after(() => container[Symbol.dispose]());
    const port = `ve00000000000${number}`;
    const isFlat = network.mode === "l2";
    tenant.shell(`
      sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.default.disable_ipv6=1
      ip link add ${network.bridge} type bridge mcast_snooping 0
      ip link set ${network.bridge} addrgenmode none up
      ip link add ${port} type veth peer name eth0 netns ${container.name} address ${macOf(number)}
      ip link set ${port} addrgenmode none master ${network.bridge} up
      ${isFlat ? "" : `ip address add 10.1.${number}.254/24 dev ${network.bridge}`}`);
    container.shell(`
      sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1
      ip link set lo up; ip link set eth0 up
      ip address add 10.1.${isFlat ? 0 : number}.${number}/24 dev eth0
      ${isFlat ? "" : `ip route add default via 10.1.${number}.254`}`);
    host.shell(make(number, 3 - number, tenant));
    const subnets = ["10.1.0.0/16"];
    const view: NodeView = {
      node: `h${number}`,
      vteps: [`10.99.0.${number}`, `fd99::${number}`],
      networks: [{ name: "web", tenant: "blue", namespace: tenant.name, standby: [], subnets, ...network }],
      endpoints: [
        {
          endpoint: {
            ...{ id: `00000000000${number}`, network: "web", mac: macOf(number) },
            ips: [`10.1.${isFlat ? 0 : number}.${number}`],
          },
          ...{ netns: `/run/netns/${container.name}`, interface: "eth0", port },
        },
      ],
    };
    return { host, tenant, container, view };
  });
  return sides as unknown as readonly [Side, Side];
}

interface Captured {
  readonly packets: readonly CapturedPacket[];
  /** `POINT DIRECTION TEXT` and what is said beside. */
  readonly lines: readonly string[];
  readonly dropped: number;
}

/** What is captured on a node while something happens, until `isThere` finds what it waits for. */
async function capturing(
  { host, view }: Side,
  what: {
    readonly selection: Selection;
    readonly filter?: string;
    readonly inner?: string;
    readonly snapLength?: number;
  },
  action: () => void,
  isThere: (packets: readonly CapturedPacket[]) => boolean,
): Promise<Captured> {
  const { selection, filter = "", inner = "", snapLength = 262_144 } = what;
  const capture = await openCapture({
    ...{ view, selection, filter, inner, snapLength },
    host: () => NetworkNamespace.openNamed(host.name),
    onNote: (note) => assert.fail(note),
  });
  const abort = new AbortController();
  const packets: CapturedPacket[] = [];
  try {
    const ended = (async () => {
      for await (const some of capture.packets(abort.signal)) packets.push(...some);
    })();
    action();
    await Promise.race([ended, eventually(`what is waited for is captured`, () => isThere(packets))]);
    abort.abort();
    await ended;
    const reader = new Reader(view, capture.decode);
    const lines = packets.map((packet) => {
      const { text, network, from, to, notes } = reader.read(packet);
      const ends = [network ?? "-", from?.slice(-1) ?? "-", to?.slice(-1) ?? "-"].join(" ");
      return [`${packet.place.kind} ${packet.direction} ${text}`, ...notes, ends].join(" | ");
    });
    const dropped = capture.sources.reduce((sum, source) => sum + source.counts().dropped, 0);
    return { packets, lines, dropped };
  } finally {
    abort.abort();
    capture.close();
  }
}

const ping = (side: Side, address: string): string => side.container.shell(`ping -q -c 1 -w 20 ${address}`);

const everywhere: readonly PointKind[] = ["port", "container", "tunnel", "underlay"];

/** What an echo request and its reply look like at all points of the sender's node, in the order in which they come by. */
function expectedEcho(outer: RegExp, [from, to]: readonly [string, string]): readonly RegExp[] {
  const request = `IP ${from} > ${to}: ICMP echo request, id \\d+, seq 1, length 64`;
  const reply = `IP ${to} > ${from}: ICMP echo reply, id \\d+, seq 1, length 64`;
  return [
    new RegExp(`^container out ${request} \\| web 1 -$`),
    new RegExp(`^port in ${request} \\| web 1 -$`),
    new RegExp(`^tunnel out ${request} \\| web 1 -$`),
    new RegExp(`^underlay out ${outer.source}${request} \\| web 1 -$`),
    new RegExp(`^underlay in ${outer.source}${reply} \\| web - 1$`),
    new RegExp(`^tunnel in ${reply} \\| web - 1$`),
    new RegExp(`^port out ${reply} \\| web - 1$`),
    new RegExp(`^container in ${reply} \\| web - 1$`),
  ];
}

function assertLines(lines: readonly string[], expected: readonly RegExp[]): void {
  assert.equal(lines.length, expected.length, lines.join("\n"));
  for (const pattern of expected)
    assert.equal(lines.filter((line) => pattern.test(line)).length, 1, `${pattern}\n${lines.join("\n")}`);
}

const vxlan = { encapsulation: "vxlan", port: 8472, vni: 4096, bridge: "br4096", mode: "l2" } as const;

function vxlanTunnel(number: number, other: number, tenant: TestNamespace): string {
  return `
    ip link add vx4096p2118 type vxlan id 4096 local 10.99.0.${number} remote 10.99.0.${other} dstport 8472
    ip link set vx4096p2118 netns ${tenant.name} addrgenmode none
    ip -n ${tenant.name} link set vx4096p2118 master br4096 mtu 1450 up`;
}

test("at each point: an echo through a tunnel with Ethernet, at a port of its own", requires("vxlan"), async (t) => {
  const [left] = twoNodes(t, vxlan, vxlanTunnel);
  ping(left, "10.1.0.2"); // addresses are resolved
  const echo = ["10.1.0.1", "10.1.0.2"] as const;
  const { lines, packets, dropped } = await capturing(
    left,
    { selection: { network: "web", at: everywhere }, inner: "icmp" },
    () => ping(left, "10.1.0.2"),
    (all) => all.length >= 8,
  );
  assertLines(lines, expectedEcho(/IP 10\.99\.0\.\d\.\d+ > 10\.99\.0\.\d\.8472: VXLAN, vni 4096: /, echo));
  assert.equal(dropped, 0);
  const times = packets.map(({ time }) => time);
  assert.deepEqual(
    times,
    times.toSorted((a, b) => (a < b ? -1 : 1)),
    "in the order of their times",
  );
});

test(
  "at each point: an echo through a tunnel of IP packets, whose interface has no Ethernet",
  requires("gre"),
  async (t) => {
    const [left] = twoNodes(
      t,
      { encapsulation: "gre", port: 0, vni: 100, bridge: "br100", mode: "l3" },
      (number, other, tenant) => `
      ip link add r2s-0a6300${`0${other}`} type gre local 10.99.0.${number} remote 10.99.0.${other} key 100
      ip link set r2s-0a6300${`0${other}`} netns ${tenant.name}
      ip -n ${tenant.name} link set r2s-0a6300${`0${other}`} up
      ip -n ${tenant.name} route add 10.1.${other}.0/24 dev r2s-0a6300${`0${other}`}`,
    );
    ping(left, "10.1.2.2");
    const { lines, packets } = await capturing(
      left,
      { selection: { network: "web", at: everywhere }, inner: "icmp" },
      () => ping(left, "10.1.2.2"),
      (all) => all.length >= 8,
    );
    assertLines(lines, expectedEcho(/IP 10\.99\.0\.\d > 10\.99\.0\.\d: GRE, key 0x64: /, ["10.1.1.1", "10.1.2.2"]));
    assert.deepEqual(
      [...new Set(packets.filter(({ place }) => place.link === "ip").map(({ place }) => place.kind))],
      ["tunnel"],
    );
    // What only Ethernet has is no packet's there, and elsewhere it is as ever.
    const ethernet = await capturing(
      left,
      { selection: { network: "web", at: ["port", "tunnel"] }, filter: `ether src ${macOf(1)} and icmp` },
      () => ping(left, "10.1.2.2"),
      (all) => all.length >= 1,
    );
    assert.deepEqual(
      ethernet.packets.map(({ place, direction }) => [place.kind, direction]),
      [["port", "in"]],
    );
  },
);

test("filters of the packet, of what is in its tunnel, and of endpoints and VTEPs", requires("vxlan"), async (t) => {
  const [left] = twoNodes(t, vxlan, vxlanTunnel);
  ping(left, "10.1.0.2");
  const cases: readonly (readonly [what: Parameters<typeof capturing>[1], counted: number])[] = [
    // Of the two packets of an echo.
    [{ selection: {}, filter: "udp" }, 2],
    [{ selection: {}, filter: "outbound" }, 1],
    [{ selection: { network: "web", at: ["underlay"] }, filter: "src host 10.99.0.1" }, 1],
    [{ selection: { network: "web", at: ["underlay"] }, inner: "icmp[icmptype] = icmp-echoreply" }, 1],
    [{ selection: { vteps: ["10.99.0.2" as never, "10.99.0.1" as never] }, inner: "icmp and greater 98" }, 2],
    [{ selection: { vteps: ["10.99.0.2" as never] }, inner: "icmp" }, 2],
    [{ selection: { endpoint: macOf(1), at: ["underlay"] }, inner: "icmp" }, 2],
    [{ selection: { endpoint: "10.1.0.1", at: ["tunnel"] }, filter: "icmp" }, 2],
    [{ selection: { endpoint: "000000000001", at: ["port"] }, filter: "dst host 10.1.0.2", inner: "icmp" }, 1],
  ];
  for (const [what, counted] of cases) {
    const { lines } = await capturing(
      left,
      what,
      () => ping(left, "10.1.0.2"),
      (all) => all.length >= counted,
    );
    assert.equal(lines.length, counted, `${JSON.stringify(what)}\n${lines.join("\n")}`);
  }
  // Others' packets are not seen: those of another VNI.
  const [other] = [
    { ...left, view: { ...left.view, networks: left.view.networks.map((each) => ({ ...each, vni: 4097 })) } },
  ];
  const underlay = await capturing(
    other,
    { selection: { network: "web", at: ["underlay", "port"] }, inner: "icmp" },
    () => ping(left, "10.1.0.2"),
    (all) => all.length >= 2,
  );
  assert.deepEqual(
    underlay.packets.map(({ place }) => place.kind),
    ["port", "port"],
  );
});

test(
  "a tag that the kernel took out is back, filters see it, and a cut packet says so",
  requires("vxlan", "vlan"),
  async (t) => {
    const [left, right] = twoNodes(t, vxlan, vxlanTunnel);
    for (const [index, { container }] of [left, right].entries())
      container.shell(`
      ip link add link eth0 name tagged type vlan id 7; ip link set tagged up
      ip address add 10.7.0.${index + 1}/24 dev tagged`);
    ping(left, "10.7.0.2");
    const request = /^port in vlan 7, p 0, IP 10\.7\.0\.1 > 10\.7\.0\.2: ICMP echo request/;
    const taggedOnly = await capturing(
      left,
      { selection: { network: "web", at: ["port", "underlay"] }, inner: "vlan 7 and icmp" },
      () => {
        ping(left, "10.1.0.2");
        ping(left, "10.7.0.2");
      },
      (all) => all.length >= 4,
    );
    assert.equal(taggedOnly.lines.length, 4, taggedOnly.lines.join("\n"));
    assert.equal(taggedOnly.lines.filter((line) => request.test(line)).length, 1);
    const untaggedOnly = await capturing(
      left,
      { selection: { network: "web", at: ["port", "underlay"] }, inner: "icmp", snapLength: 64 },
      () => {
        ping(left, "10.7.0.2");
        ping(left, "10.1.0.2");
      },
      (all) => all.length >= 4,
    );
    assert.equal(untaggedOnly.lines.length, 4, "a tagged packet is none of these");
    for (const { bytes, originalLength } of untaggedOnly.packets) {
      assert.equal(bytes.length, 64);
      assert.ok(originalLength >= 98);
    }
    assert.match(untaggedOnly.lines.join("\n"), /cut: 64 of 98 octets/);
  },
);

test("checksums that are not computed yet are not told as wrong, and wrong ones are", requires("vxlan"), async (t) => {
  const [left] = twoNodes(t, vxlan, vxlanTunnel);
  ping(left, "10.1.0.2");
  const sendUdp = (script: string): void => {
    left.container.shell(`python3 -c '${script}'`);
  };
  const { lines, packets } = await capturing(
    left,
    { selection: { endpoint: "10.1.0.1", at: ["container", "port"] }, filter: "udp port 7" },
    () =>
      sendUdp(`
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"x" * 100, ("10.1.0.2", 7))`),
    (all) => all.length >= 2,
  );
  assert.deepEqual([...new Set(packets.map(({ checksum }) => checksum))], ["not-ready"]);
  assert.ok(
    lines.every((line) => !line.includes("wrong")),
    lines.join("\n"),
  );
  const wrong = await capturing(
    left,
    { selection: { endpoint: "10.1.0.1", at: ["port"] }, filter: "udp port 7" },
    () =>
      sendUdp(`
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
s.send(bytes.fromhex("020000000002 020000000001 0800 4500001d00010000401166cd 0a010001 0a010002 00070007 00091234 00".replace(" ", "")))`),
    (all) => all.length >= 1,
  );
  assert.equal(wrong.packets.length, 1);
  assert.match(wrong.lines[0] ?? "", /wrong checksum: (ipv4, )?udp/);
});

test("what is not there is refused with what there is", requires("vxlan"), async (t) => {
  const [left, right] = twoNodes(t, vxlan, vxlanTunnel);
  const refused = (selection: Selection, side = left): Promise<unknown> =>
    openCapture({
      ...{ view: left.view, selection, filter: "", inner: "", snapLength: 64, onNote: () => {} },
      host: () => NetworkNamespace.openNamed(side.host.name),
    });
  await assert.rejects(refused({ network: "web", at: ["underlay"] }, right), {
    code: "failed-precondition",
    reason: "no interface here has one of its VTEP addresses, 10.99.0.1 and fd99::1",
  });
  left.tenant.shell("ip link delete vx4096p2118");
  await assert.rejects(refused({ network: "web" }), {
    code: "not-found",
    attempted: "capture at the tunnel of network web",
    reason: `there is no such interface in ${left.tenant.name}`,
  });
});
