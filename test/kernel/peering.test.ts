/**
 * A layer-2 network of one tenant and a layer-3 network of another, carried in different ways, that are peers: packets pass between the two
 * once both name each other, on one host and between hosts, and between no others.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import {
  createNetworks,
  idle,
  inLab,
  type NetworkWish,
  pings,
  pingsInVain,
  testLab,
  theWholeFile,
  until,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { fileRequires, requires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");

const hosts = ["h1", "h2", "h3"] as const;
const carried = requires("geneve").skip === false ? { encapsulation: "geneve" } : { port: 8472 };
const gateway = "distributed";
/** The first of each tenant is the one that becomes a peer. */
const networks = {
  front: { tenant: "blue", subnets: ["10.1.0.0/24", "fd01::/64"], vni: 6001, gateway },
  back: { tenant: "blue", subnets: ["10.2.0.0/24", "fd02::/64"], vni: 6002, gateway },
  db: {
    tenant: "red",
    subnets: ["10.11.0.0/24", "fd11::/64"],
    vni: 6011,
    gateway,
    mode: "l3",
    ...carried,
    underlay: "ipv6",
  },
  side: { tenant: "red", subnets: ["10.12.0.0/24", "fd12::/64"], vni: 6012, gateway, mtu: 1350 },
} satisfies Record<string, Omit<NetworkWish, "name">>;
type Name = keyof typeof networks;

const lab = await testLab(theWholeFile(), { hosts: hosts.length });
const wishOf = (name: Name, changes: Partial<NetworkWish> = {}): NetworkWish => ({
  ...networks[name],
  name,
  ...changes,
});
await createNetworks(
  lab,
  (Object.keys(networks) as Name[]).map((name) => wishOf(name)),
);

const places: Record<string, { readonly host: string; readonly network: Name }> = {
  "front-1": { host: "h1", network: "front" },
  "back-1": { host: "h1", network: "back" },
  "db-1": { host: "h1", network: "db" },
  "side-1": { host: "h1", network: "side" },
  "front-2": { host: "h2", network: "front" },
  "db-3": { host: "h3", network: "db" },
  "side-3": { host: "h3", network: "side" },
};
const addresses = new Map<string, readonly string[]>();
for (const [name, { host, network }] of Object.entries(places)) {
  lab.addContainer(name);
  addresses.set(name, (await lab.attach(name, host, network)).ips);
}
await idle(lab, ...hosts);

const addressesOf = (name: string): readonly string[] => addresses.get(name) ?? [];
const named = (network: Name): string[] => Object.keys(places).filter((name) => places[name]?.network === network);

async function set(name: Name, changes: Partial<NetworkWish>): Promise<void> {
  const value = { tenant: "acme", ...wishOf(name, changes) };
  const { revision } = await lab.admin.apply({
    resources: [{ resource: { case: "network", value: { ...value, subnets: [...value.subnets] } } }],
  });
  for await (const _ of lab.admin.waitInPlace({ networks: Object.keys(networks), revision }));
  await idle(lab, ...hosts);
}

/** Counts what comes to the containers of a network from elsewhere, from now on. Returns what came so far. */
async function countArrivals(...names: readonly string[]): Promise<() => Promise<number>> {
  for (const name of names) {
    const own = networks[places[name]?.network ?? "front"].subnets;
    await inLab(
      lab,
      name,
      "nft",
      `table inet arrivals; delete table inet arrivals; table inet arrivals { chain in { type filter hook prerouting priority -400;
      icmp type echo-request ip saddr != ${own[0]} counter; icmpv6 type echo-request ip6 saddr != ${own[1]} counter; }; }`,
    );
  }
  return async () => {
    let all = 0;
    for (const name of names)
      for (const [, packets] of (await inLab(lab, name, "nft", "list table inet arrivals")).matchAll(/packets (\d+)/g))
        all += Number(packets);
    return all;
  };
}

async function reach(from: readonly string[], to: readonly string[]): Promise<void> {
  for (const one of from) {
    using namespace = lab.namespace(one);
    for (const other of to)
      for (const address of addressesOf(other))
        assert.ok(await pings(namespace, address), `${one} -> ${other}: ${address}`);
  }
}

/** Not one of the frames that are sent arrives. */
async function reachInVain(from: readonly string[], to: readonly string[]): Promise<void> {
  const arrived = await countArrivals(...to);
  for (const one of from) {
    using namespace = lab.namespace(one);
    for (const other of to)
      for (const address of addressesOf(other))
        assert.ok(await pingsInVain(namespace, address), `${one} -> ${other}: ${address}`);
  }
  assert.equal(await arrived(), 0, `${from} -> ${to}`);
}

/** Whether the host has a namespace of the tenant. */
async function knows(host: string, tenant: string): Promise<boolean> {
  return (await inLab(lab, host, "ip", "netns")).includes(`${lab.names.instance(host)}-${tenant}`);
}

/** Devices that lead to other tenants. */
const links = async (host: string, tenant: string): Promise<string[]> =>
  (await inTenant(lab, host, tenant, "ip", "-br", "link")).split("\n").filter((line) => line.startsWith("pr"));

const [fronts, dbs] = [named("front"), named("db")];

test("nothing passes while one side alone has declared it, nor is anything of it on the hosts", async () => {
  await set("front", { peers: ["red/db"] });
  const { peers } = await lab.admin.list({ kind: "network", name: "front" });
  assert.equal(peers[0]?.obstacle, "waits for network db of tenant red to declare it, too");
  await reachInVain(fronts, dbs);
  await reachInVain(dbs, fronts);
  for (const tenant of ["blue", "red"]) assert.deepEqual(await links("h1", tenant), []);
  assert.ok(!(await knows("h2", "red")), "a host without anything of a tenant is not told of it");
});

test("once both have, IPv4 and IPv6 pass on one host and between hosts", async () => {
  await set("db", { peers: ["blue/front"] });
  const { peers, hosts: shown } = await lab.admin.list({ kind: "network", name: "db" });
  assert.deepEqual([peers[0]?.tenant, peers[0]?.obstacle], ["blue", ""]);
  // The host of a peer has it, and nothing else of its tenant.
  assert.deepEqual(
    shown.map(({ node, endpoints }) => [node, endpoints]),
    [
      ["h1", 1],
      ["h2", 0],
      ["h3", 1],
    ],
  );
  const onH2 = await inTenant(lab, "h2", "red", "ip", "-br", "link");
  assert.ok(onH2.includes("br6011") && !onH2.includes("br6012"), onH2);
  await reach(fronts, dbs);
  await reach(dbs, fronts);
  using from = lab.namespace("front-1");
  const { output } = await runProgram(from, "ping", ["-c", "1", "-w", "10", addressesOf("db-3")[0] ?? ""]);
  // Twice on the host of the sender, db-3; once more on that of front-1 would be in a layer-3 network.
  assert.match(output, /ttl=62/);
});

test("no other network of either tenant has a part in it", async () => {
  await reachInVain(["back-1"], [...dbs, ...named("side")]);
  await reachInVain(fronts, named("side"));
  await reachInVain(named("side"), ["front-1", "front-2", "back-1"]);
  await reachInVain(dbs, ["back-1"]);
  // Dropped on its host, which routes for others.
  const { 0: four = "" } = addressesOf("db-1");
  const before = await dropped("h1", "blue");
  using back = lab.namespace("back-1");
  assert.ok(await pingsInVain(back, four));
  assert.ok((await dropped("h1", "blue")) > before);
});

/** Packets that the routing filter kept from the devices to other tenants. */
async function dropped(host: string, tenant: string): Promise<number> {
  const listed = await inTenant(lab, host, tenant, "nft", "list", "chain", "inet", "weft-routing", "forward");
  return Number(/oifname @peerings counter packets (\d+)/.exec(listed)?.[1]);
}

test("a source of another network does not pass, whether the port lets it out or not", async () => {
  const { 0: four = "" } = addressesOf("db-3");
  for (const antiSpoof of [true, false]) {
    await set("front", { peers: ["red/db"], antiSpoof });
    await inLab(lab, "front-1", "ip", "addr", "replace", "10.2.0.77/32", "dev", "eth0");
    const arrived = await countArrivals("db-3");
    using from = lab.namespace("front-1");
    const { status } = await runProgram(from, "ping", ["-c", "2", "-i", "0.1", "-W", "1", "-I", "10.2.0.77", four]);
    assert.notEqual(status, 0);
    assert.equal(await arrived(), 0);
    await inLab(lab, "front-1", "ip", "addr", "del", "10.2.0.77/32", "dev", "eth0");
    assert.ok(await pings(from, four), "while its own gets through");
    assert.equal(await arrived(), 1);
  }
  await set("front", { peers: ["red/db"] });
});

test("a policy with the peer's subnet holds, on either side", async () => {
  const { 0: four = "", 1: six = "" } = addressesOf("db-3");
  using from = lab.namespace("front-1");
  for (const [tenant, direction, peer] of [
    ["blue", "egress", "10.11.0.0/24"],
    ["red", "ingress", "10.1.0.0/24"],
  ] as const) {
    const rules = [{ direction, action: "deny", peers: [{ subnet: peer }] }];
    await lab.admin.apply({ resources: [{ resource: { case: "policy", value: { name: "apart", tenant, rules } } }] });
    await idle(lab, ...hosts);
    const arrived = await countArrivals("db-3");
    assert.ok(await pingsInVain(from, four), `${tenant} ${direction}`);
    if (direction === "egress") assert.equal(await arrived(), 0);
    assert.ok(await pings(from, six), "IPv6 is in no rule");
    await lab.admin.delete({ resources: [{ kind: "policy", name: "apart" }] });
    await idle(lab, ...hosts);
    assert.ok(await pings(from, four));
  }
});

test("where the peer carries less the sender hears so", async () => {
  await set("db", { peers: ["blue/front"], mtu: 1300 });
  using from = lab.namespace("front-2");
  for (const address of addressesOf("db-3")) {
    const { output } = await runProgram(from, "ping", ["-c", "2", "-w", "10", "-M", "do", "-s", "1340", address]);
    assert.match(output, /Frag needed and DF set \(mtu = 1300\)|Packet too big: mtu=1300/, output);
  }
  await set("db", { peers: ["blue/front"] });
});

const flush = `nft list tables | while read -r _ family name; do nft flush table $family $name; done`;
const damages: readonly (readonly [what: string, host: string, tenant: string, command: string])[] = [
  ["the devices between the namespaces", "h1", "blue", "ls /sys/class/net | grep ^pr | xargs -I@ ip link del @"],
  ["one end is down", "h1", "red", "ls /sys/class/net | grep ^pr | xargs -I@ ip link set @ down"],
  ["routes to the peer", "h1", "blue", "ip route del 10.11.0.0/24; ip -6 route del fd11::/64"],
  ["a route that leads elsewhere", "h3", "red", "ip route replace 10.1.0.0/24 dev br6011 proto 119"],
  // One by one: flushing goes on until nothing is left, and the agent is as quick.
  [
    "the next hop",
    "h1",
    "red",
    "device=$(ls /sys/class/net | grep ^pr); ip neigh show dev $device nud permanent | while read -r address _; do ip neigh del $address dev $device; done",
  ],
  ["all rules", "h1", "blue", flush],
];
for (const [what, host, tenant, command] of damages)
  test(`damage is repaired: ${what}`, async () => {
    const { repairs } = await lab.agent(host).getStatus({});
    await inTenant(lab, host, tenant, "sh", "-c", command);
    await until(async () => {
      const status = await lab.agent(host).getStatus({});
      assert.ok(status.inSync && status.repairs > repairs);
    });
    await reach(["front-1"], dbs);
    await reach(dbs, ["front-1"]);
    await reachInVain(["back-1"], dbs);
  });

test("an agent that starts again with nothing to change writes nothing, and no packet is lost", async (t) => {
  using from = lab.namespace("front-1");
  using to = lab.namespace("db-3");
  const stream = await startStream(t, from, to, addressesOf("db-3")[0] ?? "");
  for (const host of ["h1", "h3"]) {
    lab.kill(host);
    await lab.startAgent(host);
    await idle(lab, host);
    const { netlinkWrites } = await lab.agent(host).getStatus({});
    assert.equal(netlinkWrites, 0n, host);
  }
  const traffic = await stream.stop();
  assert.equal(traffic.lost, 0, JSON.stringify(traffic));
});

test("a container that moves keeps its connections to a peer", async (t) => {
  const [four = "", six = ""] = addressesOf("front-2");
  using stays = lab.namespace("db-3");
  using moves = lab.namespace("front-2");
  const stream = await startStream(t, stays, moves, four);
  await lab.detach("front-2", "h2", "front");
  await lab.attach("front-2", "h3", "front", { ips: [four, six] });
  await idle(lab, ...hosts);
  await until(async () => assert.ok(await pings(stays, four)));
  const { tcpError, tcpAnswered, tcpSent } = await stream.stop();
  assert.deepEqual([tcpError, tcpAnswered], ["", tcpSent]);
  await reach(["front-2"], dbs);
  await until(async () => assert.ok(!(await knows("h2", "red")), "its former host keeps nothing of the peer"));
});

test("what would be routed to two networks at once is refused, with both named", async () => {
  const value = { name: "far", tenant: "green", subnets: ["10.1.0.128/25"], gateway, peers: ["red/db"] };
  await lab.admin.apply({
    resources: [{ resource: { case: "tenant", value: { name: "green" } } }, { resource: { case: "network", value } }],
  });
  const both =
    /subnet 10\.1\.0\.0\/24 of network front of tenant blue overlaps 10\.1\.0\.128\/25 of network far of tenant green/;
  await assert.rejects(set("db", { peers: ["blue/front", "green/far"] }), both);
  await lab.admin.apply({
    resources: [{ resource: { case: "network", value: { ...value, subnets: ["10.3.0.0/24"] } } }],
  });
  await set("db", { peers: ["blue/front", "green/far"] });
  await assert.rejects(
    lab.admin.apply({ resources: [{ resource: { case: "network", value } }] }),
    /subnet 10\.1\.0\.128\/25 of network far of tenant green overlaps 10\.1\.0\.0\/24 of network front of tenant blue/,
  );
  await set("db", { peers: ["blue/front"] });
});

for (const [number, side] of (["front", "db"] as const).entries())
  test(`when ${side} withdraws there is no path any more, on any host`, async () => {
    await reach(["front-1"], dbs);
    await set(side, { peers: [] });
    await reachInVain(fronts, dbs);
    await reachInVain(dbs, fronts);
    for (const host of ["h1", "h3"])
      for (const tenant of ["blue", "red"])
        if (await knows(host, tenant)) assert.deepEqual(await links(host, tenant), []);
    if (number === 0) await set(side, { peers: ["red/db"] });
  });
