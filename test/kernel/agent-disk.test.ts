/** What happens to the agent's disk does not happen to the network. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { weftProgram } from "../../src/lab/process.ts";
import { hostAddresses, serverAddress } from "../../src/lab/underlay.ts";
import {
  cleanUp,
  createNetworks,
  inLab,
  inSync,
  pings,
  testLab,
  theWholeFile,
  until,
  weft,
} from "../support/cluster.ts";
import { inTenant, kernelTables } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24"], vni: 100 },
  { name: "six", subnets: ["10.6.0.0/24"], vni: 600, underlay: "ipv6" },
  { name: "pods", mode: "l3", subnets: ["10.9.0.0/16"], vni: 900 },
]);
for (const name of ["a", "b", "c", "p", "q"]) lab.addContainer(name);
await lab.attach("p", "h1", "pods");
const a = await lab.attach("a", "h1", "web");
const b = await lab.attach("b", "h2", "web");
await inSync(lab, "h1", "h2");
const directory = join(lab.names.directory, "h1");
const database = join(directory, "agent.db");

/** Everything of the network on h1: interfaces with their numbers, and rows. */
async function kernel(): Promise<string> {
  const links = await inTenant(lab, "h1", "acme", "ip", "-o", "link");
  const rows = await kernelTables(lab, "h1", "acme", 100);
  return `${links}${await inLab(lab, "a", "ip", "-o", "addr")}${rows.join("\n")}`;
}

function damage(statement: string): void {
  const opened = new DatabaseSync(database);
  opened.exec(statement);
  opened.close();
}

/** How often the log of h1 says it. */
const logged = (text: string): number =>
  readFileSync(join(lab.names.directory, "h1.log"), "utf8").split(text).length - 1;

const status = () => lab.agent("h1").getStatus({});

async function connected(...hosts: readonly string[]): Promise<void> {
  for (const host of hosts)
    await until(async () => assert.equal((await lab.agent(host).getStatus({})).serverState, "connected"));
}

/** The command that a lab starts h1's agent with. */
function agentCommand(underlay: string): string[] {
  const server = `https://${serverAddress}:7400`;
  const places = ["--data-dir", directory, "--run-dir", join(directory, "run")];
  const names = ["--name", "h1", "--instance", lab.names.instance("h1")];
  return ["agent", "--server", server, "--underlay", underlay, ...places, ...names];
}

for (const [what, statement] of [
  ["an endpoint of this node that no longer reads", `UPDATE endpoints SET endpoint = x'ffffffff' WHERE id = '${a.id}'`],
  ["an endpoint of another node that no longer reads", `UPDATE endpoints SET endpoint = x'ff' WHERE id = '${b.id}'`],
  ["a network that no longer reads", "UPDATE networks SET state = x'ffffffff'"],
] as const)
  test(`${what}: the kernel stays as it is, and the server's state heals the disk`, async () => {
    const before = await kernel();
    const complaints = logged("the state on disk is damaged");
    await lab.stop("server");
    await lab.stop("h1");
    damage(statement);
    const starting = lab.startAgent("h1").catch(() => {});
    await until(async () => assert.equal((await status()).serverState, "disconnected"));
    // By itself the node would have an address for it.
    await assert.rejects(lab.attach("q", "h1", "pods"), /did not come into place|no connection to the server/);
    assert.equal(await kernel(), before);
    assert.equal(logged("the state on disk is damaged"), complaints + 1);
    await lab.startServer();
    await connected("h1");
    await starting;
    await inSync(lab, "h1");
    assert.equal(await kernel(), before);
    await lab.stop("h1");
    await lab.startAgent("h1");
    await inSync(lab, "h1");
    assert.equal(logged("the state on disk is damaged"), complaints + 1, "the disk is whole again");
    assert.equal((await status()).netlinkWrites, 0n);
    assert.equal(await kernel(), before);
  });

test("a file that is no database: the start is refused with the way out, and the kernel stays", async () => {
  const before = await kernel();
  await lab.stop("h1");
  cpSync(directory, `${directory}.copy`, { recursive: true });
  for (const damageFile of [
    () => writeFileSync(database, "no database\n".repeat(1_000)),
    () => truncateSync(database, 5_000),
  ]) {
    for (const suffix of ["-wal", "-shm"]) rmSync(`${database}${suffix}`, { force: true });
    damageFile();
    await assert.rejects(lab.startAgent("h1"), (error: Error) => {
      assert.match(error.message, /it ended/);
      assert.ok(error.message.includes(`open the agent's database ${database}`), error.message);
      assert.match(error.message, /the file is damaged: move it away and start again/);
      return true;
    });
    assert.equal(await kernel(), before);
  }
  cpSync(`${directory}.copy`, directory, { recursive: true });
  rmSync(`${directory}.copy`, { recursive: true });
  await lab.startAgent("h1");
  await inSync(lab, "h1");
  assert.equal(await kernel(), before);
});

test("a full data directory: rows still come, attaching is refused whole, detaching works, and it heals", async (t) => {
  await lab.stop("h1");
  const saved = `${directory}.saved`;
  cpSync(directory, saved, { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", directory]);
  const unmount = (): void => {
    if (readFileSync("/proc/self/mounts", "utf8").includes(` ${directory} tmpfs`))
      execFileSync("umount", ["-l", directory]);
  };
  cleanUp(t, unmount);
  cpSync(saved, directory, { recursive: true });
  rmSync(saved, { recursive: true });
  await lab.startAgent("h1");
  // Its pauses between attempts, long by now, begin anew.
  await lab.stop("h2");
  await lab.startAgent("h2");
  await connected("h1", "h2");
  await lab.attach("c", "h1", "web");
  await inSync(lab, "h1");
  const fill = join(directory, "fill");
  assert.throws(() => writeFileSync(fill, Buffer.alloc(4 << 20)), /ENOSPC/);
  // News from the server reach the kernel.
  lab.addContainer("d");
  const d = await lab.attach("d", "h2", "web");
  using container = lab.namespace("a");
  await until(async () => assert.ok(await pings(container, d.ips[0] as string)));
  // The log of the database holds some changes more before the disk must grow.
  lab.addContainer("e");
  let refusal = "";
  for (let tries = 0; refusal === ""; tries++) {
    assert.ok(tries < 50, "the disk is full");
    await lab.attach("e", "h1", "web").then(
      () => lab.detach("e", "h1", "web"),
      (error: Error) => {
        refusal = error.message;
      },
    );
  }
  assert.ok(refusal.includes(`write the agent's database ${database}`), refusal);
  assert.match(refusal, /disk is full/);
  assert.doesNotMatch(await inLab(lab, "e", "ip", "-o", "link"), /eth0/);
  const full = await status();
  assert.equal(full.serverState, "connected");
  await lab.detach("c", "h1", "web");
  assert.doesNotMatch(await inLab(lab, "c", "ip", "-o", "link"), /eth0/);
  assert.ok(await pings(container, b.ips[0] as string));
  rmSync(fill);
  await until(async () => assert.deepEqual((await status()).problems, []));
  await lab.attach("e", "h1", "web");
  await lab.detach("e", "h1", "web");
  await until(async () => {
    const { resources } = await lab.admin.list({ kind: "endpoint" });
    assert.equal(resources.length, 4, "the server holds what is attached, and nothing else");
  });
  await inSync(lab, "h1");
  await lab.stop("h1");
  const healed = `${directory}.healed`;
  cpSync(directory, healed, { recursive: true });
  unmount();
  rmSync(directory, { recursive: true });
  cpSync(healed, directory, { recursive: true });
  await lab.startAgent("h1");
  await inSync(lab, "h1");
  assert.equal((await status()).netlinkWrites, 0n, "what is on the disk is what is in the kernel");
});

test("a log that cannot be written does not stop the agent", async () => {
  await lab.stop("h1");
  mkdirSync(join(directory, "run"), { recursive: true });
  using host = lab.namespace("h1");
  const full = openSync("/dev/full", "w");
  const { ipv4, ipv6 } = hostAddresses(1);
  const agent = host.spawn(weftProgram, agentCommand(`${ipv4},${ipv6}`), { stdio: ["ignore", full, full] });
  try {
    await connected("h1");
    await lab.attach("c", "h1", "web");
    await lab.detach("c", "h1", "web");
    await inSync(lab, "h1");
    assert.equal(agent.exitCode, null);
  } finally {
    const ended = new Promise((resolve) => agent.once("close", resolve));
    agent.kill("SIGTERM");
    await ended;
  }
  await lab.startAgent("h1");
});

test("an --underlay without the family of a network with endpoints here is refused, and the kernel stays", async () => {
  await connected("h1");
  await lab.attach("c", "h1", "six");
  await inSync(lab, "h1");
  const before = await kernel();
  await lab.stop("h1");
  using host = lab.namespace("h1");
  const { status: exitStatus, complaints } = await weft(agentCommand(hostAddresses(1).ipv4), host);
  assert.equal(exitStatus, 1);
  assert.match(complaints, /network six, which has endpoints on this node, runs over ipv6, and --underlay has no such/);
  assert.match(complaints, /--underlay IPV4,IPV6/);
  assert.equal(await kernel(), before);
  assert.match(await inLab(lab, "c", "ip", "-o", "link"), /eth0/);
  await lab.startAgent("h1");
  await inSync(lab, "h1");
});
