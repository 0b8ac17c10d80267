/**
 * Agents and the server are killed at any moment of a move: afterwards one node has the endpoint, its container alone has the
 * interface, and no kernel has a row too many. WEFT_ROUNDS: how often, default 6; WEFT_SEED: which moments.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import {
  createNetworks,
  idle,
  inLab,
  pings,
  testLab,
  theWholeFile,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { kernelTables, wantedTables } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";

const rounds = Number(process.env.WEFT_ROUNDS ?? 6);
let seed = Number(process.env.WEFT_SEED ?? process.pid);
const firstSeed = seed;

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 3 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 }]);
for (const name of ["a", "b", "c", "m", "n"]) lab.addContainer(name);
await lab.attach("a", "h1", "web");
await lab.attach("b", "h2", "web");
await lab.attach("c", "h3", "web");
const { id, ips } = await lab.attach("m", "h2", "web");
await idle(lab, "h1", "h2", "h3");
const server = ["--server", lab.serverSocket];
const containers: Readonly<Record<string, string>> = { h2: "m", h3: "n" };

/** At least 0 and less than the limit: the same numbers for the same seed. Numerical Recipes, §7.1. */
function random(limit: number): number {
  seed = (seed * 1_664_525 + 1_013_904_223) % 2 ** 32;
  return Math.floor((seed / 2 ** 32) * limit);
}

async function owner(): Promise<{ node: string; standby?: object; formerNodes?: string[] }> {
  return weftJson(["endpoint", "show", id, ...server]);
}

test(`${rounds} moves during which something is killed end with one owner`, async (t) => {
  t.diagnostic(`WEFT_SEED=${firstSeed}`);
  const ended = new Map<string, number>();
  using a = lab.namespace("a");
  for (let round = 0; round < rounds; round++) {
    const from = (await owner()).node;
    const to = from === "h2" ? "h3" : "h2";
    const victim = [from, to, "server"][random(3)] as string;
    const pause = random(250);
    const place = ["--netns", lab.names.container(containers[to] as string)];
    const moving = weft(["migrate", id, "--to", to, ...place, ...server]);
    // From before the command is heard until after it is done.
    await setTimeout(300 + pause);
    lab.kill(victim);
    if (victim === "server") await lab.startServer();
    else await lab.startAgent(victim);
    const { status } = await moving;
    const what = `round ${round}: ${victim} killed after ${pause} ms of a move from ${from} to ${to}, which ended with ${status}`;
    await until(async () => {
      const { node, standby, formerNodes } = await owner();
      assert.deepEqual({ standby, formerNodes }, { standby: undefined, formerNodes: undefined }, what);
      assert.ok(status !== 0 || node === to, what);
    });
    await idle(lab, "h1", "h2", "h3");
    const { node } = await owner();
    for (const [host, container] of Object.entries(containers))
      await until(async () =>
        assert.equal((await inLab(lab, container, "ip", "-o", "link")).includes("eth0"), host === node, what),
      );
    for (const host of lab.hosts)
      await until(async () =>
        assert.deepEqual(await kernelTables(lab, host, "acme", 100), await wantedTables(lab, host, "web"), what),
      );
    for (const ip of ips) await until(async () => assert.ok(await pings(a, ip), what));
    const end = `${victim}: ${node === to ? "moved" : "stayed"}`;
    ended.set(end, (ended.get(end) ?? 0) + 1);
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(ended)));
});
