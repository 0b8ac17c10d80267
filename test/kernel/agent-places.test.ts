/** Where endpoints are put: into the namespace that was meant, and into none of weft's or the node's own. */
import assert from "node:assert/strict";
import { rmSync, symlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { namedNamespacePath } from "../../src/linux/index.ts";
import {
  BackgroundProgram,
  createNetworks,
  inLab,
  inSync,
  pings,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weftJson,
} from "../support/cluster.ts";
import { footprint, settledFootprint } from "../support/cluster-footprint.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24"], vni: 100 },
  { name: "late", tenant: "beta", subnets: ["10.2.0.0/24"], vni: 200 },
]);
for (const name of ["a", "b"]) lab.addContainer(name);
await lab.attach("a", "h1", "web");
const peer = await lab.attach("b", "h2", "web");
await inSync(lab, "h1", "h2");
const paths = testDirectory(file);

const attach = (netns: string, network = "web", name = "over0") =>
  lab.agent("h1").attach({ network, netns, interface: name, mac: "", ips: [] });
const detach = (netns: string, network = "web", name = "over0") =>
  lab.agent("h1").detach({ network, netns, interface: name });
const links = (place: string) => inLab(lab, place, "ip", "-o", "link");

for (const [what, path] of [
  ["the agent's own namespace", namedNamespacePath(lab.names.host("h1"))],
  ["a tenant's namespace", namedNamespacePath(`${lab.names.instance("h1")}-acme`)],
  ["whatever the agent itself would call its own", "/proc/self/ns/net"],
  ["whatever a thread of the agent would call its own", "/proc/thread-self/ns/net"],
] as const)
  test(`nothing is attached to ${what}`, async () => {
    const before = await settledFootprint(lab);
    await assert.rejects(attach(path), /the underlay's namespace or one that weft made for a tenant/);
    assert.deepEqual(await footprint(lab), before);
  });

test("a namespace is the same however its path is spelt", async (t) => {
  lab.addContainer("c");
  const name = lab.names.container("c");
  const path = namedNamespacePath(name);
  const link = join(paths, "spelt");
  symlinkSync(path, link);
  using c = lab.namespace("c");
  const inside = new BackgroundProgram(t, c, "sh", ["-c", "echo $$; read line"]);
  await inside.said(/\d+\n/);
  const spellings = [
    path,
    `/var/run/netns/${name}`,
    `/run/netns/../netns/${name}`,
    relative(process.cwd(), path),
    link,
    `/proc/${inside.output.trim()}/ns/net`,
  ];
  for (const [index, spelling] of spellings.entries()) {
    const other = spellings[(index + 1) % spellings.length] as string;
    const words = (netns: string) => ["--netns", netns, "--interface", "over0", "--agent", lab.agentSocket("h1")];
    const { endpoint } = await weftJson(["attach", "web", ...words(spelling)]);
    await assert.rejects(
      attach(other.startsWith("/") ? other : path),
      /endpoint [0-9a-f]{12} of network web is attached there/,
    );
    assert.equal((await weftJson(["detach", "web", ...words(other)])).endpoint, endpoint.id, `${spelling} by ${other}`);
  }
  await inside.end();
  // The name stands for whatever bears it, by whatever spelling it was given.
  const { endpoint } = await attach(`/var/run/netns/${name}`);
  c.close();
  lab.removeContainer("c");
  lab.addContainer("c");
  await until(async () => assert.match(await links("c"), /over0/));
  lab.removeContainer("c");
  assert.equal((await detach(`/var/run/netns/${name}`)).endpoint, endpoint?.id);
  await inSync(lab, "h1");
});

/** The endpoint of `path` failed, since its namespace is gone, and `place` has nothing of it. */
async function assertGone(id: string, place: string): Promise<void> {
  await until(async () => {
    const { endpoints, problems } = await lab.agent("h1").getStatus({});
    const found = endpoints.find(({ endpoint }) => endpoint?.id === id);
    assert.equal(found?.state, "failed");
    assert.match(found.reason, /the namespace is gone/);
    assert.ok(problems.some(({ object }) => object.includes(id)));
  });
  assert.doesNotMatch(await links(place), /over0/);
}

test("a path that comes to mean the node's own namespace leads nowhere", async () => {
  lab.addContainer("c");
  const path = join(paths, "link");
  symlinkSync(namedNamespacePath(lab.names.container("c")), path);
  const { endpoint } = await attach(path);
  assert.match(await links("c"), /over0/);
  rmSync(path);
  symlinkSync(namedNamespacePath(lab.names.host("h1")), path);
  lab.removeContainer("c");
  await assertGone(endpoint?.id ?? "", "h1");
  assert.equal((await detach(path)).endpoint, endpoint?.id);
  await inSync(lab, "h1");
});

test("a path that comes to mean another container leads nowhere, also for an agent that starts again", async () => {
  for (const name of ["c", "d"]) lab.addContainer(name);
  const path = join(paths, "link2");
  symlinkSync(namedNamespacePath(lab.names.container("c")), path);
  const { endpoint } = await attach(path);
  rmSync(path);
  symlinkSync(namedNamespacePath(lab.names.container("d")), path);
  lab.removeContainer("c");
  await assertGone(endpoint?.id ?? "", "d");
  await lab.stop("h1");
  await lab.startAgent("h1");
  await assertGone(endpoint?.id ?? "", "d");
  assert.equal((await detach(path)).endpoint, endpoint?.id);
  await inSync(lab, "h1");
});

test("the namespace of a process goes with it, and detaching works", async (t) => {
  using host = lab.namespace("h1");
  const container = new BackgroundProgram(t, host, "unshare", ["-n", "sh", "-c", "echo $$; read line"]);
  await container.said(/\d+\n/);
  const path = `/proc/${container.output.trim()}/ns/net`;
  const { endpoint } = await attach(path);
  await container.end("SIGKILL");
  await assertGone(endpoint?.id ?? "", "h1");
  const [failed] = (await lab.agent("h1").getStatus({})).problems;
  assert.match(failed?.reason ?? "", /its process has ended/);
  assert.equal((await detach(path)).endpoint, endpoint?.id);
  await inSync(lab, "h1");
});

test("a namespace made anew under its name gets its interface again", async () => {
  lab.removeContainer("a");
  lab.addContainer("a");
  await until(async () => {
    assert.match(await links("a"), /eth0/);
    using a = lab.namespace("a");
    assert.ok(await pings(a, peer.ips[0] as string));
  });
  await inSync(lab, "h1");
});

test("a tenant that cannot be opened keeps its own endpoints out, and no others", async () => {
  const name = `${lab.names.instance("h1")}-beta`;
  await inLab(lab, "h1", "ip", "netns", "add", name);
  await inLab(lab, "h1", "ip", "-n", name, "link", "set", "lo", "up");
  lab.addContainer("f");
  const path = namedNamespacePath(lab.names.container("f"));
  await assert.rejects(attach(path, "late"), /a namespace of this name exists and weft did not make it/);
  await attach(path);
  assert.match(await links("f"), /over0/);
  await detach(path);
  await inSync(lab, "h1");
  assert.doesNotMatch(await inLab(lab, "h1", "ip", "-n", name, "-o", "link"), /br200|vx200/);
  await inLab(lab, "h1", "ip", "netns", "del", name);
  await attach(path, "late");
  await detach(path, "late");
  await inSync(lab, "h1");
});

test("the first endpoints of many tenants come into place at the same time", async () => {
  const names = Array.from({ length: 12 }, (_, index) => `many${index}`);
  await createNetworks(
    lab,
    names.map((name, index) => ({ name, tenant: name, subnets: ["10.9.0.0/24"], vni: 300 + index })),
  );
  for (const name of names) lab.addContainer(name);
  await Promise.all(names.map((name) => lab.attach(name, "h1", name)));
  await Promise.all(names.map((name) => lab.detach(name, "h1", name)));
  await inSync(lab, "h1");
});
