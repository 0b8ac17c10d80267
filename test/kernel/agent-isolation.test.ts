/** Installations beside each other on one machine, with the same tenants, networks, VNIs and addresses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { serverClient } from "../../src/api/clients.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { runProgram, weftProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  cleanUp,
  createNetworks,
  inSync,
  pings,
  removeNamespaces,
  testDirectory,
  testLab,
  theWholeFile,
  uniqueName,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { settledFootprint } from "../support/cluster-footprint.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { inPlace } from "../support/in-place.ts";
import { fileRequires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { makeUnderlay } from "../support/underlay.ts";

await fileRequires("quick processes");
const file = theWholeFile();

async function populate(lab: Lab): Promise<void> {
  await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 }]);
  for (const [container, host] of [
    ["a", "h1"],
    ["b", "h2"],
  ] as const) {
    lab.addContainer(container);
    await lab.attach(container, host, "web");
  }
  await inSync(lab, "h1", "h2");
}

const quiet = await testLab(file, { hosts: 2 });
await populate(quiet);

/** Writes and repairs of the agents so far. */
async function work(lab: Lab): Promise<string[]> {
  return Promise.all(
    lab.hosts.map(async (host) => {
      const { netlinkWrites, repairs } = await lab.agent(host).getStatus({});
      return `${host}: ${netlinkWrites} writes, ${repairs} repairs`;
    }),
  );
}

test("a lab notices nothing of another that comes, works, breaks and goes", async (t) => {
  using a = quiet.namespace("a");
  using b = quiet.namespace("b");
  const before = await settledFootprint(quiet);
  const workBefore = await work(quiet);
  const stream = await startStream(t, a, b, "10.1.0.2");

  const other = await testLab(t, { hosts: 2 });
  await populate(other);
  {
    using theirs = other.namespace("a");
    assert.ok(await pings(theirs, "10.1.0.2"), "the other lab works");
  }
  other.kill("h1");
  other.kill("server");
  await other.startServer();
  await other.startAgent("h1");
  await other.detach("b", "h2", "web");
  await other.down();

  const traffic = await stream.stop();
  t.diagnostic(JSON.stringify(traffic));
  assert.equal(traffic.lost, 0);
  assert.equal(traffic.tcpError, "");
  assert.deepEqual(await settledFootprint(quiet), before);
  assert.deepEqual(await work(quiet), workBefore);
});

test("two installations on the same hosts keep to their own", async (t) => {
  // Each host's underlay namespace is shared by two agents: the same kernel tables, other names, ports and VNIs.
  const directory = testDirectory(t);
  const underlay = makeUnderlay(2);
  const { hosts } = underlay;
  t.after(() => underlay[Symbol.dispose]());
  const installations: Installation[] = [];
  for (const index of [0, 1]) {
    const name = uniqueName();
    const port = 7400 + index;
    const server = `${directory}/${name}/server.sock`;
    cleanUp(t, () => removeNamespaces((namespace) => new RegExp(`^${name}h[12]-`).test(namespace)));
    const [first] = hosts;
    assert.ok(first !== undefined);
    new BackgroundProgram(t, first.namespace, weftProgram, [
      ...["server", "--listen", `10.99.0.1:${port}`, "--data-dir", `${directory}/${name}`],
    ]);
    await until(async () => assert.equal((await weft(["status", "--server", server])).status, 0));
    for (const words of [
      ["tenant", "create", "acme"],
      [
        ...["network", "create", "web", "--tenant", "acme", "--subnet", "10.1.0.0/24"],
        ...["--vni", String(100 + index), "--port", String(4789 + index)],
      ],
    ])
      assert.equal((await weft([...words, "--server", server])).status, 0);
    const nodes: HandmadeNode[] = [];
    for (const [number, host] of hosts.entries()) {
      const node = `h${number + 1}`;
      const socket = `${directory}/${name}/${node}/agent.sock`;
      const { token } = await weftJson(["token", "create", "--server", server]);
      const agent = new BackgroundProgram(t, host.namespace, weftProgram, [
        ...["agent", "--server", `https://10.99.0.1:${port}`, "--token", token, "--name", node],
        ...["--underlay", `10.99.0.${number + 1}`, "--instance", `${name}${node}`],
        ...["--data-dir", `${directory}/${name}/${node}`, "--run-dir", `${directory}/${name}/${node}`],
      ]);
      await agent.said(/"msg":"connected"/);
      const container = testNamespace(node);
      t.after(() => container[Symbol.dispose]());
      await weftJson(["attach", "web", "--netns", container.name, "--agent", socket]);
      nodes.push({ host, socket, container, namespace: `${name}${node}-acme`, filter: `weft-${name}${node}` });
    }
    installations.push({ nodes, admin: serverClient(server) });
  }
  const [staying, leaving] = installations;
  assert.ok(staying !== undefined && leaving !== undefined);
  for (const { nodes } of installations)
    await until(async () =>
      assert.ok(nodes[0] !== undefined && (await pings(nodes[0].container.namespace, "10.1.0.2"))),
    );
  const settled = async (): Promise<unknown[]> => {
    await inPlace(staying, "web");
    const states: unknown[] = [];
    for (const { namespace, socket } of staying.nodes) {
      await until(async () => {
        const { agent } = await weftJson(["status", "--agent", socket]);
        assert.ok(agent.inSync);
        const { output } = await runProgram(undefined, "ip", ["-n", namespace, "-o", "link"]);
        states.push([agent.netlinkWrites, agent.repairs, output]);
      });
    }
    return states;
  };
  const before = await settled();
  for (const { host, filter } of [...staying.nodes, ...leaving.nodes])
    assert.ok(host.shell("nft list tables").includes(filter));
  const [here] = staying.nodes;
  const [, there] = staying.nodes;
  assert.ok(here !== undefined && there !== undefined);
  const stream = await startStream(t, here.container.namespace, there.container.namespace, "10.1.0.2");

  // The other goes altogether.
  for (const { container, socket } of leaving.nodes) {
    const { status, complaints } = await weft(["detach", "web", "--netns", container.name, "--agent", socket]);
    assert.equal(status, 0, complaints);
  }
  await until(() => {
    for (const { host, filter } of leaving.nodes) assert.ok(!host.shell("nft list tables").includes(filter));
  });
  const traffic = await stream.stop();
  t.diagnostic(JSON.stringify(traffic));
  assert.equal(traffic.lost, 0);
  assert.equal(traffic.tcpError, "");
  assert.deepEqual(await settled(), before);
  for (const { host, filter } of staying.nodes) {
    assert.ok(host.shell("nft list tables").includes(filter));
    assert.equal(host.json("ip -j nexthop").length, 2, "a nexthop and its group");
  }
});

interface HandmadeNode {
  readonly host: TestNamespace;
  readonly socket: string;
  readonly container: TestNamespace;
  /** Of the tenant. */
  readonly namespace: string;
  /** The nft table in the underlay. */
  readonly filter: string;
}

interface Installation {
  readonly nodes: readonly HandmadeNode[];
  readonly admin: Lab["admin"];
}
