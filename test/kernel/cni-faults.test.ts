/**
 * What runtimes do when things go wrong: calls that are killed, made twice, or made in another order, while agents die and the server goes
 * away. Whatever happened, the last DEL leaves nothing. WEFT_CNI_CALLS: how many calls (default 300); WEFT_SEED: which ones.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { runProgram } from "../../src/lab/process.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import { createNetworks, idle, inLab, namespaceNames, testLab, theWholeFile, until } from "../support/cluster.ts";
import { settledFootprint } from "../support/cluster-footprint.ts";
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
  runtime.configuration({ cniVersion: "1.0.0", name: "foreign", network: "flat", ipam }),
  // As the plugin that makes the interface asks for its addresses.
  runtime.configuration({ cniVersion: "1.0.0", name: "held", type: "bridge", ipam: { type: "weft", network: "flat" } }),
];
const interfaces = ["eth0", "net1"];
/** One agent or server dies after so many. */
const callsBetweenDeaths = Math.max(60, calls / 50);
/** Rules of every kind in a namespace. */
const listing = `ip rule; ip -6 rule; ip route show table all; ip neigh show nud permanent; bridge fdb; bridge vlan; nft list ruleset
  for device in $(ls /sys/class/net); do tc qdisc show dev $device; tc filter show dev $device ingress; done`;
/** What counts packets, numbers that programs have anew with each agent, and the carrier of a bridge, which comes and goes later than its ports. */
const fleeting = /packets \d+ bytes \d+|\bid \d+|NO-CARRIER,|,LOWER_UP| linkdown/g;

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

type Ending = Pick<CallOptions, "container" | "interface">;

async function must(command: string, configuration: Configuration, options: Ending): Promise<void> {
  await runtime.must(command, configuration, { ...options, plugin: "weft" });
}

/** Whatever a call could leave: interfaces, addresses, namespaces, files, rules of every kind, reservations of addresses. */
async function traces(): Promise<string[]> {
  await idle(lab, "h1");
  const lines = await settledFootprint(lab);
  for (const name of namespaceNames().filter(lab.names.isOwn)) {
    using namespace = NetworkNamespace.openNamed(name);
    const { output } = await runProgram(namespace, "sh", ["-c", listing]);
    for (const line of output.split("\n")) lines.push(`${name}: ${line.trim()}`);
  }
  return lines.map((line) => line.replace(fleeting, "")).sort();
}

test("calls that are killed, doubled and reordered while agent and server die leave nothing", async (t) => {
  t.diagnostic(`${calls} calls, WEFT_SEED=${seed}`);
  // What stays once a network was here: blocks are the node's, and with them the network.
  for (const configuration of configurations)
    for (const command of ["ADD", "DEL"]) await must(command, configuration, { container: "c0", interface: "eth0" });
  await until(async () => assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []));
  const before = await traces();
  const random = randomNumbers(seed);
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)] as Value;
  const outcomes = new Map<string, number>();
  let left = calls;
  const call = async (command: string, configuration: Configuration, options: CallOptions): Promise<void> => {
    const { status, answer } = await runtime.call(command, configuration, { ...options, plugin: "weft" });
    const outcome = `${command} ${status === 0 ? "done" : status < 0 ? "killed" : `code ${answer?.code}`}`;
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (answer?.code !== 11) return;
    // Runtimes try again later when they are told to, as often as it takes.
    left++;
    await sleep(200);
  };
  /** One container after the other comes and goes, in one of many ways. */
  const worker = async (own: readonly string[]): Promise<void> => {
    while (left > 0) {
      const container = pick(own);
      const configuration = pick(configurations);
      const name = pick(interfaces);
      const options = { container, interface: name };
      const fate = random();
      // Half of them have ended before.
      const killed = { ...options, killAfter: random() * 40 };
      left -= 2;
      if (fate < 0.2) await call("ADD", configuration, killed);
      else if (fate < 0.3)
        await Promise.all([call("ADD", configuration, options), call("ADD", configuration, options)]);
      else if (fate < 0.4)
        await Promise.all([call("ADD", configuration, options), call("DEL", configuration, options)]);
      else await call("ADD", configuration, options);
      const end = random();
      if (end < 0.2) await call("DEL", configuration, killed);
      else if (end < 0.3) await Promise.all([call("DEL", configuration, options), call("DEL", configuration, options)]);
      else await call("DEL", configuration, options);
    }
  };
  let [isOver, deaths] = [false, 0];
  const trouble = async (): Promise<void> => {
    for (let round = 0; !isOver; round++) {
      const next = left - callsBetweenDeaths;
      await until(() => assert.ok(isOver || left < next));
      if (isOver) return;
      deaths++;
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
    for (const name of interfaces)
      for (const configuration of configurations) await must("DEL", configuration, { container, interface: name });
  t.diagnostic(
    [...outcomes]
      .sort()
      .map(([outcome, count]) => `${outcome}: ${count}`)
      .join(", "),
  );
  t.diagnostic(`agent or server killed ${deaths} times`);
  assert.ok((outcomes.get("ADD done") ?? 0) > calls / 8, "most of them worked");

  await until(async () => {
    const status = await lab.agent("h1").getStatus({});
    assert.deepEqual([status.endpoints, status.problems], [[], []]);
  });
  for (const name of names)
    assert.match(await inLab(lab, name, "ip", "-br", "link"), /^lo\s.*\n$/, `${name} has nothing but lo`);
  // What a killed plugin was writing goes when an agent starts.
  const isUnfinished = (line: string): boolean => /cni-deleted.*\.new$/.test(line);
  assert.deepEqual(
    (await traces()).filter((line) => !isUnfinished(line)),
    before,
  );
  await lab.stop("h1");
  {
    using database = new DatabaseSync(join(lab.names.directory, "h1/agent.db"));
    for (const table of ["attachments", "endpoints"])
      assert.deepEqual(database.prepare(`SELECT * FROM ${table}`).all(), [], table);
  }
  await lab.startAgent("h1");
  assert.deepEqual(await traces(), before);
});
