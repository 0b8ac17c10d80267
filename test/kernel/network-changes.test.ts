/** Networks whose encapsulation, port or MTU changes while traffic runs over them. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import type { Lab } from "../../src/lab/lab.ts";

import { createNetworks, idle, type NetworkWish, testLab, theWholeFile, until, weft } from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream, type Traffic } from "../support/cluster-traffic.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";

const lab = await testLab(theWholeFile(), { hosts: 3 });

/** Changes a network by the command line while UDP and TCP run over it; waits until the old tunnels are gone. */
async function change(
  t: TestContext,
  network: NetworkWish,
  words: readonly string[],
  before: () => Promise<void>,
): Promise<Traffic> {
  await createNetworks(lab, [network]);
  const addresses: string[] = [];
  for (const host of ["h1", "h2", "h3"]) {
    lab.addContainer(`${network.name}-${host}`);
    addresses.push((await lab.attach(`${network.name}-${host}`, host, network.name)).ips[0] ?? "");
  }
  await idle(lab, "h1", "h2", "h3");
  await before();
  using from = lab.namespace(`${network.name}-h1`);
  using to = lab.namespace(`${network.name}-h2`);
  const stream = await startStream(t, from, to, addresses[1] ?? "");
  await changed(lab, network.name, words);
  const traffic = await stream.stop();
  t.diagnostic(JSON.stringify(traffic));
  return traffic;
}

async function changed(lab: Lab, network: string, words: readonly string[]): Promise<void> {
  const { status, complaints } = await weft(["network", "set", network, ...words, "--server", lab.serverSocket]);
  assert.equal(status, 0, complaints);
  // The agents hear of it within this time; then they take 10 seconds and what the kernel takes.
  await new Promise((resolve) => setTimeout(resolve, 500));
  for (const host of lab.hosts)
    await until(async () => {
      const { networks, inSync } = await lab.agent(host).getStatus({});
      assert.deepEqual(networks.find(({ name }) => name === network)?.standby, [], `${host} has ended the old way`);
      assert.ok(inSync);
    }, 30_000);
}

async function tunnels(host: string, tenant: string): Promise<string[]> {
  const lines = (await inTenant(lab, host, tenant, "ip", "-br", "link")).split("\n");
  return lines.map((line) => line.split(/[@\s]/)[0] ?? "").filter((name) => /^(vx|[gnri][0-9a-z]+-)/.test(name));
}

/** Tenants may have the same subnets, but not where hosts route them without a tunnel. */
const dual = (number: number) => ({ subnets: [`10.${number}.0.0/24`, `fd00:${number}::/64`] });
const changes: readonly (readonly [
  what: string,
  needs: readonly KernelFeature[],
  network: NetworkWish,
  words: readonly string[],
])[] = [
  ["port of a flat network", ["quick processes", "nft-inet"], { name: "p2", vni: 101, ...dual(1) }, ["--port", "8472"]],
  [
    "port of a routed network",
    ["quick processes", "nft-inet"],
    { name: "p3", vni: 102, mode: "l3", ...dual(2) },
    ["--port", "8472"],
  ],
  ["smaller MTU", ["quick processes", "nft-inet"], { name: "m2", vni: 103, ...dual(3) }, ["--mtu", "1300"]],
  [
    "VXLAN to Geneve, flat",
    ["geneve", "nft-inet"],
    { name: "vg", vni: 104, ...dual(4) },
    ["--encapsulation", "geneve"],
  ],
  [
    "Geneve to NVGRE, flat",
    ["geneve", "gretap"],
    { name: "gn", vni: 5000, encapsulation: "geneve", ...dual(5) },
    ["--encapsulation", "nvgre"],
  ],
  [
    "GRE to VXLAN, routed",
    ["gre", "nft-inet"],
    { name: "rv", vni: 106, mode: "l3", encapsulation: "gre", ...dual(6) },
    ["--encapsulation", "vxlan"],
  ],
  [
    "IPIP to Geneve, routed",
    ["ipip", "sit", "geneve"],
    { name: "ig", vni: 107, mode: "l3", encapsulation: "ipip", ...dual(7) },
    ["--encapsulation", "geneve"],
  ],
  [
    "VXLAN to no tunnel, routed",
    ["quick processes", "nft-inet"],
    { name: "vd", vni: 108, mode: "l3", subnets: ["10.8.0.0/24"] },
    ["--encapsulation", "direct"],
  ],
  [
    "no tunnel to VXLAN, routed",
    ["quick processes", "nft-inet"],
    { name: "dv", vni: 109, mode: "l3", encapsulation: "direct", subnets: ["10.9.0.0/24"] },
    ["--encapsulation", "vxlan"],
  ],
];

// Agents take seconds to end an old way, so side by side, each in a tenant of its own.
describe("no packet is lost by a change", { concurrency: true }, () => {
  for (const [what, needs, network, words] of changes)
    it(what, requires(...needs), async (t) => {
      const { name } = network;
      const before = new Set<string>();
      const traffic = await change(t, { ...network, tenant: name }, words, async () => {
        for (const device of await tunnels("h1", name)) before.add(device);
      });
      const now = await tunnels("h1", name);
      for (const host of ["h1", "h2", "h3"]) await lab.detach(`${name}-${host}`, host, name);
      assert.equal(traffic.lost, 0);
      assert.equal(traffic.tcpError, "");
      const kept = now.filter((device) => before.has(device));
      assert.deepEqual(kept, words.includes("--mtu") ? [...before] : [], "no tunnel of the old way is left");
    });
});
