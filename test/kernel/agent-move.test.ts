/** Containers that move between hosts with their addresses. WEFT_MOVES: how many quick moves, default 100. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createNetworks, inSync, pings, testLab, theWholeFile, until, weft } from "../support/cluster.ts";
import { inTenant, kernelTables, wantedTables } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { fileRequires } from "../support/kernel.ts";

const moves = Number(process.env.WEFT_MOVES ?? 100);
await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 3 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 }]);
const address = { ips: ["10.1.0.7", "fd01::7"], mac: "02:00:5e:10:00:07" };
for (const name of ["a", "b", "c", "m", "taker"]) lab.addContainer(name);
await lab.attach("a", "h1", "web");
await lab.attach("b", "h2", "web");
await lab.attach("c", "h3", "web");
await lab.attach("m", "h2", "web", address);
await inSync(lab, "h1", "h2", "h3");

/** As an operator does it. */
async function move(from: string, to: string): Promise<void> {
  const netns = lab.names.container("m");
  const detached = await weft(["detach", "web", "--netns", netns, "--agent", lab.agentSocket(from)]);
  assert.equal(detached.status, 0, detached.complaints);
  const words = ["attach", "web", "--netns", netns, "--agent", lab.agentSocket(to), "--mac", address.mac];
  const attached = await weft([...words, ...address.ips.flatMap((ip) => ["--ip", ip])]);
  assert.equal(attached.status, 0, attached.complaints);
}

async function assertKernelsAreAsWanted(): Promise<void> {
  await inSync(lab, "h1", "h2", "h3");
  for (const host of lab.hosts)
    assert.deepEqual(await kernelTables(lab, host, "acme", 100), await wantedTables(lab, host, "web"), host);
}

test("a connection survives the move of its container, and every host knows the new place", async (t) => {
  using a = lab.namespace("a");
  using m = lab.namespace("m");
  const stream = await startStream(t, a, m, "10.1.0.7");
  const began = performance.now();
  await move("h2", "h3");
  await until(async () =>
    assert.ok(
      (await kernelTables(lab, "h1", "acme", 100)).includes("tunnel 02:00:5e:10:00:07 via 192.0.2.3"),
      "h1 sends to h3",
    ),
  );
  await until(async () => assert.ok(await pings(a, "10.1.0.7")));
  const moved = performance.now() - began;
  await until(async () => assert.ok(await pings(a, "fd01::7")));
  // TCP asks again after its own pause, which grew while nobody answered.
  const traffic = await stream.stop();
  t.diagnostic(JSON.stringify(traffic));
  assert.equal(traffic.tcpError, "");
  assert.equal(traffic.tcpAnswered, traffic.tcpSent);
  assert.ok(traffic.longestGap < moved + 10_000 + traffic.longestGapBeside, `the move itself took ${moved} ms`);
  await assertKernelsAreAsWanted();
  assert.match(
    await inTenant(lab, "h2", "acme", "bridge", "fdb", "show", "br", "br100"),
    /02:00:5e:10:00:07 dev vx100/,
  );
});

test(`${moves} quick moves back and forth end where the last one led`, async (t) => {
  const began = performance.now();
  let at = "h3";
  for (let number = 0; number < moves; number++) {
    const next = at === "h3" ? "h2" : "h3";
    await lab.detach("m", at, "web");
    await lab.attach("m", next, "web", address);
    at = next;
  }
  t.diagnostic(`${moves} moves in ${Math.round(performance.now() - began)} ms`);
  await assertKernelsAreAsWanted();
  using a = lab.namespace("a");
  assert.ok(await pings(a, "10.1.0.7"));
  assert.ok(await pings(a, "fd01::7"));
});

test("an address that is taken is refused, with who has it, and nothing is left", async () => {
  const [taken] = (await lab.admin.list({ kind: "endpoint", network: "web" })).resources.flatMap(({ resource }) =>
    resource.case === "endpoint" && resource.value.mac === address.mac ? [resource.value] : [],
  );
  assert.ok(taken !== undefined);
  for (const words of [
    ["--ip", "10.1.0.7"],
    ["--ip", "fd01::7"],
    ["--mac", address.mac],
  ]) {
    const netns = lab.names.container("taker");
    const refused = await weft(["attach", "web", "--netns", netns, "--agent", lab.agentSocket("h1"), ...words]);
    assert.equal(refused.status, 1);
    assert.ok(refused.complaints.includes(`endpoint ${taken.id} on node `), refused.complaints);
    assert.ok(refused.complaints.includes(words[1] ?? ""), refused.complaints);
  }
  assert.equal((await lab.admin.list({ kind: "endpoint" })).resources.length, 4);
  await assertKernelsAreAsWanted();
});
