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
  inLab,
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

/** Octets of a datagram that no MTU carries whole: its fragments are as large as the MTU of the moment allows. */
const octets = 3_000;

/**
 * Makes the network with a container on each host; UDP and TCP run over it from h1 to `to`, and back, in packets of full size while
 * `meanwhile` does its work. `version`: of IP, where the network has both.
 */
async function underTraffic(
  t: TestContext,
  network: NetworkWish,
  to: (typeof hosts)[number],
  meanwhile: () => Promise<void>,
  version: 4 | 6 = 4,
): Promise<void> {
  const { name } = network;
  await createNetworks(lab, [network]);
  let address = "";
  for (const host of hosts) {
    lab.addContainer(`${name}-${host}`);
    const { ips } = await lab.attach(`${name}-${host}`, host, name);
    if (host === to) address = ips.find((ip) => ip.includes(":") === (version === 6)) ?? "";
  }
  await inPlace(lab, name);
  using from = lab.namespace(`${name}-h1`);
  using receiver = lab.namespace(`${name}-${to}`);
  const stream = await startStream(t, from, receiver, address, octets);
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

/** Of the container on h1. */
async function routesOf(network: string): Promise<string> {
  const container = `${network}-h1`;
  return `${await inLab(lab, container, "ip", "route")}${await inLab(lab, container, "ip", "-6", "route")}`;
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
  version?: 4 | 6,
])[] = [
  ["port of a flat network", ["quick processes", "nft-inet"], { name: "p2", vni: 101, ...dual(1) }, ["--port", "8472"]],
  [
    "port of a routed network",
    ["quick processes", "nft-inet"],
    { name: "p3", vni: 102, mode: "l3", ...dual(2) },
    ["--port", "8472"],
  ],
  ["smaller MTU, flat", ["quick processes", "nft-inet"], { name: "s2", vni: 103, ...dual(3) }, ["--mtu", "1300"]],
  [
    "smaller MTU, routed, IPv6",
    ["quick processes", "nft-inet"],
    { name: "s3", vni: 113, mode: "l3", ...dual(13) },
    ["--mtu", "1300"],
    6,
  ],
  [
    "larger MTU, flat",
    ["quick processes", "nft-inet"],
    { name: "m2", vni: 114, mtu: 1300, ...dual(14) },
    ["--mtu", "auto"],
  ],
  [
    "larger MTU, flat, IPv6",
    ["quick processes", "nft-inet"],
    { name: "m6", vni: 115, mtu: 1300, ...dual(15) },
    ["--mtu", "1450"],
    6,
  ],
  [
    "larger MTU, routed",
    ["quick processes", "nft-inet"],
    { name: "m3", vni: 116, mode: "l3", mtu: 1300, ...dual(16) },
    ["--mtu", "auto"],
  ],
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
  for (const [what, needs, network, words, version] of changes)
    it(what, requires(...needs), async (t) => {
      const { name } = network;
      const change = async (): Promise<void> => {
        const before = await tunnels("h1", name);
        await changed(lab, name, words);
        const kept = (await tunnels("h1", name)).filter((device) => before.includes(device));
        assert.deepEqual(kept, words.includes("--mtu") ? before : [], "no tunnel of the old way is left");
        assert.doesNotMatch(await routesOf(name), /mtu/, "nothing bounds what containers send but their devices");
      };
      await underTraffic(t, { ...network, tenant: name }, "h2", change, version);
    });
});

const onQuickMachines = requires("nft-inet", "quick processes");
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

/** Changes a network by the command line, and does not wait for it. */
async function set(network: string, ...words: readonly string[]): Promise<void> {
  const { status, complaints } = await weft(["network", "set", network, ...words, "--server", lab.serverSocket]);
  assert.equal(status, 0, complaints);
}

it(
  `no packet is lost while a node takes ${standstill} s for a larger MTU, and for a smaller one`,
  onQuickMachines,
  async (t) => {
    const name = "slow-mtu";
    await underTraffic(
      t,
      { name, vni: 117, tenant: name, changeTimeout: 600, mtu: 1300, ...dual(17) },
      "h3",
      async () => {
        for (const [mtu, receiving, sizes] of [
          ["1450", "1450", "1300"],
          ["1300", "1450", "1300"],
        ] as const) {
          await withoutAgent3(async () => {
            await set(name, "--mtu", mtu);
            await sleep(standstill * 1_000);
            await until(async () => {
              const { readiness } = await weftJson(["network", "show", name, "--server", lab.serverSocket]);
              assert.equal(readiness.change?.phase, "receive");
              assert.match(
                await inLab(lab, `${name}-h1`, "ip", "link", "show", "eth0"),
                new RegExp(`mtu ${receiving} `),
              );
              assert.match(await routesOf(name), new RegExp(`dev eth0 .*mtu ${sizes}`));
            });
          });
          await changed(lab, name, ["--mtu", mtu]);
          assert.match(await inLab(lab, `${name}-h1`, "ip", "link", "show", "eth0"), new RegExp(`mtu ${mtu} `));
          assert.doesNotMatch(await routesOf(name), /mtu/);
        }
      },
    );
  },
);

it(`no packet is lost while a node takes ${standstill} s for a change`, onQuickMachines, async (t) => {
  const name = "slow";
  await underTraffic(t, { name, vni: 110, tenant: name, changeTimeout: 600, ...dual(10) }, "h3", async () => {
    await withoutAgent3(async () => {
      await set(name, "--port", "8473");
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

for (const [what, network, words] of [
  ["a port becomes another", { name: "again", vni: 111, ...dual(11) }, ["--port", "8475"]],
  ["an MTU becomes larger", { name: "again-mtu", vni: 118, mtu: 1300, ...dual(18) }, ["--mtu", "auto"]],
] as const)
  it(`no packet is lost when server and agents start again while ${what}`, onQuickMachines, async (t) => {
    const { name } = network;
    await underTraffic(t, { ...network, tenant: name, changeTimeout: 600 }, "h3", async () => {
      await withoutAgent3(async () => {
        await set(name, ...words);
        lab.kill("server");
        await lab.startServer();
      });
      for (const host of ["h1", "h3"]) {
        lab.kill(host);
        await lab.startAgent(host);
      }
      await changed(lab, name, words);
    });
  });

it("no packet is lost when the node whose underlay carries least carries more", onQuickMachines, async (t) => {
  const name = "grown";
  const resize = (mtu: string) => inLab(lab, "h3", "ip", "link", "set", "eth0", "mtu", mtu);
  const mtus = (mtu: number) =>
    until(async () => {
      const { effectiveMtu, readiness } = await weftJson(["network", "show", name, "--server", lab.serverSocket]);
      assert.deepEqual([effectiveMtu, readiness.change, readiness.inPlace], [mtu, undefined, 3]);
    });
  // Before there is traffic all know it: what is larger than an underlay carries is lost.
  await resize("1400");
  await until(async () => {
    const { resources } = await lab.admin.list({ kind: "node", name: "h3" });
    const [node] = resources.map(({ resource }) => resource.value);
    assert.ok(node !== undefined && "underlayMtu" in node);
    assert.equal(node.underlayMtu, 1400);
  });
  await underTraffic(t, { name, vni: 119, tenant: name, ...dual(19) }, "h3", async () => {
    await mtus(1350);
    await resize("1500");
    await mtus(1450);
    assert.match(await inLab(lab, `${name}-h1`, "ip", "link", "show", "eth0"), /mtu 1450 /);
    assert.doesNotMatch(await routesOf(name), /mtu/);
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
    assert.match(
      complaints,
      /3 s are over; in place on \d of 3 nodes; phase of late: receive; behind: h3 \(has not reported it yet\)/,
    );
  });
  await changed(lab, name, ["--mtu", "1300"]);
  // A wait goes on over a restart of the server.
  using host = lab.namespace("h1");
  const words = ["network", "set", name, "--mtu", "1310", "--wait", "10m", "--server", lab.serverSocket];
  const waiting = new BackgroundProgram(t, host, weftProgram, words);
  await withoutAgent3(async () => {
    await waiting.said(/behind: .*h3/);
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
