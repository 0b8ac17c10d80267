/**
 * Networks whose encapsulation, port or MTU changes while traffic runs over them. WEFT_STANDSTILL: for how many seconds an
 * agent stands still meanwhile, default 3.
 */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Lab } from "../../src/lab/lab.ts";
import { weftProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  createNetworks,
  type NetworkWish,
  testLab,
  theWholeFile,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream, type Traffic } from "../support/cluster-traffic.ts";
import { inPlace } from "../support/in-place.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";

const lab = await testLab(theWholeFile(), { hosts: 3 });

const hosts = ["h1", "h2", "h3"] as const;

/** Makes the network with a container on each host; UDP and TCP run over it from h1 to `to` while `meanwhile` does its work. */
async function underTraffic(
  t: TestContext,
  network: NetworkWish,
  to: (typeof hosts)[number],
  meanwhile: () => Promise<void>,
): Promise<void> {
  const { name } = network;
  await createNetworks(lab, [network]);
  let address = "";
  for (const host of hosts) {
    lab.addContainer(`${name}-${host}`);
    const { ips } = await lab.attach(`${name}-${host}`, host, name);
    if (host === to) address = ips[0] ?? "";
  }
  await inPlace(lab, name);
  using from = lab.namespace(`${name}-h1`);
  using receiver = lab.namespace(`${name}-${to}`);
  const stream = await startStream(t, from, receiver, address);
  await meanwhile();
  const traffic: Traffic = await stream.stop();
  t.diagnostic(JSON.stringify(traffic));
  for (const host of hosts) await lab.detach(`${name}-${host}`, host, name);
  assert.equal(traffic.lost, 0);
  assert.equal(traffic.tcpError, "");
}

/** Changes a network by the command line; waits until the old tunnels are gone. */
async function changed(lab: Lab, network: string, words: readonly string[]): Promise<void> {
  const { server, limit } = { server: ["--server", lab.serverSocket], limit: "10m" };
  const { status, complaints } = await weft(["network", "set", network, ...words, "--wait", limit, ...server]);
  assert.equal(status, 0, complaints);
  for (const host of lab.hosts) {
    const { networks } = await lab.agent(host).getStatus({});
    assert.deepEqual(networks.find(({ name }) => name === network)?.standby, [], `${host} has ended the old way`);
  }
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

// Side by side, each in a tenant of its own.
describe("no packet is lost by a change", { concurrency: true }, () => {
  for (const [what, needs, network, words] of changes)
    it(what, requires(...needs), async (t) => {
      const { name } = network;
      await underTraffic(t, { ...network, tenant: name }, "h2", async () => {
        const before = await tunnels("h1", name);
        await changed(lab, name, words);
        const kept = (await tunnels("h1", name)).filter((device) => before.includes(device));
        assert.deepEqual(kept, words.includes("--mtu") ? before : [], "no tunnel of the old way is left");
      });
    });
});

const standstill = Number(process.env.WEFT_STANDSTILL ?? 3);

/** What is done while the agent of h3 does nothing. */
async function withoutAgent3(action: () => Promise<void>): Promise<void> {
  const agent = lab.processes.find(({ name }) => name === "h3");
  assert.ok(agent !== undefined);
  process.kill(agent.pid, "SIGSTOP");
  try {
    await action();
  } finally {
    process.kill(agent.pid, "SIGCONT");
  }
}

async function setPort(network: string, port: string): Promise<void> {
  const { status, complaints } = await weft(["network", "set", network, "--port", port, "--server", lab.serverSocket]);
  assert.equal(status, 0, complaints);
}

it(`no packet is lost while a node takes ${standstill} s for a change`, requires("nft-inet"), async (t) => {
  const name = "slow";
  await underTraffic(t, { name, vni: 110, tenant: name, changeTimeout: 600, ...dual(10) }, "h3", async () => {
    await withoutAgent3(async () => {
      await setPort(name, "8473");
      await sleep(standstill * 1_000);
      await until(async () => {
        const { readiness } = await weftJson(["network", "show", name, "--server", lab.serverSocket]);
        assert.equal(readiness.change?.phase, "receive");
        assert.deepEqual(
          readiness.behind.map(({ node }: { node: string }) => node),
          ["h3"],
        );
      });
    });
    await changed(lab, name, ["--port", "8473"]);
    const { readiness } = await weftJson(["network", "show", name, "--server", lab.serverSocket]);
    assert.deepEqual([readiness.inPlace, readiness.nodes, readiness.change], [3, 3, undefined]);
    for (const node of await weftJson(["node", "list", "--server", lab.serverSocket]))
      assert.equal(node.networksBehind, 0, node.name);
  });
});

const onQuickMachines = requires("nft-inet", "quick processes");

it("no packet is lost when server and agents start again during a change", onQuickMachines, async (t) => {
  const name = "again";
  await underTraffic(t, { name, vni: 111, tenant: name, changeTimeout: 600, ...dual(11) }, "h3", async () => {
    await withoutAgent3(async () => {
      await setPort(name, "8475");
      lab.kill("server");
      await lab.startServer();
    });
    for (const host of ["h1", "h3"]) {
      lab.kill(host);
      await lab.startAgent(host);
    }
    await changed(lab, name, ["--port", "8475"]);
  });
});

it("a change that is not in place in time is told with the names of those behind", onQuickMachines, async (t) => {
  const name = "late";
  await createNetworks(lab, [{ name, vni: 112, tenant: name, ...dual(12) }]);
  for (const host of hosts) {
    lab.addContainer(`${name}-${host}`);
    await lab.attach(`${name}-${host}`, host, name);
  }
  await inPlace(lab, name);
  await withoutAgent3(async () => {
    const words = ["network", "set", name, "--mtu", "1300", "--wait", "3s", "--server", lab.serverSocket];
    const { status, output, complaints } = await weft(words);
    assert.equal(status, 1);
    assert.match(output, /network late changed/);
    assert.match(complaints, /3 s are over; in place on \d of 3 nodes; behind: .*h3 \(has not reported it yet\)/);
  });
  await changed(lab, name, ["--mtu", "1300"]);
  // A wait goes on over a restart of the server.
  using host = lab.namespace("h1");
  const words = ["network", "set", name, "--mtu", "1310", "--wait", "10m", "--server", lab.serverSocket];
  const waiting = new BackgroundProgram(t, host, weftProgram, words);
  await withoutAgent3(async () => {
    await waiting.said(/behind: h3/);
    lab.kill("server");
    await waiting.said(/asking again/);
    await lab.startServer();
  });
  assert.equal(await waiting.ended(), 0, waiting.complaints);
  // An attachment is waited for as well, by way of the agent.
  lab.addContainer("late-more");
  const netns = lab.names.container("late-more");
  const attach = ["attach", name, "--netns", netns, "--wait", "5m", "--agent", lab.agentSocket("h1")];
  const { status, complaints } = await weft(attach);
  assert.equal(status, 0, complaints);
  assert.match(complaints, /in place on 3 of 3 nodes\n$/);
});
