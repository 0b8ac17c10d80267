/** The agent and the server die, restart and reboot; what flows, flows on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createNetworks,
  inLab,
  inSync,
  pings,
  removeNamespaces,
  testLab,
  theWholeFile,
  until,
  weftJson,
} from "../support/cluster.ts";
import { inTenant, kernelTables, wantedTables } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 }]);
for (const [container, host] of [
  ["a", "h1"],
  ["b", "h2"],
] as const) {
  lab.addContainer(container);
  await lab.attach(container, host, "web");
}
await inSync(lab, "h1", "h2");

/** Index and name of every interface of the tenant and of the container. */
async function interfaces(host: string, container: string): Promise<string> {
  const tenant = await inTenant(lab, host, "acme", "ip", "-brief", "link");
  return `${(await inTenant(lab, host, "acme", "ip", "-o", "link")).replace(/\\.*/g, "")}${tenant}${await inLab(lab, container, "ip", "-o", "link")}`;
}

const status = (host: string) => weftJson(["status", "--agent", lab.agentSocket(host)]);

test("an agent killed and started again loses no packet and changes no interface", async (t) => {
  using a = lab.namespace("a");
  using b = lab.namespace("b");
  const before = await interfaces("h1", "a");
  const stream = await startStream(t, a, b, "10.1.0.2");
  lab.kill("h1");
  lab.kill("h2");
  await lab.startAgent("h1");
  await lab.startAgent("h2");
  await inSync(lab, "h1", "h2");
  const traffic = await stream.stop();
  t.diagnostic(JSON.stringify(traffic));
  assert.equal(traffic.lost, 0);
  assert.equal(traffic.tcpError, "");
  assert.equal(traffic.tcpAnswered, traffic.tcpSent);
  assert.ok(traffic.sent > 300, "the stream covered the restart");
  assert.equal(await interfaces("h1", "a"), before);
});

test("an agent that starts with nothing to change writes nothing", async () => {
  const before = await interfaces("h1", "a");
  await lab.stop("h1");
  await lab.startAgent("h1");
  await until(async () => assert.equal((await status("h1")).agent.serverState, "connected"));
  await inSync(lab, "h1");
  const { agent } = await status("h1");
  assert.equal(Number(agent.netlinkWrites), 0);
  assert.equal(Number(agent.repairs), 0);
  assert.equal(await interfaces("h1", "a"), before);
});

test("traffic goes on while the server is gone, and while an agent starts without it", async (t) => {
  using a = lab.namespace("a");
  using b = lab.namespace("b");
  const stream = await startStream(t, b, a, "fd01::1");
  await lab.stop("server");
  await until(async () => assert.equal((await status("h1")).agent.serverState, "disconnected"));
  lab.kill("h1");
  await lab.startAgent("h1");
  await until(async () => {
    const { agent } = await status("h1");
    assert.equal(agent.serverState, "disconnected");
    assert.equal(agent.inSync, true);
  });
  assert.equal(Number((await status("h1")).agent.netlinkWrites), 0);
  const traffic = await stream.stop();
  t.diagnostic(JSON.stringify(traffic));
  assert.equal(traffic.lost, 0);
  assert.equal(traffic.tcpError, "");
  assert.equal(traffic.tcpAnswered, traffic.tcpSent);
  await lab.startServer();
  await until(async () => assert.equal((await status("h1")).agent.serverState, "connected"));
});

test("a host that was rebooted while the server is gone brings its endpoints back from its disk", async () => {
  const wanted = await wantedTables(lab, "h1", "web");
  const [before] = JSON.parse(await inLab(lab, "a", "ip", "-j", "addr", "show", "eth0"));
  await lab.stop("server");
  lab.kill("h1");
  // What a reboot leaves of the kernel's state: nothing.
  removeNamespaces((name) => name.startsWith(`${lab.names.instance("h1")}-`));
  lab.removeContainer("a");
  await inLab(lab, "h1", "ip", "nexthop", "flush");
  await inLab(lab, "h1", "nft", "flush", "ruleset");
  // Containers come up in their own time: one before the agent, as here, or after it, as below.
  lab.addContainer("a");
  await lab.startAgent("h1");
  await until(async () => {
    const { serverState, endpoints, inSync } = await lab.agent("h1").getStatus({});
    assert.equal(serverState, "disconnected");
    assert.deepEqual(
      endpoints.map(({ state }) => state),
      ["done"],
    );
    assert.ok(inSync);
  });
  using a = lab.namespace("a");
  using b = lab.namespace("b");
  assert.ok(await pings(a, "10.1.0.2"), "a reaches b over IPv4");
  assert.ok(await pings(b, "fd01::1"), "b reaches a over IPv6");
  const [afterwards] = JSON.parse(await inLab(lab, "a", "ip", "-j", "addr", "show", "eth0"));
  assert.equal(afterwards.address, before.address);
  assert.equal(afterwards.mtu, before.mtu);
  const localOf = (link: { addr_info: { local: string; scope: string }[] }) =>
    link.addr_info.filter(({ scope }) => scope === "global").map(({ local }) => local);
  assert.deepEqual(localOf(afterwards), localOf(before));
  assert.deepEqual(await kernelTables(lab, "h1", "acme", 100), wanted);
  assert.match(await inLab(lab, "h1", "nft", "list", "tables"), /inet/, "the source filter is back");
});

test("a container's namespace that comes after the agent gets its interface, still without the server", async () => {
  lab.kill("h1");
  removeNamespaces((name) => name.startsWith(`${lab.names.instance("h1")}-`));
  lab.removeContainer("a");
  const starting = lab.startAgent("h1").catch(() => {});
  await until(async () => {
    const { problems, endpoints } = await lab.agent("h1").getStatus({});
    assert.equal(endpoints[0]?.state, "failed");
    assert.match(problems[0]?.reason ?? "", /the namespace is gone/);
  });
  lab.addContainer("a");
  await starting;
  await until(async () => assert.equal((await lab.agent("h1").getStatus({})).endpoints[0]?.state, "done"));
  using a = lab.namespace("a");
  assert.ok(await pings(a, "10.1.0.2"));
  await lab.startServer();
  await until(async () => assert.equal((await lab.agent("h1").getStatus({})).serverState, "connected"));
  await inSync(lab, "h1", "h2");
  assert.equal((await lab.admin.list({ kind: "endpoint" })).resources.length, 2, "no endpoint was given back");
});
