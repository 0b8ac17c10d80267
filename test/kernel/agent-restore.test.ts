/** The server comes back from an older copy of its data: what lives on the nodes is claimed again, not torn down. */
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
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
  weftJson,
} from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 2 });
const data = join(lab.names.directory, "server");
const copy = join(lab.names.directory, "copy");
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16"], vni: 100 }]);
for (const name of ["a", "b", "c"]) lab.addContainer(name);
await lab.attach("b", "h2", "web");

async function save(): Promise<void> {
  await lab.stop("server");
  rmSync(copy, { recursive: true, force: true });
  cpSync(data, copy, { recursive: true });
  await lab.startServer();
  await connected();
}

async function restore(): Promise<void> {
  await lab.stop("server");
  rmSync(data, { recursive: true });
  cpSync(copy, data, { recursive: true });
  await lab.startServer();
  await connected();
}

const status = (host: string) => weftJson(["status", "--agent", lab.agentSocket(host)]);

async function connected(): Promise<void> {
  for (const host of ["h1", "h2"])
    await until(async () => assert.equal((await status(host)).agent.serverState, "connected"));
}

async function endpointIds(): Promise<string[]> {
  const { resources } = await lab.admin.list({ kind: "endpoint" });
  return resources.map(({ resource }) => (resource.case === "endpoint" ? resource.value.id : "")).sort();
}

test("an endpoint that the restored server never heard of is claimed again, and its interface stays", async () => {
  await save();
  const { id, ips } = await lab.attach("a", "h1", "web");
  await inSync(lab, "h1", "h2");
  const before = await inLab(lab, "a", "ip", "-o", "link", "show", "eth0");
  await restore();
  await until(async () => assert.ok((await endpointIds()).includes(id)));
  await inSync(lab, "h1", "h2");
  assert.equal(await inLab(lab, "a", "ip", "-o", "link", "show", "eth0"), before);
  using b = lab.namespace("b");
  assert.ok(await pings(b, ips[0] as string));
});

interface AgentEvent {
  readonly kind: string;
  readonly object: string;
  readonly message: string;
}

/** One JSON document a line. */
async function events(): Promise<AgentEvent[]> {
  const { output } = await weft(["events", "--agent", lab.agentSocket("h1"), "-o", "json"]);
  return output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as AgentEvent);
}

test("what the restored server refuses goes, with an event that says so", async () => {
  await save();
  await lab.admin.create({
    resources: [{ resource: { case: "network", value: { name: "late", tenant: "acme", subnets: ["10.2.0.0/16"] } } }],
  });
  const { id } = await lab.attach("c", "h1", "late");
  await restore();
  await until(async () => {
    const { agent } = await status("h1");
    assert.ok(!agent.endpoints.some((each: { endpoint: { id: string } }) => each.endpoint.id === id));
  });
  assert.ok(
    (await events()).some(
      (event) => event.kind === "detached" && event.object.includes(id) && /no network late/.test(event.message),
    ),
  );
  await inSync(lab, "h1");
  await assert.rejects(inLab(lab, "c", "ip", "link", "show", "eth0"));
  // The place is free again.
  await lab.attach("c", "h1", "web");
});

test("an endpoint that an administrator deletes goes, with an event that says so", async () => {
  const { endpoints } = (await status("h1")).agent;
  const { endpoint } = endpoints.find((each: { netns: string }) => each.netns.endsWith("-c-c"));
  await lab.admin.delete({ resources: [{ kind: "endpoint", name: endpoint.id }] });
  await until(async () => assert.rejects(inLab(lab, "c", "ip", "link", "show", "eth0")));
  assert.ok((await events()).some((event) => event.object.includes(endpoint.id) && /released it/.test(event.message)));
  await lab.attach("c", "h1", "web");
  await lab.detach("c", "h1", "web");
  await assert.rejects(inLab(lab, "c", "ip", "link", "show", "eth0"));
});

test("endpoints are claimed again until the server knows them all, also when it and the agent die meanwhile", async () => {
  // Their pauses between attempts, long by now, begin anew.
  for (const host of ["h1", "h2"]) {
    await lab.stop(host);
    await lab.startAgent(host);
  }
  await save();
  const containers = Array.from({ length: 12 }, (_, index) => `many${index}`);
  const ids: string[] = [];
  for (const name of containers) {
    lab.addContainer(name);
    ids.push((await lab.attach(name, "h1", "web")).id);
  }
  await inSync(lab, "h1");
  const interfaces = async () => {
    const lines: string[] = [];
    for (const name of containers) lines.push(await inLab(lab, name, "ip", "-o", "link", "show", "eth0"));
    return lines;
  };
  const before = await interfaces();
  const claims = () => readFileSync(join(lab.names.directory, "h1.log"), "utf8").split("claiming them again").length;
  const claimsBefore = claims();
  await lab.stop("server");
  rmSync(data, { recursive: true });
  cpSync(copy, data, { recursive: true });
  await lab.startServer();
  await until(() => assert.ok(claims() > claimsBefore));
  lab.kill("server");
  await until(async () => assert.equal((await status("h1")).agent.serverState, "disconnected"));
  assert.deepEqual(await interfaces(), before, "they never left the kernel");
  await lab.startServer();
  await until(async () => assert.equal((await status("h1")).agent.serverState, "connected"));
  lab.kill("h1");
  await lab.startAgent("h1");
  await until(async () => {
    const known = await endpointIds();
    for (const id of ids) assert.ok(known.includes(id), `${id} is known`);
  });
  await connected();
  await idle(lab, "h1", "h2");
  assert.deepEqual(await interfaces(), before);
  // No address was given away meanwhile.
  const { resources } = await lab.admin.list({ kind: "endpoint" });
  const ips = resources.flatMap(({ resource }) => (resource.case === "endpoint" ? resource.value.ips : []));
  assert.equal(new Set(ips).size, ips.length);
  for (const name of containers) await lab.detach(name, "h1", "web");
});

test("an endpoint that an administrator deletes while its node is away goes when the node comes back", async () => {
  const { id } = await lab.attach("c", "h1", "web");
  await inSync(lab, "h1");
  lab.kill("h1");
  await lab.admin.delete({ resources: [{ kind: "endpoint", name: id }] });
  await lab.startAgent("h1");
  await connected();
  await until(async () => assert.rejects(inLab(lab, "c", "ip", "link", "show", "eth0")));
  assert.ok((await events()).some((event) => event.object.includes(id) && /released it/.test(event.message)));
  await inSync(lab, "h1");
  assert.ok(!(await endpointIds()).includes(id), "it was not claimed again");
  // The place is free again.
  await lab.attach("c", "h1", "web");
  await lab.detach("c", "h1", "web");
});

test("a network that was made anew while its node was away takes the old one's place", async () => {
  const tenant = "beta";
  await createNetworks(lab, [{ name: "again", tenant, subnets: ["10.8.0.0/24"], vni: 800 }]);
  const { id } = await lab.attach("c", "h1", "again");
  lab.kill("h1");
  await lab.admin.delete({ resources: [{ kind: "endpoint", name: id }] });
  await lab.admin.delete({ resources: [{ kind: "network", name: "again" }] });
  await createNetworks(lab, [
    { name: "again", tenant, subnets: ["10.8.0.0/24"], vni: 801 },
    { name: "heir", tenant: "gamma", subnets: ["10.9.0.0/24"], vni: 800 },
  ]);
  await lab.startAgent("h1");
  await connected();
  await until(async () => assert.rejects(inLab(lab, "c", "ip", "link", "show", "eth0")));
  for (const network of ["again", "heir"]) {
    await lab.attach("c", "h1", network);
    await inSync(lab, "h1");
    const { networks } = (await status("h1")).agent;
    const [found] = networks.filter((each: { name: string }) => each.name === network);
    assert.equal(found.vni, network === "again" ? 801 : 800);
    await lab.detach("c", "h1", network);
  }
});
