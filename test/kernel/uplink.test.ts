import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { type Cidr, cidr } from "../../src/base/cidr.ts";
import { systemClock } from "../../src/base/clock.ts";
import { ip } from "../../src/base/ip.ts";
import type { DataplaneEvent } from "../../src/dataplane/index.ts";
import { hostDevice, hostTable } from "../../src/dataplane/kernel-names.ts";
import { Nftables } from "../../src/dataplane/nft/nftables.ts";
import { Turns } from "../../src/dataplane/rounds.ts";
import { ensureAnswering } from "../../src/dataplane/uplink/answering-devices.ts";
import { ForwardedDevices } from "../../src/dataplane/uplink/forwarded-devices.ts";
import { ensureForwarding, releaseForwarding } from "../../src/dataplane/uplink/host-forwarding.ts";
import { removeLeftoverUplinks } from "../../src/dataplane/uplink/leftovers.ts";
import type { UplinkRequest } from "../../src/dataplane/uplink/request.ts";
import { Uplink } from "../../src/dataplane/uplink/uplink.ts";
import { defaultEgressBlocked } from "../../src/model/index.ts";
import { NetlinkSocket, replaceRoute, Watch, type WatchOptions } from "../../src/netlink/index.ts";
import { BackgroundProgram } from "../support/cluster.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { patience } from "../support/patience.ts";
import { eventually, makeUnderlay } from "../support/underlay.ts";

const needed = requires("nft-inet", "nft-nat");
/** For what is weft's own decision, the same on every kernel. */
const neededOnce = requires("quick processes", "nft-inet", "nft-nat");
const settings = { tunnelPorts: [4789, 8472, 6081, 40_000], mtu: 1500 };
const instance = `u${process.pid}`;

const nothing: UplinkRequest = {
  hostAccess: [],
  egress: [],
  egressBlocked: [],
  direct: [],
  directInward: [],
  floating: [],
  published: [],
};

/** The networks of a tenant on a node: one bridge with a container behind it. Weft's own bridges are not what is tested. */
interface Tenant {
  readonly name: string;
  readonly namespace: TestNamespace;
  readonly container: TestNamespace;
  readonly uplink: Uplink;
  readonly events: DataplaneEvent[];
  /** All writes of the uplink to the kernel. */
  writes(): number;
  apply(request: UplinkRequest): Promise<void>;
  /** A new run on the same kernel. */
  restart(): Tenant;
  close(): void;
}

interface TenantPlan {
  readonly name: string;
  readonly gateways: readonly string[];
  readonly addresses: readonly string[];
  readonly mtu?: number;
}

function makeTenant(t: TestContext, host: TestNamespace, plan: TenantPlan): Tenant {
  const namespace = testNamespace(plan.name);
  const container = testNamespace(`${plan.name}-c`);
  t.after(() => namespace[Symbol.dispose]());
  t.after(() => container[Symbol.dispose]());
  namespace.shell(`
    sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0
    sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.addr_gen_mode=1
    ip link set lo up
    ip link add br1 type bridge
    ip link set br1 up
    ip link add ve1 type veth peer name eth0 netns ${container.name}
    ip link set ve1 master br1 up
    ip addr add fe80::1/64 dev br1 nodad`);
  for (const gateway of plan.gateways) namespace.shell(`ip addr add ${gateway} dev br1 nodad`);
  container.shell("ip link set lo up; ip link set eth0 up");
  for (const address of plan.addresses) container.shell(`ip addr add ${address} dev eth0 nodad`);
  for (const gateway of plan.gateways)
    container.shell(`ip route add default via ${gateway.split("/")[0]} ${gateway.includes(":") ? "metric 5" : ""}`);
  return open(t, host, namespace, container, plan.name);
}

function open(
  t: TestContext,
  host: TestNamespace,
  namespace: TestNamespace,
  container: TestNamespace,
  name: string,
): Tenant {
  const inside = new NetlinkSocket({ namespace: namespace.namespace });
  const outside = new NetlinkSocket({ namespace: host.namespace });
  const events: DataplaneEvent[] = [];
  const watch = watchOf(namespace);
  const hostWatch = watchOf(host);
  const report = (event: DataplaneEvent): void => void events.push(event);
  // What fails is tried again, as the agent does: devices that somebody deletes go in several steps.
  const onDamage = (): void => void run().catch(() => setTimeout(onDamage, 100));
  const side = { namespace: host.kernel, socket: outside, nftables: new Nftables(host.kernel, hostWatch) };
  const nftables = new Nftables(namespace.kernel, watch);
  const forwarded = new ForwardedDevices({ underlay: side, watch: hostWatch, clock: systemClock, report, onDamage });
  let request = nothing;
  const turns = new Turns();
  let isOpen = true;
  const run = (): Promise<void> =>
    turns.take(async () => {
      if (isOpen) await uplink.reconcile(request, settings);
    });
  const uplink = new Uplink({
    clock: systemClock,
    instance,
    tenant: name,
    namespace: namespace.kernel,
    socket: inside,
    nftables,
    watch,
    underlay: { ...side, watch: hostWatch, forwarded },
    report,
    onDamage,
  });
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    uplink.close();
    watch.close();
    hostWatch.close();
    inside.close();
    outside.close();
  };
  t.after(close);
  return {
    name,
    namespace,
    container,
    uplink,
    events,
    writes: () =>
      uplink.writes + forwarded.writes + inside.writes + outside.writes + nftables.writes + side.nftables.writes,
    apply(wanted) {
      request = wanted;
      return run();
    },
    restart() {
      close();
      return open(t, host, namespace, container, name);
    },
    close,
  };
}

function watchOf({ kernel }: TestNamespace): Watch {
  const open: WatchOptions["open"] = (options) => kernel.openChannel(options);
  return new Watch({ open, groups: ["link", "address", "route", "rule", "netconf"] });
}

/** A host between tenants and an outside server, which knows the host and no tenant. */
function makeSite(t: TestContext): { readonly host: TestNamespace; readonly outside: TestNamespace } {
  const underlay = makeUnderlay(2);
  t.after(() => underlay[Symbol.dispose]());
  const [host, outside] = underlay.hosts;
  assert.ok(host !== undefined && outside !== undefined);
  host.shell("ip route add default via 10.99.0.2; ip -6 route add default via fd99::2");
  outside.shell("ip addr add 203.0.113.9/32 dev lo; ip addr add 2001:db8::9/128 dev lo");
  return { host, outside };
}

const blueish = (name: string): TenantPlan => ({
  name,
  gateways: ["10.0.0.1/24", "fd00::1/64"],
  addresses: ["10.0.0.7/24", "fd00::7/64"],
});
const egress: UplinkRequest = {
  ...nothing,
  egress: [cidr("10.0.0.0/24"), cidr("fd00::/64")],
  egressBlocked: [cidr("10.0.0.0/24"), cidr("fd00::/64")].map((source) => ({
    source,
    destinations: defaultEgressBlocked,
  })),
};
const hostAccess: UplinkRequest = {
  ...nothing,
  hostAccess: [
    { prefix: cidr("10.0.0.0/24"), source: ip("10.0.0.1") },
    { prefix: cidr("fd00::/64"), source: ip("fd00::1") },
  ],
};

/** Answers each TCP connection and each datagram at the port with where it came from. */
const echoProgram = `
  const [port, ...addresses] = process.argv.slice(1);
  const text = (a, p) => "from " + a.replace("::ffff:", "") + " " + p;
  for (const address of addresses) {
    require("node:net").createServer((s) => { s.on("error", () => {}); s.end(text(s.remoteAddress, s.remotePort)); }).listen(port, address);
    const udp = require("node:dgram").createSocket(address.includes(":") ? "udp6" : "udp4");
    udp.on("message", (m, { address: a, port: p }) => { console.log(m + " " + text(a, p)); udp.send(text(a, p), p, a); });
    udp.bind(port, address, () => console.log("ready " + address));
  }`;

async function serve(
  t: TestContext,
  place: TestNamespace,
  port: number,
  addresses: readonly string[] = ["::"],
): Promise<BackgroundProgram> {
  const program = new BackgroundProgram(t, place.namespace, process.execPath, [
    "-e",
    echoProgram,
    `${port}`,
    ...addresses,
  ]);
  for (const address of addresses) await program.said(new RegExp(`ready ${address}`));
  return program;
}

/**
 * Asks echoes, as lines tell it: a number, the protocol, the address, the port, the port to ask from, 0 for any, and after how
 * many milliseconds no answer is an answer. Datagrams are sent again each second.
 */
const askProgram = `
  require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const [number, protocol, address, port, sourcePort, limit] = line.split(" ");
    const socket = protocol === "tcp"
      ? require("node:net").connect({ host: address, port })
      : require("node:dgram").createSocket("udp" + (address.includes(":") ? 6 : 4));
    let isOpen = true;
    const answer = (text) => {
      if (!isOpen) return;
      isOpen = false;
      clearInterval(repeated);
      console.log(number + " " + text);
      if (protocol === "tcp") socket.destroy(); else socket.close();
    };
    let repeated;
    setTimeout(answer, limit, "");
    socket.on("error", (e) => answer(e.code)).on("data", answer).on("message", answer).on("close", () => answer(""));
    const send = () => socket.send("hello", port, address);
    if (protocol === "udp") socket.bind(sourcePort, () => { send(); repeated = setInterval(send, 1000); });
  });`;
const askers = new WeakMap<TestNamespace, BackgroundProgram>();
let questions = 0;

/** Asks an echo, and waits for its answer. */
function ask(
  t: TestContext,
  place: TestNamespace,
  protocol: "tcp" | "udp",
  address: string,
  port: number,
  sourcePort = 0,
): Promise<string> {
  return askFor(t, place, [protocol, address, port, sourcePort], patience);
}

/** The same where no answer is expected; "" when none comes for a while. */
function askInVain(
  t: TestContext,
  place: TestNamespace,
  protocol: "tcp" | "udp",
  address: string,
  port: number,
): Promise<string> {
  return askFor(t, place, [protocol, address, port, 0], 3_000);
}

async function askFor(
  t: TestContext,
  place: TestNamespace,
  what: readonly (string | number)[],
  limit: number,
): Promise<string> {
  // One process for all questions: there are many, and it takes a while to start.
  const asker = askers.get(place) ?? new BackgroundProgram(t, place.namespace, process.execPath, ["-e", askProgram]);
  askers.set(place, asker);
  const answer = new RegExp(`^${++questions} (.*)\n`, "m");
  asker.say(`${questions} ${what.join(" ")} ${limit}`);
  await asker.said(answer);
  return answer.exec(asker.output)?.[1] ?? "";
}

/** Sends each target an echo request, all at once, in the words of ping, and finds that none is answered. */
function assertUnreachable(place: TestNamespace, ...targets: readonly string[]): void {
  const pings = targets.map((target) => `(ping -c1 -W1 ${target} >/dev/null 2>&1 && echo "${target}" || true) &`);
  assert.equal(place.shell(`${pings.join("\n")}\nwait`), "", "nobody answers");
}

/** Sends an ICMP error about a datagram that never was: to, from, its source and destination, type, code, MTU. */
const forgeProgram = `
import socket, struct, sys
to, source, inner, innerPort, target, targetPort, kind, code, mtu = sys.argv[1:]
is6 = ":" in to
family = socket.AF_INET6 if is6 else socket.AF_INET
raw = lambda address: socket.inet_pton(family, address)
def checksum(data):
  total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
  total = (total >> 16) + (total & 65535)
  return ~(total + (total >> 16)) & 65535
udp = struct.pack("!HHHH", int(innerPort), int(targetPort), 1008, 0) + bytes(8)
if is6:
  about = struct.pack("!IHBB", 6 << 28, 1008, 17, 64) + raw(inner) + raw(target) + udp
else:
  head = struct.pack("!BBHHHBBH", 69, 0, 1028, 1, 0x4000, 64, 17, 0) + raw(inner) + raw(target)
  about = head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp
error = struct.pack("!BBHI", int(kind), int(code), 0, int(mtu)) + about
if not is6: error = error[:2] + struct.pack("!H", checksum(error)) + error[4:]
s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if is6 else socket.IPPROTO_ICMP)
s.bind((source, 0))
s.sendto(error, (to, 0))
`;

const hostAddressOf = (address: string): string => (address.includes(":") ? "fd99::1" : "10.99.0.1");
const outsideAddresses = ["203.0.113.9", "2001:db8::9"] as const;

/** What `ip` and `nft` tell of a namespace, without counters, handles and what ages. */
function stateOf(place: TestNamespace): string {
  return place.shell(`
    ip -br link | grep -v '^lo'; ip -br addr; ip route; ip -6 route | sed 's/ expires.*//'; ip rule; nft list ruleset
    # Where IPv6 has one switch for the whole host alone, it stays on for good, as an event says.
    ipv6=
    [ ! -e /proc/sys/net/ipv6/conf/default/force_forwarding ] || ipv6=/proc/sys/net/ipv6/conf/*/*forwarding
    for f in /proc/sys/net/ipv4/conf/*/forwarding $ipv6; do echo $f $(cat $f); done`);
}

/** The kernel tells some time after a bridge got its first port that it is up. */
async function bridgeIsUp({ namespace }: Tenant): Promise<void> {
  await eventually("the bridge is up", () => / UP /.test(namespace.shell("ip -br link show br1")));
}

describe("uplink of a tenant", () => {
  it("lets two tenants with the same subnet reach the outside behind the host's address", needed, async (t) => {
    const { host, outside } = makeSite(t);
    await serve(t, outside, 9000, outsideAddresses);
    const blue = makeTenant(t, host, blueish("blue"));
    const red = makeTenant(t, host, blueish("red"));
    for (const tenant of [blue, red]) await tenant.apply(egress);
    for (const tenant of [blue, red])
      for (const address of outsideAddresses)
        for (const protocol of ["tcp", "udp"] as const) {
          const answer = await ask(t, tenant.container, protocol, address, 9000);
          assert.ok(
            answer.startsWith(`from ${hostAddressOf(address)} `),
            `${tenant.name} ${protocol} ${address}: ${answer}`,
          );
        }
    // The host itself may be spoken to as by any other machine; the tenants do not reach each other.
    await serve(t, host, 9001);
    assert.match(await ask(t, blue.container, "tcp", "10.99.0.1", 9001), /^from 169\.254\./);
    const other = red.uplink.nexthop(4)?.gateway ?? "";
    assert.notEqual(other, blue.uplink.nexthop(4)?.gateway);
    assert.notEqual(red.uplink.nexthop(6)?.gateway, blue.uplink.nexthop(6)?.gateway);
  });

  it("gives no packet a tunnel's port as its source, and lets none to a tunnel", needed, async (t) => {
    const { host, outside } = makeSite(t);
    await serve(t, outside, 9000, outsideAddresses);
    const blue = makeTenant(t, host, blueish("blue"));
    await blue.apply(egress);
    for (const address of outsideAddresses)
      for (const port of [4789, 8472, 6081, 40_000]) {
        const answer = await ask(t, blue.container, "udp", address, 9000, port);
        const source = Number(answer.split(" ")[2]);
        assert.ok(source > 40_000 && source <= 65_535, `source port ${port} left as ${answer}`);
      }
    // Towards a tunnel port, of another node and of this one. The host itself is heard there.
    const there = await serve(t, outside, 4789);
    const here = await serve(t, host, 8472);
    const places = [
      ["10.99.0.2", 4789],
      ["fd99::2", 4789],
      ["10.99.0.1", 8472],
      ["fd99::1", 8472],
    ] as const;
    const answers = places.map(([address, port]) => askInVain(t, blue.container, "udp", address, port));
    assert.deepEqual(await Promise.all(answers), ["", "", "", ""]);
    assert.doesNotMatch(there.output, /hello/);
    assert.doesNotMatch(here.output, /hello/);
    assert.match(await ask(t, host, "udp", "10.99.0.2", 4789), /^from 10\.99\.0\.1/);
    // Tunnels without ports: IP protocols 4, 41, 47, sent as they are.
    const capture = new BackgroundProgram(t, outside.namespace, "tcpdump", [
      "-lnni",
      "eth0",
      "ip and net 10.99.0.0/24",
    ]);
    await capture.said(/listening/);
    for (const protocol of [4, 41, 47, 1])
      blue.container.shell(`python3 - <<'P'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, ${protocol})
s.sendto(b"\\x08\\x00\\xf7\\xff" + b"\\x00" * 36, ("10.99.0.2", 0))
P`);
    await capture.said(/ICMP echo request/);
    await capture.end("SIGINT");
    for (const line of capture.output.trim().split("\n")) assert.match(line, /ICMP/);
  });

  it("lets no endpoint tell the path MTU to the host, nor speak under an address of its own", needed, async (t) => {
    const { host, outside } = makeSite(t);
    const there = await serve(t, outside, 9000, outsideAddresses);
    const blue = makeTenant(t, host, blueish("blue"));
    await blue.apply({ ...egress, hostAccess: hostAccess.hostAccess });
    for (const place of [host, outside])
      place.shell(`nft -f - <<'N'
        table inet probe {
          chain input {
            type filter hook input priority 10
            meta l4proto icmp icmp type destination-unreachable icmp code frag-needed counter comment "big4"
            meta l4proto ipv6-icmp icmpv6 type packet-too-big counter comment "big6"
            ip saddr 10.0.0.0/24 counter comment "own4"
            ip6 saddr fd00::/64 counter comment "own6"
            icmp type destination-unreachable icmp code port-unreachable counter comment "port4"
            icmpv6 type destination-unreachable icmpv6 code port-unreachable counter comment "port6"
          }
        }
N`);
    const count = (place: TestNamespace, comment: string): number =>
      Number(
        new RegExp(`packets (\\d+) bytes \\d+ comment "${comment}"`).exec(
          place.shell("nft list table inet probe"),
        )?.[1],
      );
    const forge = (to: string, from: string, about: readonly [string, number, string, number], ...error: number[]) =>
      blue.container.shell(`python3 - ${[to, from, ...about, ...error].join(" ")} <<'P'
${forgeProgram}P`);
    const assertNone = (): void => {
      // Behind what was sent before.
      assert.match(
        blue.container.shell("ping -c1 -w20 203.0.113.9; ping -c1 -w20 10.99.0.1"),
        / 1 received(.|\n)* 1 received/,
      );
      for (const place of [host, outside])
        for (const what of ["big4", "big6", "own4", "own6"])
          assert.equal(count(place, what), 0, `${place === host ? "host" : "outside"}: ${what}`);
    };
    for (const [own, outer, hostSide, world] of [
      ["10.0.0.7", "10.99.0.2", "10.99.0.1", "203.0.113.9"],
      ["fd00::7", "fd99::2", "fd99::1", "2001:db8::9"],
    ] as const) {
      const tooBig = own.includes(":") ? [2, 0, 1280] : [3, 4, 552];
      const noPort = own.includes(":") ? [1, 4, 0] : [3, 3, 0];
      // As if a tunnel's packet had been too big, to another host and to this one.
      forge(outer, own, [outer, 5000, hostSide, 4789], ...tooBig);
      forge(hostSide, own, [hostSide, 5000, outer, 4789], ...tooBig);
      assertNone();
      // About a connection that there is: what it means for it is told, and nothing about the path.
      const answered = new RegExp(`hello from ${hostSide} (\\d+)`);
      assert.match(await ask(t, blue.container, "udp", world, 9000, 7777), /^from/);
      await there.said(answered);
      forge(world, own, [world, 9000, own, 7777], ...tooBig);
      forge(world, own, [world, 9000, own, 7777], ...noPort);
      const family = own.includes(":") ? 6 : 4;
      await eventually("the error about a connection", () => count(outside, `port${family}`) >= 1);
    }
    assertNone();
    // The host hears of its own questions.
    for (const [address, gateway] of [
      ["10.0.0.7", "10.0.0.1"],
      ["fd00::7", "fd00::1"],
    ] as const) {
      assert.match(host.shell(`ping -c1 -w20 ${address}`), / 1 received/);
      assert.equal(await ask(t, host, "tcp", address, 9999), "ECONNREFUSED", gateway);
    }
    assert.equal(
      host.shell(`python3 - <<'P'
import socket
for family, address in ((socket.AF_INET, "10.0.0.7"), (socket.AF_INET6, "fd00::7")):
  s = socket.socket(family, socket.SOCK_DGRAM)
  s.settimeout(60)
  s.connect((address, 9999))
  s.send(b"x")
  try: s.recv(1)
  except ConnectionRefusedError: print("refused")
P`),
      "refused\nrefused\n",
    );
  });

  it("follows the interface that packets leave by, whichever routing table chose it", needed, async (t) => {
    const { host, outside } = makeSite(t);
    await serve(t, outside, 9000, outsideAddresses);
    host.shell("ip route flush default; ip -6 route flush default");
    // As VPN clients do: addresses without a subnet, in the main table no route.
    for (const vpn of [1, 2, 3, 4]) {
      host.shell(`
        ip link add vpn${vpn} type veth peer name vpn${vpn} netns ${outside.name}
        ip link set vpn${vpn} addrgenmode none up
        ip addr add 10.98.${vpn}.1/32 dev vpn${vpn}
        ip addr add fd98:${vpn}::1/64 dev vpn${vpn} noprefixroute nodad`);
      outside.shell(`
        ip link set vpn${vpn} up
        ip addr add 10.98.${vpn}.2/24 dev vpn${vpn}
        ip addr add fd98:${vpn}::2/64 dev vpn${vpn} nodad`);
    }
    const route = (vpn: number, ipv4: string, ipv6: string, table: string): string => `
      ip route add ${ipv4} via 10.98.${vpn}.2 dev vpn${vpn} onlink table ${table}
      ip -6 route add ${ipv6} via fd98:${vpn}::2 dev vpn${vpn} onlink table ${table}`;
    const rule = (text: string): string => `ip rule add ${text}; ip -6 rule add ${text}`;
    const forwarding = (vpn: number): string => host.shell(`cat /proc/sys/net/ipv4/conf/vpn${vpn}/forwarding`).trim();
    const blue = makeTenant(t, host, blueish("blue"));
    const leavesBy = async (vpn: number): Promise<void> => {
      await eventually(`vpn${vpn} forwards`, () => forwarding(vpn) === "1");
      await eventually("nothing is left to do", () => !blue.uplink.hasWork);
      for (const [address, source] of [
        ["203.0.113.9", `10.98.${vpn}.1`],
        ["2001:db8::9", `fd98:${vpn}::1`],
      ] as const) {
        const answer = await ask(t, blue.container, "udp", address, 9000);
        assert.ok(answer.startsWith(`from ${source} `), `${address} by vpn${vpn}: ${answer}`);
      }
    };
    host.shell(`
      ${route(1, "default", "default", "101")}
      ${rule("pref 100 not fwmark 51820 lookup 101")}
      ${rule("pref 10 lookup main suppress_prefixlength 0")}
      ${route(2, "default", "default", "102")}`);
    await blue.apply(egress);
    await leavesBy(1);
    assert.equal(forwarding(2), "0", "no rule chooses its table");
    // What comes later is followed, too: a rule, a route, and the two halves of everywhere.
    host.shell(rule("pref 90 lookup 102"));
    await leavesBy(2);
    host.shell(rule("pref 80 lookup 103"));
    host.shell(route(3, "default", "default", "103"));
    await leavesBy(3);
    host.shell(`
      ${route(4, "0.0.0.0/1", "::/1", "main")}
      ${route(4, "128.0.0.0/1", "8000::/1", "main")}
      ${rule("pref 70 lookup main")}`);
    await leavesBy(4);
    await blue.apply(nothing);
    assert.deepEqual([1, 2, 3, 4].map(forwarding), ["0", "0", "0", "0"]);
  });

  it("lets nothing out without egress", needed, async (t) => {
    const { host, outside } = makeSite(t);
    await serve(t, outside, 9000, outsideAddresses);
    await serve(t, host, 9001);
    const blue = makeTenant(t, host, blueish("blue"));
    await blue.apply({ ...hostAccess, egress: [cidr("10.0.0.64/26")] });
    const capture = new BackgroundProgram(t, host.namespace, "tcpdump", [
      ...[
        "-lnni",
        hostDevice({ instance, tenant: "blue" }),
        "ip or (ip6 and not ip6 multicast and not (icmp6 and ip6[40] >= 133))",
      ],
    ]);
    await capture.said(/listening/);
    const attempts = ["203.0.113.9", "2001:db8::9", "10.99.0.1", "fd99::1", "169.254.169.254"].flatMap((address) =>
      (["tcp", "udp"] as const).map(async (protocol) => {
        const answer = await askInVain(t, blue.container, protocol, address, address.endsWith("9") ? 9000 : 9001);
        assert.doesNotMatch(answer, /from/, `${protocol} ${address}`);
      }),
    );
    await Promise.all(attempts);
    // Egress is for what it names.
    blue.container.shell("ip addr add 10.0.0.70/24 dev eth0");
    assert.match(blue.container.shell("ping -c1 -w20 -I 10.0.0.70 203.0.113.9"), / 1 received/);
    // That is all that is seen, the last that was sent.
    await capture.said(/ICMP echo reply/);
    await capture.end("SIGINT");
    for (const line of capture.output.trim().split("\n")) assert.match(line, /ICMP echo/);
    assertUnreachable(blue.container, "-I 10.0.0.7 203.0.113.9");
  });

  it("refuses what each network's egress leaves out, such as metadata services of clouds", needed, async (t) => {
    const { host, outside } = makeSite(t);
    const metadata = ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"];
    for (const address of metadata) outside.shell(`ip addr add ${address} dev lo`);
    const blue = makeTenant(t, host, blueish("blue"));
    // Two networks, as far as the uplink can tell.
    const [strict, open] = [
      ["10.0.0.7", "fd00::7"],
      ["10.0.0.70", "fd00::1:70"],
    ];
    blue.container.shell("ip addr add 10.0.0.70/24 dev eth0; ip addr add fd00::1:70/64 dev eth0 nodad");
    const prefixes = ["10.0.0.0/26", "fd00::/112", "10.0.0.64/26", "fd00::1:0/112"].map(cidr);
    const apply = (ofOpen: readonly Cidr[]): Promise<void> =>
      blue.apply({
        ...nothing,
        egress: prefixes,
        egressBlocked: prefixes.map((source, index) => ({
          source,
          destinations: index < 2 ? defaultEgressBlocked : ofOpen,
        })),
      });
    const fromEach = (sources: readonly string[] | undefined, address: string): string =>
      `-I ${sources?.[address.includes(":") ? 1 : 0]} ${address}`;
    const assertReaches = (sources: readonly string[] | undefined, addresses: readonly string[]): void => {
      for (const address of addresses)
        assert.match(
          blue.container.shell(`ping -c1 -w20 ${fromEach(sources, address)} || true`),
          / 1 received/,
          address,
        );
    };
    await apply([]);
    assertReaches(strict, outsideAddresses);
    assertReaches(open, [...outsideAddresses, ...metadata]);
    assertUnreachable(blue.container, ...metadata.map((address) => fromEach(strict, address)));
    // It hears so, instead of waiting.
    assert.match(
      blue.container.shell("ping -c1 -w20 -I 10.0.0.7 100.100.100.200 || true"),
      /Packet filtered|Communication prohibited/i,
    );
    // Another list takes the place of the default; prefixes in each other are no trouble.
    await apply(["203.0.113.0/24", "203.0.113.9/32", "2001:db8::/32"].map(cidr));
    assertReaches(open, metadata);
    assertUnreachable(blue.container, ...outsideAddresses.map((address) => fromEach(open, address)));
    assertReaches(strict, outsideAddresses);
  });

  it("lets the host reach endpoints, and nobody behind the host", needed, async (t) => {
    const { host, outside } = makeSite(t);
    const blue = makeTenant(t, host, blueish("blue"));
    await blue.apply(hostAccess);
    await serve(t, blue.container, 9000);
    for (const [address, gateway] of [
      ["10.0.0.7", "10.0.0.1"],
      ["fd00::7", "fd00::1"],
    ] as const) {
      assert.match(host.shell(`ping -c1 -w20 ${address}`), / 1 received/);
      assert.ok((await ask(t, host, "tcp", address, 9000)).startsWith(`from ${gateway} `), address);
      assert.ok((await ask(t, host, "udp", address, 9000)).startsWith(`from ${gateway} `), address);
    }
    // Also from an address of the host's that it does not have on the uplink.
    assert.match(host.shell("ping -c1 -w20 -I 10.99.0.1 10.0.0.7"), / 1 received/);
    assert.match(host.shell("ping -c1 -w20 -I fd99::1 fd00::7"), / 1 received/);
    // The host did not forward before, so it does not now; and if it did, still not.
    outside.shell("ip route add 10.0.0.0/24 via 10.99.0.1; ip -6 route add fd00::/64 via fd99::1");
    assertUnreachable(outside, "10.0.0.7");
    host.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    assertUnreachable(outside, "10.0.0.7", "fd00::7");
  });

  it("is as it was after a restart, and gone without a trace after removal", needed, async (t) => {
    const { host } = makeSite(t);
    const blue = makeTenant(t, host, blueish("blue"));
    await bridgeIsUp(blue);
    const before = [stateOf(host), stateOf(blue.namespace)];
    const request = { ...egress, hostAccess: hostAccess.hostAccess };
    await blue.apply(request);
    const state = [stateOf(host), stateOf(blue.namespace)];
    assert.notDeepEqual(state, before);
    const again = blue.restart();
    await again.apply(request);
    await eventually("nothing is left to do", () => !again.uplink.hasWork);
    assert.equal(again.writes(), 0);
    assert.deepEqual(again.uplink.nexthop(4)?.gateway, blue.uplink.nexthop(4)?.gateway);
    assert.deepEqual([stateOf(host), stateOf(blue.namespace)], state);
    await again.apply(nothing);
    assert.deepEqual([stateOf(host), stateOf(blue.namespace)], before);
    assert.equal(again.uplink.nexthop(4), undefined);
    const writes = again.writes();
    await again.apply(nothing);
    assert.equal(again.writes(), writes);
  });

  it("forgets what an earlier run wanted", neededOnce, async (t) => {
    const { host } = makeSite(t);
    const blue = makeTenant(t, host, blueish("blue"));
    const request: UplinkRequest = {
      ...hostAccess,
      direct: [{ prefix: cidr("10.0.2.0/24"), vtep: ip("10.99.0.2") }],
      directInward: [cidr("10.0.1.0/24")],
    };
    const before = stateOf(host);
    await blue.apply(request);
    assert.match(host.shell("ip route"), /10\.0\.2\.0\/24 via 10\.99\.0\.2 dev eth0 proto 119/);
    const again = blue.restart();
    await again.apply({ ...nothing, directInward: request.directInward });
    assert.doesNotMatch(host.shell("ip route; ip -6 route"), /10\.0\.2\.0|10\.0\.0\.0|fd00::\/64/);
    assert.match(host.shell("ip route"), /10\.0\.1\.0\/24 via 169\.254/);
    // The tenant goes while nobody looks.
    await again.apply(request);
    again.close();
    again.namespace.shell("ip link del uplink");
    using socket = new NetlinkSocket({ namespace: host.namespace });
    using watch = watchOf(host);
    const underlay = { namespace: host.kernel, socket, nftables: new Nftables(host.kernel, watch) };
    assert.equal(await removeLeftoverUplinks(instance, () => new Set(["blue"]), underlay), 0);
    assert.match(host.shell("ip route"), /10\.0\.2\.0/);
    await removeLeftoverUplinks(instance, () => new Set(), underlay);
    assert.equal(stateOf(host), before);
  });

  // One look at all of it takes longer than that where processes are slow.
  it("repairs what is damaged, and says so", requires("quick processes", "nft-inet"), async (t) => {
    const { host } = makeSite(t);
    const blue = makeTenant(t, host, blueish("blue"));
    await blue.apply({
      ...hostAccess,
      egress: egress.egress,
      direct: [{ prefix: cidr("10.0.2.0/24"), vtep: ip("10.99.0.2") }],
    });
    const device = hostDevice({ instance, tenant: "blue" });
    const whole = (): string => `${stateOf(host)}${stateOf(blue.namespace)}`;
    await bridgeIsUp(blue);
    await eventually("nothing is left to do", () => !blue.uplink.hasWork);
    const before = whole();
    for (const [place, damage] of [
      [host, "ip route del 10.0.0.0/24"],
      [host, "ip route del 10.0.2.0/24"],
      [
        host,
        `ip route replace 10.0.2.0/24 via 10.99.0.77 proto 119 metric $(ip route show 10.0.2.0/24 | sed 's/.*metric //')`,
      ],
      [host, "ip -6 route del fd00::/64"],
      [blue.namespace, "ip route del default"],
      [blue.namespace, "ip -6 route del default"],
      [host, `nft flush table inet ${hostTable({ instance, tenant: "blue" })}`],
      [host, `nft delete table inet ${hostTable({ instance, tenant: "blue" })}`],
      [host, "nft delete table inet weft-forwarding"],
      [blue.namespace, "nft flush ruleset"],
      [host, `ip addr flush dev ${device} scope global`],
      [blue.namespace, "ip -6 addr flush dev uplink"],
      [host, `ip link set ${device} down`],
      [blue.namespace, "ip link set uplink mtu 1400"],
      [host, `ip link del ${device}`],
      [blue.namespace, "ip link del uplink"],
      [host, "sysctl -qw net.ipv4.conf.eth0.forwarding=0"],
      [host, `sysctl -qw net.ipv4.conf.${device}.forwarding=0`],
      [
        host,
        "ip link set eth0 down; ip link set eth0 up; ip addr add fd99::1/64 dev eth0 nodad; ip route add default via 10.99.0.2; ip -6 route add default via fd99::2",
      ],
    ] as const) {
      blue.events.length = 0;
      place.shell(damage);
      await eventually(`repaired: ${damage}`, () => normal(whole()) === normal(before)).catch((error: Error) => {
        assert.equal(normal(whole()), normal(before), error.message);
        throw error;
      });
      await eventually("nothing is left to do", () => !blue.uplink.hasWork);
      if (/sysctl|weft-forwarding|eth0/.test(damage)) continue;
      await eventually(`an event for: ${damage}`, () =>
        blue.events.some(({ kind, object }) => kind === "repaired" && object.tenant === "blue"),
      );
    }
  });

  it("does not take over what the host routes otherwise, and says where that leads", neededOnce, async (t) => {
    const { host } = makeSite(t);
    const blue = makeTenant(t, host, blueish("blue"));
    host.shell(
      "ip link add other type veth peer name o2; ip link set other up; ip link set o2 up; ip addr add 10.0.0.129/25 dev other",
    );
    await assert.rejects(blue.apply(hostAccess), {
      message: "route 10.0.0.0/24 to tenant blue: the host routes 10.0.0.128/25 on other",
    });
    assert.doesNotMatch(host.shell("ip route"), /10\.0\.0\.0\/24/);
    // The rest is there.
    assert.match(host.shell("ping -c1 -w20 fd00::7"), / 1 received/);
    host.shell("ip link del other; ip addr add 10.0.0.5/32 dev lo");
    await assert.rejects(blue.restart().apply(hostAccess), /the host has the address 10\.0\.0\.5\/32 on lo/);
    host.shell("ip addr del 10.0.0.5/32 dev lo; ip route add 10.0.0.0/8 via 10.99.0.2");
    const again = makeTenant(t, host, blueish("red"));
    await assert.rejects(again.apply(hostAccess), /the host routes 10\.0\.0\.0\/8 on eth0/);
    host.shell("ip route del 10.0.0.0/8; ip route add blackhole 10.0.0.0/8; ip route add 0.0.0.0/1 via 10.99.0.2");
    // Wide routes to nowhere, and to everywhere, are no conflict; another tenant is.
    const third = makeTenant(t, host, blueish("green"));
    await assert.rejects(
      third.apply(hostAccess),
      new RegExp(`fd00::/64.*on ${hostDevice({ instance, tenant: "blue" })}`),
    );
    assert.match(host.shell("ip route"), /10\.0\.0\.0\/24 via/);
    assert.match(host.shell("ping -c1 -w20 10.0.0.7"), / 1 received/);
  });

  it("takes nobody else's devices", neededOnce, async (t) => {
    const { host } = makeSite(t);
    const blue = makeTenant(t, host, blueish("blue"));
    blue.namespace.shell("ip link add uplink type bridge");
    await assert.rejects(
      blue.apply(egress),
      /create the uplink uplink of tenant blue in .*: a bridge device of this name/,
    );
    assert.doesNotMatch(host.shell("ip -br link"), /up[0-9a-f]{12}/);
  });
});

describe("nodes that share a link", () => {
  const left: TenantPlan = {
    name: "left",
    gateways: ["10.1.1.1/24", "fd01:1::1/64"],
    addresses: ["10.1.1.7/24", "fd01:1::7/64"],
  };
  const right: TenantPlan = {
    name: "right",
    gateways: ["10.1.2.1/24", "fd01:2::1/64"],
    addresses: ["10.1.2.7/24", "fd01:2::7/64"],
  };

  /** Routes of the tenant's own, which whoever uses an uplink writes. */
  async function routeInside(tenant: Tenant, ...prefixes: readonly string[]): Promise<void> {
    using socket = new NetlinkSocket({ namespace: tenant.namespace.namespace });
    for (const prefix of prefixes) {
      const nexthop = tenant.uplink.nexthop(prefix.includes(":") ? 6 : 4);
      assert.ok(nexthop !== undefined);
      await socket.execute(replaceRoute({ destination: cidr(prefix), protocol: 119, nexthops: [nexthop] }));
    }
  }

  for (const vteps of [
    ["10.99.0.1", "10.99.0.2"],
    ["fd99::1", "fd99::2"],
  ] as const)
    it(`route to each other's blocks without a tunnel, IPv4 by VTEP ${vteps[0]}`, needed, async (t) => {
      const underlay = makeUnderlay(3);
      t.after(() => underlay[Symbol.dispose]());
      const [h1, h2, stranger] = underlay.hosts;
      assert.ok(h1 !== undefined && h2 !== undefined && stranger !== undefined);
      // Neighbours are asked from link-local addresses, which hosts try out for a second.
      const isTentative = (host: TestNamespace): boolean => host.shell("ip -6 addr show tentative") !== "";
      await eventually("link-local addresses", () => ![h1, h2].some(isTentative));
      // As strict as hosts can be.
      for (const host of [h1, h2]) host.shell("sysctl -qw net.ipv4.conf.all.rp_filter=1");
      const one = makeTenant(t, h1, left);
      const two = makeTenant(t, h2, right);
      await one.apply({
        ...nothing,
        hostAccess: [
          { prefix: cidr("10.1.0.0/16"), source: ip("10.1.1.1") },
          { prefix: cidr("fd01::/16"), source: ip("fd01:1::1") },
        ],
        direct: [
          { prefix: cidr("10.1.2.0/24"), vtep: ip(vteps[1]) },
          { prefix: cidr("fd01:2::/64"), vtep: ip("fd99::2") },
        ],
        directInward: [cidr("10.1.1.0/24"), cidr("fd01:1::/64")],
      });
      await two.apply({
        ...nothing,
        direct: [
          { prefix: cidr("10.1.1.0/24"), vtep: ip(vteps[0]) },
          { prefix: cidr("fd01:1::/64"), vtep: ip("fd99::1") },
        ],
        directInward: [cidr("10.1.2.0/24"), cidr("fd01:2::/64")],
      });
      await routeInside(one, "10.1.2.0/24", "fd01:2::/64");
      await routeInside(two, "10.1.1.0/24", "fd01:1::/64");
      await serve(t, two.container, 9000);
      for (const [address, source, gateway] of [
        ["10.1.2.7", "10.1.1.7", "10.1.1.1"],
        ["fd01:2::7", "fd01:1::7", "fd01:1::1"],
      ] as const) {
        for (const protocol of ["tcp", "udp"] as const) {
          const answer = await ask(t, one.container, protocol, address, 9000);
          assert.ok(answer.startsWith(`from ${source} `), `${protocol} ${address}: ${answer}`);
        }
        const payload = address.includes(":") ? 1452 : 1472;
        assert.match(one.container.shell(`ping -M do -s ${payload} -c1 -w20 ${address}`), / 1 received/);
        // The host, which has access, is known to the other node by an own block.
        assert.ok((await ask(t, h1, "tcp", address, 9000)).startsWith(`from ${gateway} `), address);
        assert.match(h1.shell(`ping -c1 -w20 ${address}`), / 1 received/);
      }
      // Nothing of it is tracked, on the hosts and inside.
      for (const place of [h1, h2, one.namespace, two.namespace])
        place.shell(`nft -f - <<'N'
          table inet probe {
            chain forward {
              type filter hook forward priority 10
              ct state != untracked counter comment "tracked"
              counter comment "all"
            }
          }
N`);
      for (const address of ["10.1.2.7", "fd01:2::7"])
        for (const protocol of ["tcp", "udp"] as const) await ask(t, one.container, protocol, address, 9000);
      for (const place of [h1, h2, one.namespace, two.namespace]) {
        const counters = place.shell("nft list table inet probe");
        assert.match(counters, /packets 0 bytes 0 comment "tracked"/, counters);
        assert.match(counters, /packets [1-9]\d* bytes \d+ comment "all"/, counters);
      }
      // A host without access reaches no endpoints, not even its own.
      assertUnreachable(h2, "10.1.1.7", "fd01:1::7", "10.1.2.7");
      // A stranger on the link, from an address of his own and from one of another prefix.
      stranger.shell(
        "ip route add 10.1.2.0/24 via 10.99.0.2; ip -6 route add fd01:2::/64 via fd99::2; ip addr add 10.1.9.9/32 dev lo",
      );
      assertUnreachable(stranger, "10.1.2.7", "-I 10.1.9.9 10.1.2.7", "fd01:2::7");
      // What comes from the network to a node is not forwarded to others, which it was not before either.
      stranger.shell("ip route add 192.0.2.1 via 10.99.0.1");
      h1.shell("ip addr add 192.0.2.2/24 dev eth0");
      h2.shell("ip addr add 192.0.2.1/24 dev eth0");
      assertUnreachable(stranger, "192.0.2.1");
    });

  it("refuses a VTEP behind a router, and IPv6 by an IPv4 VTEP", neededOnce, async (t) => {
    const { host } = makeSite(t);
    const one = makeTenant(t, host, left);
    await assert.rejects(
      one.apply({ ...nothing, direct: [{ prefix: cidr("10.1.2.0/24"), vtep: ip("203.0.113.9") }] }),
      /VTEP 203\.0\.113\.9 is not on a link of this node/,
    );
    await assert.rejects(
      one.restart().apply({ ...nothing, direct: [{ prefix: cidr("fd01:2::/64"), vtep: ip("10.99.0.2") }] }),
      /Linux routes IPv6 to IPv6 gateways only/,
    );
  });
});

describe("forwarding on the host", () => {
  /** Sends a router advertisement (RFC 4861 §4.2) to all nodes of the link. */
  const advertise = `python3 - <<'P'
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.sendto(bytes([134, 0, 0, 0, 64, 0, 0x07, 0x08]) + bytes(8), ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))
P`;

  it("obeys routers after the last floating address of a link as before, also where the whole host forwards by then", async (t) => {
    const underlay = makeUnderlay(2);
    t.after(() => underlay[Symbol.dispose]());
    const [host, router] = underlay.hosts;
    assert.ok(host !== undefined && router !== undefined);
    router.shell("ip -6 addr add fe80::99/64 dev eth0 nodad");
    const advertised = (): boolean => host.shell("ip -6 route show default").includes("proto ra");
    const comesAgain = async (): Promise<void> => {
      host.shell("ip -6 route flush default");
      await eventually("a default route", () => advertised() || router.shell(advertise) !== "");
    };
    using socket = new NetlinkSocket({ namespace: host.namespace });
    using watch = watchOf(host);
    const side = { namespace: host.kernel, socket, nftables: new Nftables(host.kernel, watch) };
    const settings = (): string => host.shell("cd /proc/sys/net/ipv6/conf/eth0; cat forwarding accept_ra proxy_ndp");
    const before = settings();
    for (const [isRouter, after] of [
      [false, before],
      [true, "1\n2\n0\n"],
    ] as const) {
      await comesAgain();
      await ensureAnswering(side, { 4: [], 6: ["eth0"] });
      assert.equal(settings(), "1\n2\n1\n");
      assert.ok(advertised(), "it stays");
      if (isRouter) host.shell("sysctl -qw net.ipv6.conf.all.forwarding=1");
      await ensureAnswering(side, { 4: [], 6: [] });
      assert.equal(settings(), after);
      assert.ok(advertised(), "it stays");
      await comesAgain();
    }
    assert.equal(host.shell("nft list tables"), "");
  });

  it("loses no default route that a router advertised", async (t) => {
    const underlay = makeUnderlay(2);
    t.after(() => underlay[Symbol.dispose]());
    const [host, router] = underlay.hosts;
    assert.ok(host !== undefined && router !== undefined);
    router.shell("ip -6 addr add fe80::99/64 dev eth0 nodad");
    const advertised = (): boolean => host.shell("ip -6 route show default").includes("proto ra");
    await eventually("a default route", () => advertised() || router.shell(advertise) !== "");
    const events: DataplaneEvent[] = [];
    using socket = new NetlinkSocket({ namespace: host.namespace });
    using watch = watchOf(host);
    const side = { namespace: host.kernel, socket, nftables: new Nftables(host.kernel, watch) };
    const devices = { 4: [], 6: ["eth0"] };
    const ensure = async (): Promise<number> =>
      (await ensureForwarding(side, devices, { 4: [], 6: [] }, (event) => events.push(event))).writes;
    assert.notEqual(await ensure(), 0);
    assert.ok(advertised(), "it stays");
    host.shell("ip -6 route flush default");
    await eventually("it comes again", () => advertised() || router.shell(advertise) !== "");
    assert.equal(await ensure(), 0);
    const sysctl = (name: string): string =>
      host.shell(`cat /proc/sys/net/ipv6/conf/${name} 2>/dev/null || true`).trim();
    if (sysctl("eth0/force_forwarding") === "") {
      assert.deepEqual([sysctl("all/forwarding"), sysctl("eth0/accept_ra")], ["1", "2"]);
      assert.match(events[0]?.message ?? "", /net\.ipv6\.conf\.all\.forwarding .* stays on; .* obeyed on .*eth0/);
    } else {
      assert.deepEqual(
        [sysctl("all/forwarding"), sysctl("eth0/force_forwarding"), sysctl("eth0/accept_ra")],
        ["0", "1", "1"],
      );
      assert.match(events[0]?.message ?? "", /net\.ipv6\.conf\.eth0\.force_forwarding/);
    }
    assert.equal(events.length, 1);
    await releaseForwarding(side);
    assert.doesNotMatch(host.shell("nft list tables"), /weft/);
    assert.notEqual(sysctl("eth0/force_forwarding"), "1");
  });
});

/** Numbers of devices and the order of routes and sysctls do not matter. */
function normal(state: string): string {
  return state
    .split("\n")
    .map((line) =>
      line
        .replaceAll(/@if\d+/g, "")
        .replaceAll(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC")
        .replace(/counter packets \d+ bytes \d+/, "counter")
        .replaceAll(/fe80::\S+/g, "")
        .trim(),
    )
    .filter((line) => line !== "")
    .sort()
    .join("\n");
}
