/** What sits behind the ports of a node and was never declared: it is found, published, moves and is withdrawn. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Event as AgentEvent } from "../../src/api/generated/weft/v1/diagnosis_pb.js";
import { type Ipv4Address, ip } from "../../src/base/ip.ts";
import { broadcastMac, type MacAddress, mac, zeroMac } from "../../src/base/mac.ts";
import { endpointPortName, namespaceName } from "../../src/dataplane/kernel-names.ts";
import {
  EventSocket,
  eventGroup,
  NetworkNamespace,
  neighbourFlag,
  RTM_NEWNEIGH,
  readFdbEntry,
} from "../../src/netlink/index.ts";
import { buildFrame } from "../../src/wire/index.ts";
import {
  idle,
  inLab,
  pings,
  pingsInVain,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { inTenant, kernelTables } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";
import { RawInterface } from "../support/raw-frames.ts";

await fileRequires("quick processes", "nft-inet");

const lab = await testLab(theWholeFile(), { hosts: 3 });
/** Two networks of one tenant: one that forgets late, one that forgets soon and has little room. */
const late = { name: "late", vni: 100, subnets: ["10.1.0.0/16", "fd01::/64"], learningLimit: 16, ageing: 300 };
const soon = { name: "soon", vni: 200, subnets: ["10.2.0.0/16", "fd02::/64"], learningLimit: 3, ageing: 10 };
await lab.admin.apply({
  resources: [
    { resource: { case: "tenant", value: { name: "acme" } } },
    ...[late, soon].map((network) => ({
      resource: { case: "network" as const, value: { tenant: "acme", ...network } },
    })),
  ],
});
const containers = [
  ["a", "h1", "late"],
  ["b", "h2", "late"],
  ["c", "h3", "late"],
  ["s", "h1", "soon"],
  ["t", "h2", "soon"],
  ["u", "h1", "soon"],
  ["thief", "h1", "late"],
] as const;
const ids = new Map<string, string>();
for (const [name, host, network] of containers) {
  lab.addContainer(name);
  ids.set(name, (await lab.attach(name, host, network)).id);
}
await idle(lab, "h1", "h2", "h3");

interface Guest {
  readonly name: string;
  readonly mac: string;
  readonly ips: readonly [ipv4: string, ipv6: string];
}

/** Makes the container's interface a port of a bridge inside, as nested containers and virtual machines have it. */
async function nest(container: string): Promise<void> {
  const script = "ip link add nest type bridge; ip link set eth0 master nest; ip link set nest up";
  await inLab(lab, container, "sh", "-ec", script);
}

/** Puts a guest behind the bridge inside the container. It takes its addresses with it, and says nothing by itself. */
async function plug(guest: Guest, container: string): Promise<void> {
  lab.addContainer(guest.name);
  const netns = lab.names.container(guest.name);
  const port = `p${guest.name}`;
  const create = `ip link add ${port} master nest type veth peer name eth0 address ${guest.mac} netns ${netns}`;
  await inLab(lab, container, "sh", "-ec", `${create}; ip link set ${port} up`);
  const addresses = guest.ips.map((address, index) => `ip addr add ${address}/${index === 0 ? 16 : 64} dev eth0`);
  const silence =
    "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/eth0/router_solicitations";
  await inLab(lab, guest.name, "sh", "-ec", `${silence}; ${addresses.join("; ")}; ip link set eth0 up`);
}

function unplug(guest: Guest): void {
  lab.removeContainer(guest.name);
}

const guest = (number: number, network: 1 | 2 = 1): Guest => ({
  name: `${network === 1 ? "g" : "k"}${number}`,
  mac: `02:00:00:00:0${network}:${number.toString(16).padStart(2, "0")}`,
  ips: [`10.${network}.9.${number}`, `fd0${network}::9:${number}`],
});

/** An ARP announcement. RFC 5227 §3. */
function announcement(source: MacAddress, address: string): Uint8Array {
  const own = { senderMac: source, senderIp: ip(address) as Ipv4Address };
  return buildFrame([
    { protocol: "ethernet", header: { destination: broadcastMac, source, etherType: "arp" } },
    { protocol: "arp", header: { operation: "request", ...own, targetMac: zeroMac, targetIp: own.senderIp } },
  ]);
}

async function endpoints(network: string) {
  const { resources } = await lab.admin.list({ kind: "endpoint", network });
  return resources.flatMap(({ resource }) => (resource.case === "endpoint" ? [resource.value] : []));
}

async function endpointOf(network: string, address: string) {
  return (await endpoints(network)).find((each) => each.mac === address);
}

/** What the kernel of a host has to do with a guest. */
async function rowsOf(host: string, vni: number, { mac: address }: Guest): Promise<string[]> {
  return (await kernelTables(lab, host, "acme", vni)).filter((row) => row.includes(address));
}

const rowsTowards = (vtep: string, vni: number, { mac: address, ips }: Guest): string[] => [
  `bridge ${address} dev vx${vni}`,
  ...ips.map((one) => `neighbour ${one} ${address} PERMANENT`),
  `tunnel ${address} via ${vtep}`,
];

/** A guest that asked over IPv4 alone is not known by its other address. */
const isOfNoIpv6 = (row: string): boolean => !row.startsWith("neighbour fd");

/** When the kernel of a host got its row for each MAC, by the clock of this process. */
function watchRows(t: TestContext, host: string): Map<MacAddress, number> {
  const times = new Map<MacAddress, number>();
  using namespace = NetworkNamespace.openNamed(namespaceName(lab.names.instance(host), "acme"));
  const socket = new EventSocket({
    namespace,
    groups: [eventGroup.neighbour],
    onEvent: ({ type, bytes, view, start, end }) => {
      const entry = type === RTM_NEWNEIGH ? readFdbEntry(bytes, view, start, end) : undefined;
      if (entry === undefined || (entry.flags & neighbourFlag.externallyLearned) === 0) return;
      if (!times.has(entry.mac)) times.set(entry.mac, performance.now());
    },
    onOverrun: () => {},
  });
  t.after(() => socket.close());
  return times;
}

/** Counts, in the kernel of a host, what of address resolution leaves it in VXLAN packets. */
async function countResolution(host: string): Promise<() => Promise<number>> {
  const etherType = "@th,224,16";
  const rules = [
    `udp dport 4789 ${etherType} 0x0806 counter name resolution`,
    `udp dport 4789 ${etherType} 0x86dd @th,288,8 58 @th,560,8 { 135, 136 } counter name resolution`,
  ];
  const chain = `chain out { type filter hook output priority 0; ${rules.join("; ")}; }`;
  await inLab(lab, host, "nft", `table inet count { counter resolution {}; ${chain}; }`);
  return async () => {
    const listing = await inLab(lab, host, "nft", "-j", "list", "counter", "inet", "count", "resolution");
    const { nftables } = JSON.parse(listing) as { nftables: { counter?: { packets: number } }[] };
    return nftables.find(({ counter }) => counter !== undefined)?.counter?.packets ?? Number.NaN;
  };
}

const g1 = guest(1);
const g2 = guest(2);
const g3 = guest(3);
const k1 = guest(1, 2);
const k2 = guest(2, 2);

test("what is behind a bridge in a container is programmed on other hosts at its first frame", async (t) => {
  await nest("a");
  using a = lab.namespace("a");
  const raw = await RawInterface.open(a, "eth0");
  t.after(() => raw.close());
  const times = watchRows(t, "h2");
  const taken: number[] = [];
  for (let number = 0; number < 8; number++) {
    const address = mac(`02:00:00:00:0f:0${number}`);
    const began = performance.now();
    raw.send(announcement(address, `10.1.8.${number + 1}`));
    await until(() => assert.ok(times.has(address)));
    taken.push(Math.round((times.get(address) ?? 0) - began));
    await until(async () =>
      assert.match(
        (await kernelTables(lab, "h2", "acme", 100)).join("\n"),
        new RegExp(`10.1.8.${number + 1} ${address}`),
      ),
    );
  }
  t.diagnostic(`from the first frame to the row in the other host's kernel: ${taken.join(", ")} ms`);
  // A machine that is busy all the time is not for each of them; what waits for a round of looking is late each time.
  assert.ok(Math.min(...taken) < 1_000);
});

test("guests are reached over IPv4 and IPv6, and their address resolution does not cross once they are known", async () => {
  await plug(g1, "a");
  await plug(g2, "a");
  using b = lab.namespace("b");
  using first = lab.namespace("g1");
  const [b4 = "", b6 = ""] = (await endpoints("late")).find(({ id }) => id === ids.get("b"))?.ips ?? [];
  for (const address of [b4, b6]) assert.ok(await pings(first, address), `g1 reaches ${address}`);
  await until(async () => assert.deepEqual(await rowsOf("h2", 100, g1), rowsTowards("192.0.2.1", 100, g1)));
  // The second one never spoke of itself: it is asked for, and answers.
  for (const address of g2.ips) assert.ok(await pings(b, address), `b reaches ${address}`);
  await until(async () => assert.deepEqual(await rowsOf("h2", 100, g2), rowsTowards("192.0.2.1", 100, g2)));
  const count = await countResolution("h2");
  await inLab(lab, "b", "ip", "neigh", "flush", "all");
  for (const address of [...g1.ips, ...g2.ips]) assert.ok(await pings(b, address), `b reaches ${address}`);
  assert.equal(await count(), 0);
  // What nobody knows is still asked for across.
  assert.ok(await pingsInVain(b, "10.1.7.7"));
  assert.ok((await count()) > 0);
});

test("weft shows what was learned here, and what the server says of it elsewhere", async () => {
  const row = async (table: string, host: string, key: string) =>
    (await weftJson([table, "--agent", lab.agentSocket(host)])).find((each: { key: string }) => each.key === key);
  const port = endpointPortName(ids.get("a") ?? "");
  const { device, actual, origin, state } = await row("fdb", "h1", g1.mac);
  assert.deepEqual(
    { device, actual, origin, state },
    { device: port, actual: port, origin: "learned", state: "learned" },
  );
  assert.equal((await row("neighbours", "h1", g1.ips[1])).origin, "learned");
  assert.equal((await row("fdb", "h2", g1.mac)).origin, "control-plane");
  assert.equal((await row("neighbours", "h2", g1.ips[0])).origin, "control-plane");
  const events = await weft(["events", "--agent", lab.agentSocket("h1")]);
  assert.match(events.output, new RegExp(`learned.*${g1.mac}.*${g1.ips[0]}`));
});

test("further addresses of a declared MAC are published with its endpoint, whose interface stays as it is", async () => {
  await inLab(lab, "b", "ip", "addr", "add", "10.1.6.1/16", "dev", "eth0");
  using first = lab.namespace("g1");
  assert.ok(await pings(first, "10.1.6.1"));
  const id = ids.get("b") ?? "";
  await until(async () => {
    const endpoint = (await endpoints("late")).find((each) => each.id === id);
    assert.deepEqual(endpoint?.learnedIps, ["10.1.6.1"]);
    assert.match((await kernelTables(lab, "h1", "acme", 100)).join("\n"), new RegExp(`10.1.6.1 ${endpoint?.mac}`));
  });
  await idle(lab, "h1", "h2");
  const links = await inLab(lab, "b", "ip", "-o", "-4", "addr", "show", "dev", "eth0");
  assert.equal(links.match(/10\.1\.6\.1/g)?.length, 1);
  await inLab(lab, "b", "ip", "addr", "del", "10.1.6.1/16", "dev", "eth0");
});

test("a virtual address that goes to another MAC on another host, and back, is found by the containers of all hosts at once", async () => {
  const address = "10.1.6.2";
  const of = async (name: string) => (await endpoints("late")).find(({ id }) => id === ids.get(name));
  const macs = { b: (await of("b"))?.mac ?? "", c: (await of("c"))?.mac ?? "" };
  // A witness beside each, so that all must be told by their own hosts.
  const witnesses = { "by-a": "h1", "by-b": "h2", "by-c": "h3" };
  for (const [name, host] of Object.entries(witnesses)) {
    lab.addContainer(name);
    await lab.attach(name, host, "late");
    await inLab(lab, name, "sysctl", "-qw", "net.ipv4.neigh.eth0.base_reachable_time_ms=3600000");
  }
  for (const [from, to] of [
    ["c", "b"],
    ["b", "c"],
    ["c", "b"],
  ] as const) {
    await inLab(lab, from, "ip", "addr", "flush", "dev", "eth0", "to", address);
    await inLab(lab, to, "ip", "addr", "add", `${address}/16`, "dev", "eth0");
    using namespace = lab.namespace(to);
    const raw = await RawInterface.open(namespace, "eth0");
    raw.send(announcement(mac(macs[to]), address));
    raw.close();
    await until(async () => assert.ok((await of(to))?.learnedIps.includes(address)));
    for (const name of Object.keys(witnesses))
      await until(async () => {
        await inLab(lab, name, "ping", "-c", "1", "-w", "5", address);
        assert.match(await inLab(lab, name, "ip", "neigh", "show", address), new RegExp(macs[to]));
      });
  }
  await inLab(lab, "b", "ip", "addr", "del", `${address}/16`, "dev", "eth0");
  for (const [name, host] of Object.entries(witnesses)) {
    await lab.detach(name, host, "late");
    lab.removeContainer(name);
  }
  await idle(lab, "h1", "h2", "h3");
});

test("a guest that moves behind a port of another host is followed, and keeps its endpoint", async () => {
  const before = await endpointOf("late", g1.mac);
  assert.equal(before?.node, "h1");
  unplug(g1);
  await nest("c");
  await plug(g1, "c");
  using c = lab.namespace("c");
  const raw = await RawInterface.open(c, "eth0");
  raw.send(announcement(mac(g1.mac), g1.ips[0]));
  raw.close();
  await until(async () => assert.equal((await endpointOf("late", g1.mac))?.node, "h3"));
  const after = await endpointOf("late", g1.mac);
  assert.equal(after?.id, before?.id);
  assert.equal(after?.sequence, (before?.sequence ?? 0n) + 1n);
  using b = lab.namespace("b");
  for (const address of g1.ips) assert.ok(await pings(b, address), `b reaches ${address}`);
  for (const host of ["h1", "h2"])
    await until(async () => assert.deepEqual(await rowsOf(host, 100, g1), rowsTowards("192.0.2.3", 100, g1), host));
  assert.deepEqual(await rowsOf("h3", 100, g1), [], "h3 has it of the traffic");
  using second = lab.namespace("g2");
  for (const address of g1.ips) assert.ok(await pings(second, address), `g2, which stayed, reaches ${address}`);
});

test("an agent that is killed and started again keeps what it published", async () => {
  const learned = async () =>
    (await endpoints("late"))
      .filter(({ attachment }) => attachment === "learned")
      .map(({ id, mac: address, ips, sequence }) => ({ id, address, ips, sequence }));
  const before = await learned();
  assert.ok(before.length > 2);
  for (const host of ["h1", "h3"]) {
    lab.kill(host);
    await lab.startAgent(host);
  }
  await idle(lab, "h1", "h3");
  // What is found later is published later.
  for (const [index, [container, host]] of (
    [
      ["a", "h1"],
      ["c", "h3"],
    ] as const
  ).entries()) {
    const late = mac(`02:00:00:00:0d:0${index}`);
    using namespace = lab.namespace(container);
    const raw = await RawInterface.open(namespace, "eth0");
    raw.send(announcement(late, `10.1.8.${100 + index}`));
    raw.close();
    await until(async () => assert.equal((await endpointOf("late", late))?.node, host));
  }
  // A device inside a container may be heard for the first time meanwhile: it solicits routers when its kernel likes.
  const known = new Set(before.map(({ address }) => address));
  assert.deepEqual(
    (await learned()).filter(({ address }) => known.has(address)),
    before,
  );
  assert.equal((await lab.agent("h1").getStatus({})).endpoints.length, 4, "what is declared, alone");
});

test("what the kernel told while the agent did not listen is found by looking", async (t) => {
  const pid = lab.processes.find(({ name }) => name === "h1")?.pid ?? assert.fail();
  const address = mac("02:00:00:00:0f:77");
  process.kill(pid, "SIGSTOP");
  try {
    // More than the socket holds, of entries that are none of the network's concern.
    const churn = Array.from({ length: 20_000 }, (_, number) => {
      const other = `02:00:00:01:${(number >> 8).toString(16)}:${(number & 0xff).toString(16)}`;
      const entry = `${other} dev vx100 master static`;
      return `fdb add ${entry}\nfdb del ${entry}\n`;
    });
    const file = join(testDirectory(t), "churn");
    writeFileSync(file, churn.join(""));
    await inTenant(lab, "h1", "acme", "bridge", "-batch", file);
    using a = lab.namespace("a");
    const raw = await RawInterface.open(a, "eth0");
    const header = { destination: mac("02:00:00:00:0f:78"), source: address, etherType: { unknown: 0x88b5 } };
    raw.send(buildFrame([{ protocol: "ethernet", header }]));
    raw.close();
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await until(async () => assert.equal((await endpointOf("late", address))?.node, "h1"));
  const { output } = await weft(["events", "--agent", lab.agentSocket("h1")]);
  assert.match(output, /resynchronised/);
});

test("what is found while the server is dead is published when it is back", async () => {
  lab.kill("server");
  await plug(g3, "a");
  using third = lab.namespace("g3");
  // Nobody answers: that it asks is all that there is of it.
  await pingsInVain(third, "10.1.7.7");
  await until(async () => {
    const found = (await weftJson(["fdb", "--agent", lab.agentSocket("h1")])) as { key: string }[];
    assert.ok(found.some(({ key }) => key === g3.mac));
  });
  await lab.startServer();
  await until(async () => {
    const { ips = [], node } = (await endpointOf("late", g3.mac)) ?? {};
    assert.deepEqual([node, ...ips], ["h1", g3.ips[0]]);
  });
  await idle(lab, "h1", "h2", "h3");
  using b = lab.namespace("b");
  for (const address of g3.ips) assert.ok(await pings(b, address), `b reaches ${address}`);
});

test("what falls silent is withdrawn everywhere, also what did so while its agent was down", async () => {
  const places = [
    { guest: k1, container: "s", host: "h1" },
    { guest: k2, container: "t", host: "h2" },
  ] as const;
  for (const { guest: each, container, host } of places) {
    await nest(container);
    await plug(each, container);
    using inside = lab.namespace(each.name);
    // Nobody answers: that it asks is all that there is of it.
    await pingsInVain(inside, "10.2.7.7");
    await until(async () => assert.equal((await endpointOf("soon", each.mac))?.node, host));
  }
  lab.kill("h2");
  for (const { guest: each } of places) unplug(each);
  await until(async () =>
    assert.deepEqual(await rowsOf("h1", 200, k2), rowsTowards("192.0.2.2", 200, k2).filter(isOfNoIpv6)),
  );
  await sleep(soon.ageing * 1_000 + 1_000);
  await lab.startAgent("h2");
  await until(async () => assert.equal(await endpointOf("soon", k1.mac), undefined));
  await until(async () => assert.equal(await endpointOf("soon", k2.mac), undefined));
  const told: AgentEvent[] = [];
  for await (const event of lab.agent("h2").watchEvents({ follow: false })) told.push(event);
  const timeOf = (kind: string, what: string): number =>
    Number(told.find((event) => event.kind === kind && `${event.object} ${event.message}`.includes(what))?.time);
  const waited = timeOf("withdrawn", k2.mac) - timeOf("connected", "");
  assert.ok(waited > soon.ageing * 900, `the agent waited ${waited} ms for what it knew to be heard of`);
  await idle(lab, "h1", "h2");
  await until(async () => assert.deepEqual([...(await rowsOf("h1", 200, k2)), ...(await rowsOf("h2", 200, k1))], []));
  const events = await weft(["events", "--agent", lab.agentSocket("h1")]);
  assert.match(events.output, new RegExp(`withdrawn.*${k1.mac}.*${k1.ips[0]}.*not heard of`));
});

test("a flood of MAC addresses behind a port fills neither the server nor the bridge", async (t) => {
  using u = lab.namespace("u");
  const raw = await RawInterface.open(u, "eth0");
  t.after(() => raw.close());
  const port = endpointPortName(ids.get("u") ?? "");
  const flood = (from: number, to: number): void => {
    for (let number = from; number < to; number++)
      raw.send(announcement(mac(`02:00:00:00:0e:${number.toString(16).padStart(2, "0")}`), `10.2.5.${number + 1}`));
  };
  const learned = async () => (await endpoints("soon")).filter(({ attachment }) => attachment === "learned");
  const inBridge = async (): Promise<number> =>
    (await inTenant(lab, "h1", "acme", "bridge", "fdb", "show", "br", "br200")).match(/02:00:00:00:0e/g)?.length ?? 0;
  flood(0, 6);
  await until(async () => assert.equal((await learned()).length, soon.learningLimit));
  const published = await learned();
  flood(6, 200);
  await until(async () =>
    assert.match(await inTenant(lab, "h1", "acme", "bridge", "-d", "link", "show", "dev", port), /learning off/),
  );
  await until(async () => assert.equal(await inBridge(), 0));
  flood(0, 200);
  // What comes behind the flood has arrived elsewhere.
  using t2 = lab.namespace("t");
  const elsewhere = await RawInterface.open(t2, "eth0");
  t.after(() => elsewhere.close());
  const header = { destination: broadcastMac, source: mac("02:00:00:00:0e:ff"), etherType: { unknown: 0x88b5 } };
  const last = Buffer.concat([buildFrame([{ protocol: "ethernet", header }]), new Uint8Array(46)]);
  await until(() => {
    raw.send(last);
    assert.ok(elsewhere.received().some((frame) => Buffer.compare(frame.subarray(0, last.length), last) === 0));
  });
  assert.equal(await inBridge(), 0);
  assert.deepEqual(await learned(), published, "those that had room are published");
  const { output } = await weft(["events", "--agent", lab.agentSocket("h1")]);
  assert.match(output, new RegExp(`limited.*port of endpoint ${ids.get("u")}.*more than 3 MAC addresses`));
  assert.match(output, /limited.*nothing is learned there for 60 s/);
  await until(async () => assert.ok((await lab.agent("h1").getStatus({})).inSync));
});

test("a MAC address that was declared cannot be taken away by frames from behind another port", async (t) => {
  const victims = [
    { id: ids.get("a") ?? "", device: endpointPortName(ids.get("a") ?? "") },
    { id: ids.get("b") ?? "", device: "vx100" },
  ];
  using c = lab.namespace("thief");
  const raw = await RawInterface.open(c, "eth0");
  t.after(() => raw.close());
  for (const { id, device } of victims) {
    const { mac: address = "", ips = [] } = (await endpoints("late")).find((each) => each.id === id) ?? {};
    for (let number = 0; number < 100; number++) raw.send(announcement(mac(address), ips[0] ?? ""));
    await until(async () =>
      assert.match(
        await inTenant(lab, "h1", "acme", "bridge", "fdb", "show", "br", "br100"),
        new RegExp(`^${address} dev ${device} extern_learn master`, "m"),
      ),
    );
  }
  const port = endpointPortName(ids.get("thief") ?? "");
  await until(async () =>
    assert.match(await inTenant(lab, "h1", "acme", "bridge", "-d", "link", "show", "dev", port), /learning off/),
  );
  const { output } = await weft(["events", "--agent", lab.agentSocket("h1")]);
  assert.match(output, /refused.*is used behind the port of endpoint .*was declared with it/);
});

test("what was behind a port is withdrawn at once with it", async () => {
  await lab.detach("u", "h1", "soon");
  await lab.detach("a", "h1", "late");
  await until(async () => {
    const left = [...(await endpoints("soon")), ...(await endpoints("late"))];
    assert.deepEqual(
      left.filter(({ attachment, node }) => attachment === "learned" && node === "h1"),
      [],
    );
  });
  await idle(lab, "h1", "h2", "h3");
  await until(async () => assert.deepEqual(await rowsOf("h2", 100, g2), []));
  assert.equal((await rowsOf("h2", 100, g1)).length, 4, "what is elsewhere stays");
});
