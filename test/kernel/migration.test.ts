/** Endpoints that move to another node while they are in use: prepared there first, and forwarded to until all follow. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mac, macToBytes } from "../../src/base/mac.ts";
import {
  createNetworks,
  idle,
  inLab,
  inSync,
  pings,
  testLab,
  theWholeFile,
  until,
  weft,
  weftDone,
  weftJson,
} from "../support/cluster.ts";
import { inTenant, kernelTables, wantedTables } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";
import { RawInterface } from "../support/raw-frames.ts";
import { TapGuest } from "../support/tap-guest.ts";

await fileRequires("quick processes", "tap");
const file = theWholeFile();
const lab = await testLab(file, { hosts: 3 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 },
  { name: "pods", subnets: ["10.9.0.0/16"], vni: 900, mode: "l3" },
]);
for (const name of ["a", "b", "c", "m", "n", "p"]) lab.addContainer(name);
await lab.attach("a", "h1", "web");
// Whose tunnel packets are welcome a node knows whose agent is away.
await lab.attach("b", "h2", "web");
await lab.attach("c", "h3", "web");
const moving = { mac: mac("02:00:5e:10:00:07"), ips: ["10.1.0.7", "fd01::7"] } as const;
const { id } = await lab.attach("m", "h2", "web", moving);
await inSync(lab, "h1", "h2", "h3");
const a = lab.namespace("a");
file.after(() => a.close());

const server = ["--server", lab.serverSocket];
const at = (container: string): readonly string[] => ["--netns", lab.names.container(container)];

async function refused(...words: readonly string[]): Promise<string> {
  const { status, complaints } = await weft(words);
  assert.equal(status, 1, `weft ${words.join(" ")}`);
  return complaints;
}

const shown = () => weftJson(["endpoint", "show", id, ...server]);

/** It is there alone: all follow, nothing is forwarded, and no kernel has anything else. */
async function assertSettledAt(host: string): Promise<void> {
  await until(async () => {
    const { node, standby, formerNodes } = await shown();
    assert.deepEqual({ node, standby, formerNodes }, { node: host, standby: undefined, formerNodes: undefined });
  });
  await idle(lab, "h1", "h2", "h3");
  for (const each of lab.hosts) {
    const hosts = (await weftJson(["network", "show", "web", ...server])).hosts as { node: string }[];
    if (!hosts.some(({ node }) => node === each)) continue;
    assert.deepEqual(await kernelTables(lab, each, "acme", 100), await wantedTables(lab, each, "web"), each);
    assert.doesNotMatch(await inTenant(lab, each, "acme", "tc", "filter", "show", "dev", "vx100", "ingress"), /weft/);
  }
  for (const ip of moving.ips) await until(async () => assert.ok(await pings(a, ip), ip));
}

/** Counts the answers to so many requests, two milliseconds apart. */
async function answers(count: number): Promise<number> {
  const output = await inLab(lab, "a", "ping", "-q", "-i", "0.002", "-c", `${count}`, "-W", "5", moving.ips[0]);
  return Number(/, (\d+) received/.exec(output)?.[1]);
}

test("by command a container's endpoint comes to a namespace of another node, and hardly a packet is lost", async () => {
  assert.ok(await pings(a, moving.ips[0]));
  const counted = answers(1_000);
  assert.match(
    await weftDone("migrate", moving.ips[0], "--to", "h3", ...at("n"), ...server, "--wait"),
    new RegExp(`^endpoint ${id} \\(10\\.1\\.0\\.7, fd01::7\\): moved from node h2 to node h3 in \\d+ ms\\n`),
  );
  assert.ok((await counted) >= 995, "a packet or two");
  await assertSettledAt("h3");
  assert.equal((await shown()).sequence, 1);
  assert.doesNotMatch(await inLab(lab, "m", "ip", "-o", "link"), /eth0/);
  assert.match(
    await weftDone("events", "--agent", lab.agentSocket("h3")),
    /moved .*10\.1\.0\.7, fd01::7 came from node h2/,
  );
  assert.match(
    await weftDone("events", "--agent", lab.agentSocket("h2")),
    /moved .*10\.1\.0\.7, fd01::7 is on node h3/,
  );
});

test("what a node sends that does not follow yet is forwarded, until it does", async () => {
  await lab.stop("h1");
  const counted = answers(1_000);
  await weftDone("migrate", id, "--to", "h2", ...at("m"), ...server);
  assert.ok((await counted) >= 995, "a packet or two");
  assert.deepEqual((await shown()).formerNodes, ["h3"]);
  assert.match(await weftDone("endpoint", "show", id, ...server), /\nFORWARDED BY +h3\n/);
  // The agent that forwards may start again meanwhile.
  await lab.stop("h3");
  await lab.startAgent("h3");
  await inSync(lab, "h3");
  assert.equal((await lab.agent("h3").getStatus({})).netlinkWrites, 0n);
  assert.ok(await pings(a, moving.ips[0]));
  await lab.startAgent("h1");
  await assertSettledAt("h2");
});

test("it moves back to a node that forwards to it still", async () => {
  await lab.stop("h1");
  for (const [host, container] of [
    ["h3", "n"],
    ["h2", "m"],
    ["h3", "n"],
  ] as const) {
    await weftDone("migrate", id, "--to", host, ...at(container), ...server);
    assert.ok(await pings(a, moving.ips[0]));
  }
  assert.deepEqual((await shown()).formerNodes, ["h2"]);
  await lab.startAgent("h1");
  await assertSettledAt("h3");
});

test("what cannot be is refused, and the endpoint stays where it is", async () => {
  assert.match(
    await refused("migrate", id, "--to", "h2", ...at("gone"), ...server),
    /to node h2: node h2: attach \S+ to network web as eth0: \S+ does not exist/,
  );
  assert.match(
    await refused("migrate", id, "--to", "h2", ...server),
    /attached by a namespace, and nobody said by which/,
  );
  assert.match(await refused("migrate", id, "--to", "h3", ...at("m"), ...server), /it is on node h3 already/);
  assert.match(await refused("migrate", id, "--to", "h9", ...at("m"), ...server), /there is no node h9/);
  assert.match(await refused("migrate", "10.1.0.99", "--to", "h2", ...server), /there is no such endpoint/);
  const pod = await lab.attach("p", "h2", "pods");
  assert.match(
    await refused("migrate", pod.id, "--to", "h3", ...at("m"), ...server),
    /pods is an l3 network, in which addresses belong to blocks of their nodes/,
  );
  await lab.detach("p", "h2", "pods");
  await assertSettledAt("h3");
});

test("a container that stands by gets nothing and sends nothing, until it announces itself", async (t) => {
  const there = ["--agent", lab.agentSocket("h2")];
  assert.match(
    await refused("attach", "web", ...at("m"), "--standby", "fd01::7", ...there),
    /node h3 has it, and nobody has said that it may come here\n {2}try: .*weft migrate \S+ --to h2 --on-announcement/,
  );
  await weftDone("migrate", id, "--to", "h2", "--on-announcement", ...server);
  assert.match(
    await weftDone("attach", "web", ...at("m"), "--standby", "fd01::7", ...there),
    /^eth0 in \S+: 10\.1\.0\.7\/16, fd01::7\/64, .*, on node h3 until it announces itself here\n$/,
  );
  assert.match(await weftDone("endpoint", "show", id, ...server), /\nSTANDBY +h2, when it announces itself there\n/);
  assert.match(
    await refused("migrate", id, "--to", "h1", ...at("p"), ...server),
    /node h2 makes ready to take it over/,
  );
  using m = lab.namespace("m");
  const inside = await RawInterface.open(m, "eth0");
  t.after(() => inside.close());
  assert.match(await weftDone("status", ...there), new RegExp(`${id} +web +stands by`));
  assert.ok(await pings(a, moving.ips[0]));
  assert.ok(await pings(a, moving.ips[1]));
  assert.deepEqual(
    inside.received().filter((frame) => frame[12] === 0x08),
    [],
    "neither IPv4 nor ARP",
  );
  // Not the endpoint's own MAC: somebody else, who says nothing of where it is.
  inside.send(reverseArp("02:00:5e:10:00:08"));
  assert.equal((await shown()).node, "h3");
  const counted = answers(1_000);
  inside.send(reverseArp(moving.mac));
  await until(async () => assert.equal((await shown()).node, "h2"));
  assert.ok((await counted) > 900);
  await assertSettledAt("h2");
});

test("a node that stands by no more has nothing of it left; nor has one whose standing by was cancelled", async () => {
  const there = ["--agent", lab.agentSocket("h3")];
  await weftDone("migrate", id, "--to", "h3", "--on-announcement", ...server);
  await weftDone("attach", "web", ...at("n"), "--standby", id, ...there);
  await weftDone("detach", "web", ...at("n"), ...there);
  await until(async () => assert.equal((await shown()).standby, undefined));
  await weftDone("migrate", id, "--to", "h3", "--on-announcement", ...server);
  await weftDone("attach", "web", ...at("n"), "--standby", id, ...there);
  assert.match(await weftDone("migrate", id, "--cancel", ...server), /stays on node h2, node h3 stands by no more/);
  await until(async () => assert.doesNotMatch(await inLab(lab, "n", "ip", "-o", "link"), /eth0/));
  await assertSettledAt("h2");
});

test("standing by outlasts agents and server that are killed, and so does a move that has begun", async (t) => {
  await weftDone("migrate", id, "--to", "h3", "--on-announcement", ...server);
  await weftDone("attach", "web", ...at("n"), "--standby", id, "--agent", lab.agentSocket("h3"));
  for (const name of ["h2", "h3", "server"]) {
    lab.kill(name);
    if (name === "server") await lab.startServer();
    else await lab.startAgent(name);
    await inSync(lab, "h2", "h3");
    assert.equal((await shown()).standby.node, "h3", name);
    assert.ok(await pings(a, moving.ips[0]), name);
  }
  using n = lab.namespace("n");
  const inside = await RawInterface.open(n, "eth0");
  t.after(() => inside.close());
  // The server is away when the machine speaks.
  await lab.stop("server");
  inside.send(gratuitousArp());
  await lab.startServer();
  await assertSettledAt("h3");
});

test("a virtual machine's tap is made on the other node as it was, and its machine is followed by what it sends", async () => {
  const host2 = lab.namespace("h2");
  const host3 = lab.namespace("h3");
  using guest = testNamespace("guest");
  const vm = { ip: "10.1.0.51", mac: "52:54:00:00:00:01" };
  const powerOn = (namespace: typeof host2): TapGuest => {
    const running = new TapGuest({ namespace, tap: "vm1" }, { namespace: guest.namespace, tap: "card" });
    guest.shell(`ip link set card address ${vm.mac} mtu 1450 up; ip addr replace ${vm.ip}/16 dev card`);
    return running;
  };
  const limits = [
    "--movable",
    "--bandwidth",
    "send=50Mbit",
    "--allowed-address",
    "10.1.0.100",
    "--label",
    "app=db",
    "--owner",
    "1234",
  ];
  const words = ["attach", "web", "--tap", "vm1", "--mac", vm.mac, "--ip", vm.ip, ...limits];
  await weftDone(...words, "--agent", lab.agentSocket("h2"));
  let machine = powerOn(host2);
  await until(async () => assert.ok(await pings(a, vm.ip)));
  // By command, without a word of where, once no machine runs on it.
  assert.match(
    await refused("migrate", vm.ip, "--to", "h3", ...server),
    /a machine has its tap vm1 open: power it off/,
  );
  machine.close();
  await weftDone("migrate", vm.ip, "--to", "h3", ...server);
  machine = powerOn(host3);
  await until(async () => assert.ok(await pings(a, vm.ip)));
  const [link] = JSON.parse(await inLab(lab, "h3", "ip", "-j", "-d", "link", "show", "vm1"));
  assert.equal(link.linkinfo.info_data.user, 1234);
  const { bandwidthUse } = await weftJson([
    ...["endpoint", "show", (await endpointAt(vm.ip)).id, ...server],
    ...["--agent", lab.agentSocket("h3")],
  ]);
  assert.deepEqual(
    bandwidthUse.map(({ direction }: { direction: string }) => direction),
    ["send"],
  );
  await until(async () => assert.doesNotMatch(await inLab(lab, "h2", "ip", "-o", "link"), /vm1/));
  // By its manager, on its own announcement.
  await weftDone("attach", "web", "--tap", "vm1", "--standby", vm.ip, "--agent", lab.agentSocket("h2"));
  machine.close();
  machine = powerOn(host2);
  const inside = await RawInterface.open(guest.namespace, "card");
  inside.send(reverseArp(vm.mac));
  inside.close();
  await until(async () => assert.equal((await endpointAt(vm.ip)).node, "h2"));
  await until(async () => assert.ok(await pings(a, vm.ip)));
  machine.close();
  await weftDone("detach", "web", "--tap", "vm1", "--agent", lab.agentSocket("h2"));
  host2.close();
  host3.close();
  await assertSettledAt("h3");
});

async function endpointAt(ip: string): Promise<{ id: string; node: string }> {
  const list = (await weftJson(["endpoint", "list", ...server])) as { id: string; node: string; ips: string[] }[];
  return list.find(({ ips }) => ips.includes(ip)) as { id: string; node: string };
}

const everybody = "ff:ff:ff:ff:ff:ff";

/** What QEMU sends for a machine that it has moved. */
function reverseArp(of: string): Uint8Array {
  return addressResolution(0x8035, 3, of, "0.0.0.0", "0.0.0.0");
}

function gratuitousArp(): Uint8Array {
  return addressResolution(0x0806, 1, moving.mac, moving.ips[0], moving.ips[0]);
}

function addressResolution(type: number, operation: number, of: string, sender: string, target: string): Uint8Array {
  const own = macToBytes(mac(of));
  const ipv4 = (text: string): number[] => text.split(".").map(Number);
  const head = [...macToBytes(mac(everybody)), ...own, type >> 8, type & 0xff];
  return Uint8Array.from([...head, 0, 1, 8, 0, 6, 4, 0, operation, ...own, ...ipv4(sender), ...own, ...ipv4(target)]);
}
