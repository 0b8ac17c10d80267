/** Layer-3 networks on three hosts: blocks, routes, gateways, and what becomes of them when somebody touches them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import { createNetworks, idle, inLab, pings, testLab, theWholeFile, until, weftJson } from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");

const lab = await testLab(theWholeFile(), { hosts: 3 });
await createNetworks(lab, [
  { name: "pods", mode: "l3", subnets: ["10.8.0.0/16", "fd08::/64"], vni: 800 },
  { name: "thin", mode: "l3", subnets: ["10.9.0.0/16"], vni: 900, blockSize: 16, underlay: "ipv6" },
]);

interface Container {
  readonly host: string;
  readonly network: string;
  readonly ips: readonly string[];
}
const containers = new Map<string, Container>();
for (const [name, host, network] of [
  ["a1", "h1", "pods"],
  ["a2", "h1", "pods"],
  ["b1", "h2", "pods"],
  ["c1", "h3", "pods"],
  ["t1", "h1", "thin"],
  ["t2", "h2", "thin"],
] as const) {
  lab.addContainer(name);
  const { ips } = await lab.attach(name, host, network);
  containers.set(name, { host, network, ips });
}
await idle(lab, "h1", "h2", "h3");

function ipsOf(name: string): readonly string[] {
  return containers.get(name)?.ips ?? [];
}

async function reaches(from: string, to: string): Promise<void> {
  using namespace = lab.namespace(from);
  for (const address of ipsOf(to)) assert.ok(await pings(namespace, address), `${from} reaches ${to} at ${address}`);
}

async function table(host: string, name: string, network: string) {
  return (await weftJson([name, network, "--agent", lab.agentSocket(host)])) as readonly {
    readonly key: string;
    readonly desired: string;
    readonly actual: string;
    readonly origin: string;
    readonly state: string;
  }[];
}

test("each node owns blocks, and its endpoints have addresses of them", () => {
  assert.deepEqual(Object.fromEntries([...containers].map(([name, { ips }]) => [name, ips.join(" ")])), {
    a1: "10.8.0.2 fd08::2",
    a2: "10.8.0.3 fd08::3",
    b1: "10.8.0.66 fd08::42",
    c1: "10.8.0.130 fd08::82",
    t1: "10.9.0.2",
    t2: "10.9.0.18",
  });
});

test("containers of all hosts reach each other, over IPv4 and IPv6, by their nodes", async () => {
  for (const [from, to] of [
    ["a1", "a2"],
    ["a1", "b1"],
    ["b1", "c1"],
    ["c1", "a2"],
    ["t1", "t2"],
  ] as const)
    await reaches(from, to);
  assert.match(await inLab(lab, "a1", "ip", "route", "show", "default"), /default via 10\.8\.0\.1 dev eth0/);
  assert.match(await inLab(lab, "a1", "ip", "-6", "route", "show", "default"), /default via fd08::1 dev eth0/);
});

test("an address that nobody has is answered by the node", async () => {
  using namespace = lab.namespace("a1");
  const { output } = await runProgram(namespace, "ping", ["-c", "1", "-w", "10", "10.8.200.1"]);
  assert.match(output, /From 10\.8\.0\.1 icmp_seq=\d+ Destination Host Unreachable/);
});

test("networks of one tenant reach each other by their gateways, and the MTU of each holds", async () => {
  await reaches("a1", "t2");
  using namespace = lab.namespace("a1");

  const full = ["-c", "1", "-w", "10", "-M", "do", "-s", String(1450 - 28), "10.8.0.66"];
  assert.equal((await runProgram(namespace, "ping", full)).status, 0);
});

test("a node holds a route, a next hop and an FDB entry for each other node, however many endpoints", async () => {
  const routes = await table("h1", "routes", "pods");
  const remote = routes.filter(({ origin }) => origin === "control-plane");
  assert.deepEqual(remote.map(({ key }) => key).sort(), [
    "10.8.0.0/16",
    "10.8.0.128/26",
    "10.8.0.64/26",
    "fd08::/64",
    "fd08::40/122",
    "fd08::80/122",
  ]);
  // What nobody owns of the subnets goes nowhere.
  assert.deepEqual(
    remote.filter(({ actual }) => actual === "unreachable").map(({ key }) => key),
    ["10.8.0.0/16", "fd08::/64"],
  );
  const fdb = (await table("h1", "fdb", "pods")).filter(({ origin }) => origin === "control-plane");
  assert.deepEqual(fdb.map(({ desired }) => desired).sort(), ["192.0.2.2", "192.0.2.3"]);
  for (const row of [...routes, ...fdb, ...(await table("h1", "neighbours", "pods"))])
    assert.ok(row.state === "same" || row.origin === "kernel", JSON.stringify(row));
  assert.deepEqual(
    (await table("h1", "neighbours", "pods"))
      .filter(({ origin }) => origin === "declared")
      .map(({ key, state }) => [key, state]),
    [...ipsOf("a1"), ...ipsOf("a2")].map((key) => [key, "same"]),
    "nobody tells the gateway where its endpoints are",
  );
  const before = await inTenant(lab, "h1", "acme", "ip", "route", "show", "proto", "119");
  lab.addContainer("b2");
  await lab.attach("b2", "h2", "pods");
  await idle(lab, "h1");
  assert.equal(await inTenant(lab, "h1", "acme", "ip", "route", "show", "proto", "119"), before);
  await lab.detach("b2", "h2", "pods");
});

const damages: readonly (readonly [what: string, command: string])[] = [
  ["route", "ip route del 10.8.0.64/26"],
  ["IPv6 route", "ip -6 route del fd08::40/122"],
  ["route that leads elsewhere", "ip route replace blackhole 10.8.0.64/26 proto 119"],
  ["next hop", "ip neigh del 10.8.0.64 dev vx800"],
  [
    "FDB entry of the tunnel",
    "bridge fdb show dev vx800 | grep nhid | while read mac rest; do bridge fdb del $mac dev vx800 self; done",
  ],
  ["gateway", "ip addr del 10.8.0.1/26 dev br800"],
  ["IPv6 gateway", "ip addr del fd08::1/122 dev br800"],
  ["tunnel", "ip link del vx800"],
  ["bridge", "ip link del br800"],
];
for (const [what, command] of damages)
  test(`damage is repaired: ${what}`, async () => {
    const { repairs } = await lab.agent("h1").getStatus({});
    await inTenant(lab, "h1", "acme", "sh", "-c", command);
    await until(async () => {
      const status = await lab.agent("h1").getStatus({});
      assert.ok(status.inSync);
      assert.ok(status.repairs > repairs, "it says that it repaired something");
    });
    await reaches("a1", "b1");
  });

test("an agent that starts again with nothing to change writes nothing", async () => {
  lab.kill("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  const { netlinkWrites } = await lab.agent("h1").getStatus({});
  assert.equal(netlinkWrites, 0n);
});

test("a node that is deleted leaves no route behind, also where an agent was down meanwhile", async (t) => {
  using a1 = lab.namespace("a1");
  using b1 = lab.namespace("b1");
  lab.kill("h2");
  await lab.stop("h3");
  const stream = await startStream(t, a1, b1, ipsOf("b1")[0] ?? "");
  await lab.admin.delete({ resources: [{ kind: "node", name: "h3" }] });
  await idle(lab, "h1");
  await lab.startAgent("h2");
  await idle(lab, "h2");
  for (const host of ["h1", "h2"]) {
    const left = await inTenant(lab, host, "acme", "ip", "route");
    assert.ok(!left.includes("10.8.0.128/26"), `${host}: ${left}`);
    assert.ok(!(await inTenant(lab, host, "acme", "bridge", "fdb")).includes("192.0.2.3"), host);
    assert.ok(!(await inLab(lab, host, "ip", "nexthop")).includes("192.0.2.3"), host);
  }
  const traffic = await stream.stop();
  assert.equal(traffic.lost, 0, JSON.stringify(traffic));
});
