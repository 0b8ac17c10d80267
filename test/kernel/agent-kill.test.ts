/**
 * The agent is killed again and again while thousands of remote endpoints come, go and move. Afterwards the kernel has
 * what the server says, no more and no less, and what others made is as it was.
 * WEFT_KILLS: how often, default 5.
 */
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createNetworks, inLab, inSync, testLab, theWholeFile, until, weftJson } from "../support/cluster.ts";
import { type PublishedEndpoint, PublishingNode } from "../support/cluster-node.ts";
import { inTenant, kernelTables, wantedTables } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";

const kills = Number(process.env.WEFT_KILLS ?? 5);
const total = 2_000;

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 3 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 }]);
lab.addContainer("a");
await lab.attach("a", "h1", "web", { ips: ["10.1.0.1"] });
for (const host of ["h2", "h3"]) await lab.stop(host);

const foreignFdb = "02:fe:00:00:00:01";
const foreignIp = "10.1.255.250";

async function makeForeignObjects(): Promise<void> {
  for (const command of [
    `bridge fdb add ${foreignFdb} dev vx100 dst 192.0.2.77 self permanent`,
    `ip neigh add ${foreignIp} lladdr 02:fe:00:00:00:02 dev br100 nud permanent`,
    "ip link add foreign0 type bridge",
    "ip addr add 198.51.100.1/24 dev foreign0",
    "ip link set foreign0 up",
    "nft add table bridge foreign",
    "nft 'add chain bridge foreign forward { type filter hook forward priority 5; policy accept; }'",
    "nft add rule bridge foreign forward ether type 0x88b5 counter drop",
  ])
    await inTenant(lab, "h1", "acme", "sh", "-ec", command);
  await inLab(
    lab,
    "h1",
    "sh",
    "-ec",
    `ip nexthop add id 7 via 192.0.2.2 fdb
     ip nexthop add id 8 group 7 fdb
     ip link add foreign1 type bridge
     ip route add 198.51.100.0/24 via 192.0.2.2
     nft add table inet foreign
     nft 'add chain inet foreign input { type filter hook input priority 5; policy accept; }'
     nft add rule inet foreign input udp dport 9 counter drop`,
  );
}

/** Rows with weft's mark that no server knows: of an agent that died after it wrote the kernel and before its disk. */
async function leaveRowsBehind(): Promise<void> {
  for (const command of [
    "bridge fdb add 02:bb:00:00:00:01 dev vx100 dst 192.0.2.3 self extern_learn permanent",
    "bridge fdb add 02:bb:00:00:00:01 dev vx100 master extern_learn",
    "ip neigh add 10.1.250.1 lladdr 02:bb:00:00:00:01 dev br100 nud permanent extern_learn",
    "bridge fdb append 00:00:00:00:00:00 dev vx100 dst 192.0.2.88 self permanent",
  ])
    await inTenant(lab, "h1", "acme", "sh", "-ec", command);
}

/** As the tools print them. */
async function foreignObjects(): Promise<string> {
  return [
    await inTenant(lab, "h1", "acme", "sh", "-ec", `bridge fdb show dev vx100 | grep ${foreignFdb}`),
    await inTenant(lab, "h1", "acme", "ip", "neigh", "show", foreignIp),
    await inTenant(lab, "h1", "acme", "ip", "addr", "show", "dev", "foreign0"),
    await inTenant(lab, "h1", "acme", "nft", "-a", "list", "table", "bridge", "foreign"),
    await inLab(lab, "h1", "sh", "-ec", "ip nexthop show id 7; ip nexthop show id 8; ip link show foreign1"),
    await inLab(lab, "h1", "ip", "route"),
    await inLab(lab, "h1", "ip", "addr", "show", "dev", "eth0"),
    await inLab(lab, "h1", "nft", "-a", "list", "table", "inet", "foreign"),
  ].join("");
}

function endpoint(number: number, generation: number): PublishedEndpoint {
  const hex = number.toString(16).padStart(4, "0");
  return {
    id: `${generation.toString(16).padStart(8, "0")}${hex}`,
    network: "web",
    mac: `02:aa:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`,
    ips: [`10.1.${16 + (number >> 8)}.${number & 0xff}`, `fd01::aa:${hex}`.replace(/:0+(?=.)/g, ":")],
  };
}

/** Where each endpoint is, by number: the publishing node and the generation of its id. */
const places = new Map<number, { readonly node: PublishingNode; readonly generation: number }>();
let generation = 0;

/** Moves every endpoint of a range to a node, wherever it was, or away from all. */
async function place(first: number, last: number, node: PublishingNode | undefined): Promise<void> {
  generation++;
  const deletions = new Map<PublishingNode, string[]>();
  const creations: PublishedEndpoint[] = [];
  for (let number = first; number < last; number++) {
    const before = places.get(number);
    if (before !== undefined) {
      const ids = deletions.get(before.node) ?? [];
      deletions.set(before.node, [...ids, endpoint(number, before.generation).id]);
      places.delete(number);
    }
    if (node === undefined) continue;
    places.set(number, { node, generation });
    creations.push(endpoint(number, generation));
  }
  for (const [owner, ids] of deletions) await owner.publish({ delete: ids });
  await node?.publish({ create: creations });
}

test(`killed ${kills} times while ${total} endpoints come, move and go`, async (t) => {
  const h2 = new PublishingNode(t, lab, "h2");
  const h3 = new PublishingNode(t, lab, "h3");
  await makeForeignObjects();
  const before = await foreignObjects();
  const half = total / 2;
  const steps = [
    () => place(0, total, h3),
    () => place(0, half, h2),
    () => place(half / 2, half + half / 2, undefined),
    () => place(0, total, h2),
    () => place(half, total, h3),
  ];
  for (let kill = 0; kill < kills; kill++) {
    const began = performance.now();
    const change = steps[kill % steps.length]?.();
    const starting = kill === 0 ? undefined : lab.startAgent("h1").catch(() => {});
    await sleep(randomInt(1_500));
    lab.kill("h1");
    await Promise.all([change, starting]);
    t.diagnostic(`kill ${kill}: ${Math.round(performance.now() - began)} ms`);
  }
  await place(0, 10, h2);
  await leaveRowsBehind();
  const restarted = performance.now();
  await lab.startAgent("h1");
  await inSync(lab, "h1");
  const wanted = await wantedTables(lab, "h1", "web");
  assert.ok(wanted.length > total, "there is something to compare");
  await until(async () => assert.deepEqual(await kernelTables(lab, "h1", "acme", 100), wanted));
  t.diagnostic(`equal ${Math.round(performance.now() - restarted)} ms after the last restart, ${wanted.length} rows`);

  for (const table of ["fdb", "neighbours"]) {
    const rows = (await weftJson([table, "web", "--agent", lab.agentSocket("h1")])) as {
      readonly key: string;
      readonly state: string;
    }[];
    const others = rows.filter(({ state }) => state !== "same");
    assert.deepEqual(
      others.map(({ key, state }) => `${key} ${state}`),
      [table === "fdb" ? `${foreignFdb} foreign` : `${foreignIp} foreign`],
      table,
    );
    assert.ok(rows.length > half, table);
  }
  assert.equal(await foreignObjects(), before);
});
