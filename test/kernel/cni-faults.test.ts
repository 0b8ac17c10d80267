/**
 * What runtimes do when things go wrong: calls that are killed, made twice, or made in another order, while agents die and the server goes
 * away. Whatever happened, the last DEL leaves nothing. WEFT_CNI_CALLS: how many calls (default 300); WEFT_SEED: which ones.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createNetworks, inLab, testLab, theWholeFile, until } from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { type CallOptions, type Configuration, Runtime } from "../support/cni.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const calls = Number(process.env.WEFT_CNI_CALLS ?? 300);
const seed = Number(process.env.WEFT_SEED ?? Date.now() % 1_000_000);
const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "flat", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 },
  { name: "routed", mode: "l3", subnets: ["10.3.0.0/16"], vni: 300 },
]);
const names = Array.from({ length: 12 }, (_, index) => `c${index}`);
for (const name of names) lab.addContainer(name);
const runtime = new Runtime(lab, "h1");
const dataDir = join(lab.names.directory, "host-local");
const ipam = { type: "host-local", dataDir, ranges: [[{ subnet: "10.1.0.0/16", rangeStart: "10.1.128.0" }]] };
const configurations: readonly Configuration[] = [
  runtime.configuration({ cniVersion: "1.0.0", name: "flat", network: "flat" }),
  runtime.configuration({ cniVersion: "1.0.0", name: "routed", network: "routed" }),
  runtime.configuration({ cniVersion: "1.0.0", name: "ipam", network: "flat", ipam }),
];

/** The same numbers for the same seed. Mulberry32. */
function randomNumbers(of: number): () => number {
  let state = of;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("calls that are killed, doubled and reordered while agent and server die leave nothing", async (t) => {
  t.diagnostic(`${calls} calls, WEFT_SEED=${seed}`);
  const random = randomNumbers(seed);
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)] as Value;
  const outcomes = new Map<string, number>();
  const call = async (command: string, configuration: Configuration, options: CallOptions): Promise<void> => {
    const { status, answer } = await runtime.call(command, configuration, options);
    const outcome = `${command} ${status === 0 ? "done" : status < 0 ? "killed" : `code ${answer?.code}`}`;
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    // Runtimes try again later when they are told to.
    if (answer?.code === 11) await sleep(200);
  };
  let left = calls;
  /** One container after the other comes and goes, in one of many ways. */
  const worker = async (own: readonly string[]): Promise<void> => {
    while (left > 0) {
      const container = pick(own);
      const configuration = pick(configurations);
      const name = pick(["eth0", "net1"]);
      const options = { container, interface: name };
      const fate = random();
      const killed = { ...options, killAfter: random() * 40 };
      left -= 2;
      if (fate < 0.1) await call("ADD", configuration, killed);
      else if (fate < 0.2)
        await Promise.all([call("ADD", configuration, options), call("ADD", configuration, options)]);
      else if (fate < 0.3)
        await Promise.all([call("ADD", configuration, options), call("DEL", configuration, options)]);
      else await call("ADD", configuration, options);
      const end = random();
      if (end < 0.1) await call("DEL", configuration, killed);
      else if (end < 0.2) await Promise.all([call("DEL", configuration, options), call("DEL", configuration, options)]);
      else await call("DEL", configuration, options);
    }
  };
  let isOver = false;
  const trouble = async (): Promise<void> => {
    for (let round = 0; !isOver; round++) {
      const before = left;
      await until(() => assert.ok(isOver || left < before - calls / 5));
      if (isOver) return;
      const what = round % 3 === 2 ? "server" : "h1";
      lab.kill(what);
      await (what === "server" ? lab.startServer() : lab.startAgent("h1"));
    }
  };
  const workers = [0, 1, 2, 3].map((part) => worker(names.filter((_, index) => index % 4 === part)));
  const troubled = trouble();
  await Promise.all(workers);
  isOver = true;
  await troubled;
  // The runtime's last word on each of them.
  for (const container of names)
    for (const name of ["eth0", "net1"])
      for (const configuration of configurations)
        await runtime.must("DEL", configuration, { container, interface: name });
  t.diagnostic(
    [...outcomes]
      .sort()
      .map(([outcome, count]) => `${outcome}: ${count}`)
      .join(", "),
  );
  assert.ok((outcomes.get("ADD done") ?? 0) > calls / 8, "most of them worked");

  await until(async () => {
    assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []);
    const status = await lab.agent("h1").getStatus({});
    assert.deepEqual(status.endpoints, []);
    assert.deepEqual(status.problems, []);
    // A block stays the node's, and with it the network.
    for (const network of status.networks) {
      assert.equal(network.name, "routed");
      assert.equal(network.localEndpoints, 0);
      assert.doesNotMatch(await inTenant(lab, "h1", "acme", "ip", "-br", "link"), /^ve/m);
    }
  });
  for (const name of names)
    assert.match(await inLab(lab, name, "ip", "-br", "link"), /^lo\s.*\n$/, `${name} has nothing but lo`);
  assert.doesNotMatch(await inLab(lab, "h1", "ip", "-br", "link"), /^ve/m);
  // What a killed plugin was writing goes when an agent starts.
  const written = readdirSync(join(lab.names.directory, "h1/run/cni-deleted"));
  assert.deepEqual(
    written.filter((name) => !name.endsWith(".new")),
    [],
  );
  const reserved = existsSync(join(dataDir, "ipam")) ? readdirSync(join(dataDir, "ipam")) : [];
  assert.deepEqual(
    reserved.filter((file) => /^\d+\.\d+\.\d+\.\d+$/.test(file)),
    [],
  );
  await lab.stop("h1");
  const database = new DatabaseSync(join(lab.names.directory, "h1/agent.db"));
  for (const table of ["attachments", "endpoints"])
    assert.deepEqual(database.prepare(`SELECT * FROM ${table}`).all(), [], table);
  database.close();
});
