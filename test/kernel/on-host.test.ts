/** Networks of a tenant in the hosts' own namespaces: beside what the host has, and by its rules. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { answerCallers, call } from "../support/callers.ts";
import {
  createNetworks,
  idle,
  inLab,
  pings,
  pingsInVain,
  testLab,
  theWholeFile,
  until,
  weft,
  weftDone,
  weftJson,
} from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(
  lab,
  [
    {
      name: "pods",
      tenant: "kube",
      mode: "l3",
      egress: true,
      hostAccess: true,
      subnets: ["10.24.0.0/16", "fd24::/64"],
      vni: 24,
    },
  ],
  "host",
);
await createNetworks(lab, [{ name: "shut", tenant: "own", mode: "l3", subnets: ["10.24.0.0/16"], vni: 25 }]);
const ips = new Map<string, readonly string[]>();
for (const [name, host, network] of [
  ["a1", "h1", "pods"],
  ["a2", "h1", "pods"],
  ["b1", "h2", "pods"],
  ["s1", "h1", "shut"],
] as const) {
  lab.addContainer(name);
  ips.set(name, (await lab.attach(name, host, network)).ips);
}
await idle(lab, "h1", "h2");

for (const place of ["a1", "a2", "b1", "h1", "server"]) await answerCallers(file, lab, place, 8080);

/** The address under which who answers sees whoever connects from there; else why nobody does. */
async function asked(from: string, address: string, port = 8080): Promise<string> {
  const answer = await call(lab, from, address, port);
  return answer.split(" ").at(-1) ?? "";
}

function ipOf(name: string, family: 4 | 6 = 4): string {
  return ips.get(name)?.find((ip) => ip.includes(":") === (family === 6)) ?? "";
}

/** Addresses of the hosts on the underlay. */
const host = { h1: "192.0.2.1", h2: "192.0.2.2", server: "192.0.2.254" } as const;

test("devices and routes are in the host's namespace, and a container has nobody on its link", async () => {
  assert.match(await inLab(lab, "h1", "ip", "-d", "link", "show", "br24"), /bridge/);
  assert.match(await inLab(lab, "h1", "ip", "route", "show", "10.24.0.64/26"), /via .* dev vx24 proto 119 onlink/);
  assert.match(await inLab(lab, "a1", "ip", "address", "show", "dev", "eth0"), /inet 10\.24\.0\.2\/32 /);
  assert.match(await inLab(lab, "a1", "ip", "route", "show", "default"), /default via 10\.24\.0\.1 dev eth0 .*onlink/);
  const addresses = await inLab(lab, "h1", "ip", "-6", "-o", "address", "show", "scope", "link");
  assert.doesNotMatch(addresses, /vx24|ve[0-9a-f]{12}/, "devices give themselves no address");
});

test("containers reach each other under their own addresses, on one node and across", async () => {
  for (const family of [4, 6] as const)
    for (const [from, to] of [
      ["a1", "a2"],
      ["a1", "b1"],
      ["b1", "a2"],
    ] as const)
      assert.equal(await asked(from, ipOf(to, family)), ipOf(from, family), `${from} to ${to}`);
});

test("the host reaches endpoints of all nodes in the name of a gateway, and they answer it", async () => {
  assert.equal(await asked("h1", ipOf("a1")), "10.24.0.1");
  assert.equal(await asked("h1", ipOf("b1")), "10.24.0.1");
  assert.equal(await asked("h1", ipOf("b1", 6)), "fd24::1");
  assert.equal(await asked("h2", ipOf("a1")), "10.24.0.65");
});

test("endpoints reach the world and the nodes behind their host's address", async () => {
  assert.equal(await asked("a1", host.server), host.h1);
  assert.equal(await asked("b1", host.server), host.h2);
  assert.equal(await asked("b1", host.h1), host.h2);
  assert.equal(await asked("a1", host.h1), ipOf("a1"), "the own host sees who asks");
});

test("what the host's rules lead to a service arrives, with the sender's address, and its answers come back", async (t) => {
  const services = [
    ["10.96.0.1", "b1"],
    ["10.96.0.2", "a2"],
    ["10.96.0.3", "a1"],
  ] as const;
  const rules = services.map(([service, endpoint]) =>
    ["prerouting", "output"].map((chain) => `add rule ip lead ${chain} ip daddr ${service} dnat to ${ipOf(endpoint)}`),
  );
  for (const node of ["h1", "h2"]) {
    const text = [
      "add table ip lead",
      "add chain ip lead prerouting { type nat hook prerouting priority dstnat; }",
      "add chain ip lead output { type nat hook output priority -100; }",
      "add chain ip lead postrouting { type nat hook postrouting priority srcnat; }",
      `add rule ip lead postrouting ip saddr ${ipOf("a1")} ip daddr ${ipOf("a1")} masquerade`,
      `add rule ip lead prerouting ip daddr ${host.h1} tcp dport 30080 mark set 0x4000 dnat to ${ipOf("b1")}:8080`,
      "add rule ip lead postrouting mark 0x4000 masquerade",
      ...rules.flat(),
    ];
    // A packet of the host's own is routed before it is translated.
    await inLab(lab, node, "ip", "route", "add", "10.96.0.0/16", "via", host.server);
    await inLab(lab, node, "nft", text.join("; "));
    t.after(() => inLab(lab, node, "nft", "delete table ip lead"));
  }
  assert.equal(await asked("a1", "10.96.0.1"), ipOf("a1"), "to another node");
  assert.equal(await asked("a1", "10.96.0.2"), ipOf("a1"), "to the same bridge");
  assert.equal(await asked("a1", "10.96.0.3"), "10.24.0.1", "to itself");
  assert.equal(await asked("h1", "10.96.0.1"), "10.24.0.1", "from the host");
  assert.equal(
    await asked("a1", host.h1, 30080),
    "10.24.0.1",
    "from an endpoint, by a port of its own node to another node",
  );
  assert.equal(await asked("server", host.h1, 30080), "10.24.0.1", "from outside, by a port of a node to another node");
});

test("the world does not reach endpoints, nor do other tenants", async () => {
  await inLab(lab, "server", "ip", "route", "add", "10.24.0.0/16", "via", host.h1);
  try {
    assert.equal(await asked("server", ipOf("a1")), "silence");
  } finally {
    await inLab(lab, "server", "ip", "route", "delete", "10.24.0.0/16");
  }
  using stranger = lab.namespace("s1");
  assert.ok(await pingsInVain(stranger, ipOf("a2")), "the same subnet is another network");
});

test("without egress they reach neither world nor host, and the host reaches them", async () => {
  await weftDone("network", "set", "pods", "--no-egress", "--server", lab.serverSocket);
  await idle(lab, "h1", "h2");
  assert.notEqual(await asked("a1", host.server), host.h1);
  assert.notEqual(await asked("a1", host.h1), ipOf("a1"));
  assert.notEqual(await asked("a1", "10.24.0.1"), ipOf("a1"), "nor by its gateway");
  using namespace = lab.namespace("a1");
  assert.ok(await pings(namespace, "10.24.0.1"), "a gateway answers pings");
  assert.equal(await asked("h1", ipOf("a1")), "10.24.0.1");
  await weftDone("network", "set", "pods", "--egress", "--server", lab.serverSocket);
  await idle(lab, "h1", "h2");
  assert.equal(await asked("a1", host.server), host.h1);
});

test("what somebody damages on the host comes back, and nothing else is touched", async () => {
  await inLab(lab, "h1", "ip", "link", "add", "br9", "type", "bridge");
  await inLab(lab, "h1", "ip", "link", "delete", "vx24");
  await inLab(lab, "h1", "nft", `delete table inet weft-tenant-${lab.names.instance("h1")}-kube`);
  await inLab(lab, "h1", "sysctl", "-q", "-w", "net.ipv4.conf.br24.forwarding=0");
  await until(async () => assert.equal(await asked("a1", ipOf("b1")), ipOf("a1")));
  await idle(lab, "h1");
  assert.match(await inLab(lab, "h1", "sysctl", "-n", "net.ipv4.conf.br24.forwarding"), /1/);
  assert.match(await inLab(lab, "h1", "nft", "list", "tables"), /weft-tenant-/);
  await inLab(lab, "h1", "ip", "link", "delete", "br9");
});

test("a restart with nothing to change writes nothing", async () => {
  await lab.stop("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  const { agent } = await weftJson(["status", "--agent", lab.agentSocket("h1")]);
  assert.equal(Number(agent.netlinkWrites), 0);
  assert.equal(Number(agent.repairs), 0);
});

test("a subnet that the host routes itself is refused until it does not", async () => {
  await inLab(lab, "h2", "ip", "route", "add", "10.25.1.0/24", "via", host.server);
  await createNetworks(
    lab,
    [{ name: "late", tenant: "kube", mode: "l3", hostAccess: true, subnets: ["10.25.0.0/16"], vni: 26 }],
    "host",
  );
  lab.addContainer("l2");
  await assert.rejects(lab.attach("l2", "h2", "late"), /the host routes 10\.25\.1\.0\/24 on /);
  await inLab(lab, "h2", "ip", "route", "delete", "10.25.1.0/24");
  await lab.attach("l2", "h2", "late");
  await idle(lab, "h2");
});

test("when the tenant leaves, the host is as before", async () => {
  for (const [name, node, network] of [
    ["l2", "h2", "late"],
    ["a1", "h1", "pods"],
    ["a2", "h1", "pods"],
    ["b1", "h2", "pods"],
  ] as const)
    await lab.detach(name, node, network);
  await weftDone("network", "delete", "pods", "late", "--server", lab.serverSocket);
  for (const node of ["h1", "h2"]) {
    await until(async () => assert.doesNotMatch(await inLab(lab, node, "nft", "list", "tables"), /weft-tenant-/));
    assert.doesNotMatch(await inLab(lab, node, "ip", "-o", "link"), /br2[46]|vx2[46]/);
    assert.doesNotMatch(await inLab(lab, node, "ip", "route", "show", "table", "all"), /proto 119/);
  }
});

test("what does not go with the host's namespace is refused", async () => {
  const refused = async (...words: readonly string[]): Promise<string> => {
    const { status, complaints } = await weft([...words, "--server", lab.serverSocket]);
    assert.equal(status, 1, complaints);
    return complaints;
  };
  assert.match(await refused("tenant", "create", "other", "--placement", "host"), /tenant kube has placement host/);
  assert.match(
    await refused(
      "network",
      "create",
      "flat",
      "--tenant",
      "kube",
      "--subnet",
      "10.26.0.0/16",
      "--host-access",
      "--gateway",
      "10.26.0.1",
    ),
    /mode l2 does not go/,
  );
});
