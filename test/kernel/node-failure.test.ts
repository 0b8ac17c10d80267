/** Nodes that die, and nodes that are emptied: their endpoints are had elsewhere, and who comes back does not answer for them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BackgroundProgram,
  createNetworks,
  idle,
  inLab,
  pings,
  removeNamespaces,
  testLab,
  theWholeFile,
  until,
  weft,
  weftDone,
  weftJson,
} from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "tap");
const file = theWholeFile();
const lab = await testLab(file, { hosts: 3 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 }]);
for (const name of ["a", "b", "m", "n", "s"]) lab.addContainer(name);
await lab.attach("a", "h1", "web");
await lab.attach("b", "h2", "web");
const own = { ips: ["10.1.0.7", "fd01::7"], mac: "02:00:5e:10:00:07" };
const { id } = await lab.attach("m", "h3", "web", own);
const stood = await lab.attach("s", "h3", "web");
await idle(lab, "h1", "h2", "h3");
const a = lab.namespace("a");
file.after(() => a.close());
const server = ["--server", lab.serverSocket];

test("endpoints of a node that died are had elsewhere with their addresses, or by who stood by for them", async () => {
  const refused = await weft(["node", "fail", "h3", ...server]);
  assert.equal(refused.status, 1);
  assert.match(refused.complaints, /it is connected\n {2}try: move its endpoints away with: weft node drain h3/);
  await weftDone("migrate", stood.id, "--to", "h1", "--on-announcement", ...server);
  await weftDone(
    "attach",
    "web",
    "--netns",
    lab.names.container("n"),
    "--standby",
    stood.id,
    "--agent",
    lab.agentSocket("h1"),
  );
  lab.kill("h3");
  await until(async () => assert.match(await weftDone("node", "list", ...server), /h3 +disconnected/));
  assert.match(
    await weftDone("node", "fail", "h3", ...server),
    /^node h3 is dead: 1 endpoints released, 1 taken over by nodes that stood by/,
  );
  lab.addContainer("m2");
  await lab.attach("m2", "h2", "web", own);
  for (const ip of own.ips) await until(async () => assert.ok(await pings(a, ip), ip));
  await until(async () => assert.equal((await weftJson(["endpoint", "show", stood.id, ...server])).node, "h1"));
  await until(async () => assert.ok(await pings(a, stood.ips[0] as string)));
});

test("the node that comes back never answers for what is no longer its own", async () => {
  // As the host's start leaves it: nothing of weft's is in the kernel.
  removeTenants("h3");
  await until(async () => assert.doesNotMatch(await inLab(lab, "m", "ip", "-o", "link"), /eth0/));
  const m = lab.namespace("m");
  const events = new BackgroundProgram(file, m, "ip", ["monitor", "link"]);
  await lab.startAgent("h3");
  await idle(lab, "h3");
  assert.doesNotMatch(events.output, /eth0/);
  await events.end();
  m.close();
  assert.doesNotMatch(await weftDone("status", "--agent", lab.agentSocket("h3")), new RegExp(id));
  for (const ip of own.ips) assert.ok(await pings(a, ip), ip);
});

test("after a start of the host without a server the endpoints are back by themselves", async () => {
  const c = await lab.attach("m", "h3", "web");
  await idle(lab, "h3");
  await lab.stop("server");
  lab.kill("h3");
  removeTenants("h3");
  await lab.startAgent("h3");
  await until(async () => assert.ok(await pings(a, c.ips[0] as string)));
  await lab.startServer();
  await idle(lab, "h1", "h2", "h3");
});

test("a node is drained: taps go to other nodes, and what cannot is named", async () => {
  for (const name of ["vm1", "vm2", "vm3"])
    await weftDone("attach", "web", "--tap", name, "--agent", lab.agentSocket("h3"));
  const drained = await weft(["node", "drain", "h3", ...server]);
  assert.equal(drained.status, 1, drained.complaints);
  assert.match(
    drained.output,
    /^node h3 gets no new endpoints; moved: (2 to h1, 1 to h2|2 to h2, 1 to h1|1 to h1, 2 to h2|1 to h2, 2 to h1); 1 stay:\n/,
  );
  assert.match(drained.output, /of network web, \S+, \S+: whoever attached it \(netns\) must attach it elsewhere\n$/);
  assert.match(await weftDone("node", "list", ...server), /h3 +connected, drained/);
  await until(async () => assert.doesNotMatch(await inLab(lab, "h3", "ip", "-o", "link"), /vm\d/));
  const refused = await weft(["attach", "web", "--tap", "vm4", "--agent", lab.agentSocket("h3")]);
  assert.match(refused.complaints, /node h3 is drained: it gets no new endpoints\n {2}try: .*weft node undrain h3/);
  await lab.detach("m", "h3", "web");
  assert.match(await weftDone("node", "drain", "h3", ...server), /^node h3 gets no new endpoints; moved: none\n$/);
  await weftDone("node", "undrain", "h3", ...server);
  await weftDone("attach", "web", "--tap", "vm4", "--agent", lab.agentSocket("h3"));
});

function removeTenants(host: string): void {
  const instance = lab.names.instance(host);
  removeNamespaces((name) => name.startsWith(`${instance}-`));
}
