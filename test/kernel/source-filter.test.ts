/** Who is believed about tunnels: senders of frames, and senders of ICMP errors about the path to a VTEP. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { ip, ipToBytes } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { type DataplaneEvent, NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { toHost } from "../../src/diagnose/firewall/packet.ts";
import { judgeIn, readRuleset } from "../../src/diagnose/firewall/read-ruleset.ts";
import type { Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { internetChecksum, pseudoHeaderSum } from "../../src/wire/checksum.ts";
import { removeNamespaces } from "../support/cluster.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { RawInterface } from "../support/raw-frames.ts";
import { eventually, makeUnderlay, settled, type Underlay } from "../support/underlay.ts";

const [vni, otherVni] = [4242, 4244];
const instance = `t${process.pid}`;
const ICMP = 1;
const UDP = 17;
const ICMPV6 = 58;
const fragmentHeader = 44;

const bytesOf = (...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => [...part]));
const u16 = (value: number): number[] => [value >> 8, value & 255];
const addressOf = (text: string): Uint8Array => ipToBytes(ip(text));

/** `optionWords`: 32-bit words of no-operation options. */
function ipv4(protocol: number, source: string, destination: string, data: Uint8Array, optionWords = 0): Uint8Array {
  const length = 20 + optionWords * 4;
  const header = bytesOf(
    [0x45 + optionWords, 0, ...u16(length + data.length), 0, 1, 0, 0, 64, protocol, 0, 0],
    addressOf(source),
    addressOf(destination),
    new Uint8Array(optionWords * 4).fill(1),
  );
  new DataView(header.buffer).setUint16(10, internetChecksum(header));
  return bytesOf(header, data);
}

function ipv6(nextHeader: number, source: string, destination: string, data: Uint8Array): Uint8Array {
  return bytesOf([0x60, 0, 0, 0, ...u16(data.length), nextHeader, 64], addressOf(source), addressOf(destination), data);
}

/** The headers of UDP and VXLAN: the kernel believes what quotes a network that it has. */
const quotedUdp = [...u16(5000), ...u16(4789), ...u16(1480), 0, 0, 8, 0, 0, 0, 0, ...u16(vni), 0];

/** RFC 1191 §4 */
function fragmentationNeeded(mtu: number, quoted: Uint8Array): Uint8Array {
  const message = bytesOf([3, 4, 0, 0, 0, 0, ...u16(mtu)], quoted);
  new DataView(message.buffer).setUint16(2, internetChecksum(message));
  return message;
}

/** RFC 4443 §3.2 */
function packetTooBig(mtu: number, source: string, destination: string, quoted: Uint8Array): Uint8Array {
  const message = bytesOf([2, 0, 0, 0, 0, 0, ...u16(mtu)], quoted);
  const pseudo = pseudoHeaderSum(ip(source), ip(destination), ICMPV6, message.length);
  new DataView(message.buffer).setUint16(2, internetChecksum(message, pseudo));
  return message;
}

describe("what a node believes about tunnels", requires("nft-inet", "vxlan"), () => {
  let underlay: Underlay;
  let dataplane: NodeDataplane;
  let container: TestNamespace;
  /** In other networks of the same port, one of them over IPv6. */
  let other: TestNamespace;
  let overIpv6: TestNamespace;
  /** On the underlay at 10.99.0.77; a router to 10.98.0.0/24, whose link carries 1,400 octets. */
  let router: TestNamespace;
  /** Behind the host at 10.97.0.2, which the host forwards to. */
  let guest: TestNamespace;
  let byUnderlay: RawInterface;
  let byGuest: RawInterface;
  const events: DataplaneEvent[] = [];
  /** Of the program nft, on the host. */
  let nftRuns = 0;
  const host = (): TestNamespace => underlay.hosts[0] as TestNamespace;

  before(async () => {
    underlay = makeUnderlay(1);
    container = testNamespace("container");
    other = testNamespace("other");
    overIpv6 = testNamespace("six");
    router = testNamespace("router");
    guest = testNamespace("guest");
    underlay.switch.shell(`
      ip link add x type veth peer name eth0 netns ${router.name}
      ip link set x master sw0 up`);
    router.shell(`
      sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
      ip link set lo up; ip link set eth0 up
      ip addr add 10.99.0.77/24 dev eth0; ip addr add fd99::77/64 dev eth0 nodad
      ip addr add 10.99.0.78/24 dev eth0; ip addr add 10.99.0.79/24 dev eth0
      ip addr add fd99::79/64 dev eth0 nodad
      ip link add far mtu 1400 type veth peer name beyond
      ip link set far up; ip link set beyond up; ip addr add 10.98.0.1/24 dev far
      ip neigh add 10.98.0.2 lladdr 02:00:00:00:00:98 dev far
      ip route add 10.97.0.0/24 via 10.99.0.1`);
    host().shell(`
      sysctl -qw net.ipv4.ip_forward=1
      ip addr add 10.99.0.101/24 dev eth0
      ip route add 10.98.0.0/24 via 10.99.0.77
      ip link add eth1 type veth peer name eth0 netns ${guest.name}
      ip link set eth1 up; ip addr add 10.97.0.1/24 dev eth1`);
    guest.shell(`
      ip link set lo up; ip link set eth0 up; ip addr add 10.97.0.2/24 dev eth0
      ip route add default via 10.97.0.1`);
    dataplane = new NodeDataplane({
      kernel: linuxKernel,
      instance,
      underlay: {
        ...host().kernel,
        nft: (...parameters) => {
          nftRuns++;
          return host().kernel.nft(...parameters);
        },
      },
      clock: systemClock,
      report: (event) => events.push(event),
    });
    await dataplane.setUnderlay([ip("10.99.0.1"), ip("fd99::1")], undefined);
    const network = dataplane.putNetwork(networkSettings({ name: "net", vni: vni as Vni, localVtep: ip("10.99.0.1") }));
    const local = (number: number, { name }: TestNamespace) => ({
      id: `0000000000a${number}`,
      mac: mac(`02:aa:00:00:00:0${number}`),
      addresses: [{ address: ip("10.0.0.1"), prefixLength: 24 }],
      place: placeIn(`/run/netns/${name}`),
    });
    network.putLocal(local(1, container));
    const remote = (number: number, vtep: string) => ({
      id: `0000000000b${number}`,
      mac: mac(`02:aa:00:00:01:0${number}`),
      ips: [],
      source: { name: "server", node: `n${number}` } as const,
      vtep: ip(vtep),
    });
    network.putRemote(remote(1, "10.99.0.2"));
    network.putRemote(remote(2, "10.98.0.2"));
    const six = dataplane.putNetwork(networkSettings({ name: "six", vni: 4243 as Vni, localVtep: ip("fd99::1") }));
    six.putRemote(remote(3, "fd99::2"));
    six.putRemote(remote(4, "fd99::3"));
    const second = dataplane.putNetwork(
      networkSettings({ name: "other", vni: otherVni as Vni, localVtep: ip("10.99.0.1") }),
    );
    second.putLocal(local(2, other));
    six.putLocal(local(3, overIpv6));
    for (const [each, number, vtep] of [
      [second, 5, "10.99.0.78"],
      [second, 6, "10.99.0.79"],
      [network, 7, "10.99.0.79"],
      [six, 8, "fd99::79"],
    ] as const)
      each.putRemote(remote(number, vtep));
    await dataplane.start();
    await settled(dataplane);
    byUnderlay = await RawInterface.open(router.namespace, "eth0");
    byGuest = await RawInterface.open(guest.namespace, "eth0");
  });

  after(async () => {
    byUnderlay?.close();
    byGuest?.close();
    await dataplane.close();
    removeNamespaces((name) => name.startsWith(`${instance}-`));
    for (const place of [container, other, overIpv6, router, guest]) place[Symbol.dispose]();
    underlay[Symbol.dispose]();
  });

  /** From the underlay unless said otherwise, to the host. */
  function send(packet: Uint8Array, from: "underlay" | "guest" = "underlay"): void {
    const type = (packet[0] as number) >> 4 === 4 ? 0x0800 : 0x86dd;
    const name = from === "underlay" ? "eth0" : "eth1";
    const link = host().json(`ip -j link show ${name}`)[0].address as string;
    const destination = link.split(":").map((octet) => Number.parseInt(octet, 16));
    const frame = bytesOf(destination, [2, 0, 0, 0, 0, 77], u16(type), packet);
    (from === "underlay" ? byUnderlay : byGuest).send(frame);
  }

  const mtuTo = (address: string): number | undefined => {
    const found = / mtu (?:lock )?(\d+)/.exec(host().shell(`ip route get ${address}`))?.[1];
    return found === undefined ? undefined : Number(found);
  };

  let unrelated = 200;
  /** Whatever was sent before by the same way has been judged when this returns. */
  async function judged(from: "underlay" | "guest" = "underlay"): Promise<void> {
    const other = `10.99.0.${unrelated++}`;
    const quoted = ipv4(ICMP, "10.99.0.1", other, bytesOf([0, 0, 0, 0, 0, 0, 0, 0]));
    send(ipv4(ICMP, "10.99.0.77", "10.99.0.1", fragmentationNeeded(600, quoted)), from);
    await eventually("an error about another host is believed", () => mtuTo(other) === 600);
  }

  const echoes = (place = container): number => {
    const [names = [], values = []] = place
      .shell("grep ^Icmp: /proc/net/snmp")
      .split("\n")
      .map((line) => line.split(" "));
    return Number(values[names.indexOf("InEchos")]);
  };

  for (const [where, address] of [
    ["the VTEP address", "10.99.0.1"],
    ["another address of the host", "10.99.0.101"],
  ] as const)
    it(`drops a stranger's frames in a network of this node, sent to ${where}`, () => {
      const count = echoes();
      router.shell(`
        ip link add vx type vxlan id ${vni} dstport 4789 remote ${address} local 10.99.0.77
        ip link set vx up; ip addr add 10.0.0.66/24 dev vx
        ip neigh add 10.0.0.1 lladdr 02:aa:00:00:00:01 dev vx
        ping -c 3 -i 0.05 -W 0.2 10.0.0.1 || true
        ip link del vx`);
      assert.equal(echoes(), count);
    });

  it("is what its rules are judged to be, with sets asked for what they have", async () => {
    const ruleset = await readRuleset(host().kernel);
    const verdict = async (source: string, destination: string, vni: number): Promise<string> => {
      const payload = [8, 0, 0, 0, vni >> 16, (vni >> 8) & 255, vni & 255, 0];
      const ends = { source: ip(source), destination: ip(destination), protocol: UDP, destinationPort: 4789 };
      const judgement = await judgeIn(host().kernel, ruleset, { ...ends, payload, conntrack: "new" }, toHost);
      return judgement.verdict;
    };
    assert.deepEqual(
      [
        await verdict("10.99.0.2", "10.99.0.1", vni),
        await verdict("10.99.0.77", "10.99.0.1", vni),
        await verdict("10.99.0.2", "10.99.0.101", vni),
        await verdict("10.99.0.77", "10.99.0.1", 99),
        await verdict("fd99::2", "fd99::1", 4243),
        await verdict("fd99::2", "fd99::1", vni),
      ],
      ["accept", "drop", "drop", "accept", "accept", "drop"],
    );
  });

  it("takes frames from VTEPs of the network, and from those of another on the same port none", async () => {
    const places = [
      [vni, container, 1],
      [otherVni, other, 2],
      [4243, overIpv6, 3],
    ] as const;
    const [first, second, six] = places;
    const expected = new Map<TestNamespace, number>();
    /** Sends three echo requests from this VTEP, and waits for them where they arrive. */
    const send = async (isLetIn: boolean, vtep: string, [id, place, number]: (typeof places)[number]) => {
      const count = (expected.get(place) ?? echoes(place)) + (isLetIn ? 3 : 0);
      expected.set(place, count);
      router.shell(`
        ip link add vx type vxlan id ${id} dstport 4789 remote ${vtep.includes(":") ? "fd99::1" : "10.99.0.1"} local ${vtep}
        ip link set vx up; ip addr add 10.0.0.66/24 dev vx
        ip neigh add 10.0.0.1 lladdr 02:aa:00:00:00:0${number} dev vx
        ping -c 3 -i 0.05 -W 0.2 10.0.0.1 || true`);
      await eventually(`${count} echo requests have arrived from ${vtep}`, () => echoes(place) >= count);
      router.shell("ip link del vx");
    };
    // The last to each place are let in: what arrived before them came in, too.
    await send(false, "10.99.0.78", first); // It hosts another network,
    await send(true, "10.99.0.78", second); // and this one.
    await send(true, "10.99.0.79", first); // It hosts both.
    await send(true, "10.99.0.79", second);
    await send(false, "fd99::77", six); // A stranger.
    await send(true, "fd99::79", six); // It hosts this one.
    for (const [place, count] of expected) assert.equal(echoes(place), count);
  });

  it("knows a VTEP that comes to a network, and one that leaves it, without running nft", async () => {
    const set = (): string => host().shell(`nft list set inet weft-${instance} members4`);
    await settled(dataplane);
    nftRuns = 0;
    const network = dataplane.networks.get("net");
    network?.putRemote({
      id: "0000000000bf",
      mac: mac("02:aa:00:00:01:0f"),
      ips: [],
      source: { name: "server", node: "n" },
      vtep: ip("10.99.0.60"),
    });
    await dataplane.changed();
    assert.match(set(), /0x1092 \. 10\.99\.0\.60/);
    network?.removeRemote("0000000000bf");
    await dataplane.changed();
    assert.doesNotMatch(set(), /10\.99\.0\.60/);
    await settled(dataplane);
    assert.equal(nftRuns, 0);
  });

  it("leaves a tunnel of another program alone, on the same port", () => {
    for (const address of ["10.99.0.101", "10.99.0.1"]) {
      host().shell(`
        ip link add other type vxlan id 77 dstport 4789 local ${address} remote 10.99.0.77
        ip link set other up; ip addr add 10.96.0.1/24 dev other`);
      router.shell(`
        ip link add other type vxlan id 77 dstport 4789 local 10.99.0.77 remote ${address}
        ip link set other up; ip addr add 10.96.0.2/24 dev other
        ping -c 3 -i 0.05 -W 5 10.96.0.1
        ip link del other`);
      host().shell("ip link del other");
    }
  });

  it("leaves alone what the host forwards, whatever its VNI", () => {
    guest.shell(`
      ip link add vx type vxlan id ${vni} dstport 4789 local 10.97.0.2 remote 10.99.0.77
      ip link set vx up; ip addr add 10.95.0.2/24 dev vx`);
    router.shell(`
      ip link add vx type vxlan id ${vni} dstport 4789 local 10.99.0.77 remote 10.97.0.2
      ip link set vx up; ip addr add 10.95.0.1/24 dev vx
      ping -c 3 -i 0.05 -W 5 10.95.0.2
      ip link del vx`);
  });

  for (const [what, quoted] of [
    ["a tunnel packet", ipv4(UDP, "10.99.0.1", "10.99.0.2", bytesOf(quotedUdp))],
    ["a tunnel packet with options", ipv4(UDP, "10.99.0.1", "10.99.0.2", bytesOf(quotedUdp), 3)],
    ["an echo reply", ipv4(ICMP, "10.99.0.1", "10.99.0.2", bytesOf([0, 0, 0, 0, 0, 0, 0, 0]))],
  ] as const)
    it(`does not believe "fragmentation needed" about a VTEP on its link that quotes ${what}`, async () => {
      for (const options of [0, 2])
        send(ipv4(ICMP, "203.0.113.9", "10.99.0.1", fragmentationNeeded(552, quoted), options));
      await judged();
      assert.equal(mtuTo("10.99.0.2"), undefined);
    });

  it('does not believe "packet too big" about a VTEP on its link, neither in one piece nor in fragments', async () => {
    const tooBig = (vtep: string): Uint8Array => {
      const quoted = ipv6(ICMPV6, "fd99::1", vtep, bytesOf([129, 0, 0, 0, 0, 0, 0, 0]));
      return packetTooBig(1300, "fd99::77", "fd99::1", quoted);
    };
    send(ipv6(ICMPV6, "fd99::77", "fd99::1", tooBig("fd99::2")));
    const inFragments = tooBig("fd99::3");
    const header = (offset: number, more: boolean): number[] => [ICMPV6, 0, ...u16(offset | Number(more)), 0, 0, 0, 7];
    send(ipv6(fragmentHeader, "fd99::77", "fd99::1", bytesOf(header(0, true), inFragments.subarray(0, 8))));
    send(ipv6(fragmentHeader, "fd99::77", "fd99::1", bytesOf(header(8, false), inFragments.subarray(8))));
    send(ipv6(ICMPV6, "fd99::77", "fd99::1", tooBig("fd99::c8")));
    await eventually("an error about another host is believed", () => mtuTo("fd99::c8") === 1300);
    assert.equal(mtuTo("fd99::2"), undefined);
    assert.equal(mtuTo("fd99::3"), undefined);
  });

  it("believes a router on the way to a VTEP, and nobody elsewhere nor less than 1,280 octets", async () => {
    const quoted = ipv4(UDP, "10.99.0.1", "10.98.0.2", bytesOf(quotedUdp));
    send(ipv4(ICMP, "10.97.0.2", "10.97.0.1", fragmentationNeeded(1300, quoted)), "guest");
    await judged("guest");
    assert.equal(mtuTo("10.98.0.2"), undefined);
    send(ipv4(ICMP, "10.99.0.77", "10.99.0.1", fragmentationNeeded(552, quoted)));
    await judged();
    assert.equal(mtuTo("10.98.0.2"), undefined);
    host().shell("ping -c 1 -W 5 -M do -s 1450 10.98.0.2 || true");
    assert.equal(mtuTo("10.98.0.2"), 1400);
  });

  it("follows routes: a VTEP on the link that is reached by a router from now on", async () => {
    host().shell("ip route add 10.99.0.2/32 via 10.99.0.77");
    const isRouted = (): boolean =>
      /0xa630002 \. "eth0"/.test(host().shell(`nft list set inet weft-${instance} ways4`));
    await eventually("the filter believes the router", isRouted);
    host().shell("ip route del 10.99.0.2/32 via 10.99.0.77");
    await eventually("the filter is as it was", () => !isRouted());
    await settled(dataplane);
  });

  it("is the table that it is listed as", async () => {
    const before = dataplane.writes;
    await dataplane.audit();
    await settled(dataplane);
    assert.equal(dataplane.writes, before);
    assert.deepEqual(
      events.filter(({ kind }) => kind === "failed"),
      [],
    );
  });
});
