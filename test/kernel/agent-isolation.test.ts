/** Installations beside each other on one machine, with the same tenants, networks, VNIs and addresses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Lab } from "../../src/lab/lab.ts";
import { runProgram, weftProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  cleanUp,
  createNetworks,
  inSync,
  pings,
  removeNamespaces,
  testLab,
  theWholeFile,
  uniqueName,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { settledFootprint } from "../support/cluster-footprint.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { testNamespace } from "../support/namespaces.ts";
import { temporaryDirectory } from "../support/server.ts";

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

test("two instances on one host keep to their own", async (t) => {
  // Two installations share one underlay namespace: the same kernel tables, other names, ports and VNIs.
  const directory = temporaryDirectory(t);
  const host = testNamespace("shared");
  t.after(() => host[Symbol.dispose]());
  host.shell(`
    ip link set lo up
    ip link add eth0 type veth peer name far
    ip link set far up
    ip link set eth0 up
    ip addr add 198.51.100.1/24 dev eth0
    ip addr add 198.51.100.2/24 dev eth0`);
  const instances = [uniqueName(), uniqueName()].map((name, index) => ({
    name,
    vni: 100 + index,
    port: 4789 + index,
    address: `198.51.100.${index + 1}`,
    listen: `198.51.100.${index + 1}:7400`,
    server: `${directory}/${name}/server/server.sock`,
    agent: `${directory}/${name}/run/agent.sock`,
  }));
  cleanUp(t, () => removeNamespaces((name) => instances.some((instance) => name.startsWith(`${instance.name}-`))));
  for (const { name, vni, port, address, listen, server, agent } of instances) {
    new BackgroundProgram(t, host.namespace, weftProgram, [
      ...["server", "--listen", listen, "--data-dir", `${directory}/${name}/server`],
    ]);
    await until(async () => assert.equal((await weft(["status", "--server", server])).status, 0), 10_000);
    const { token } = await weftJson(["token", "create", "--server", server]);
    const process = new BackgroundProgram(t, host.namespace, weftProgram, [
      ...["agent", "--server", `https://${listen}`, "--token", token, "--name", "h1", "--underlay", address],
      ...["--instance", name, "--data-dir", `${directory}/${name}`, "--run-dir", `${directory}/${name}/run`],
    ]);
    await process.said(/"msg":"connected"/);
    for (const words of [
      ["tenant", "create", "acme"],
      [
        ...["network", "create", "web", "--tenant", "acme", "--subnet", "10.1.0.0/24"],
        ...["--vni", String(vni), "--port", String(port)],
      ],
    ])
      assert.equal((await weft([...words, "--server", server])).status, 0);
    for (const number of [1, 2]) {
      const container = testNamespace(`${number}`);
      t.after(() => container[Symbol.dispose]());
      await weftJson(["attach", "web", "--netns", container.name, "--agent", agent]);
      if (number === 2) assert.ok(await pings(container.namespace, "10.1.0.1"), `containers of ${name} talk`);
    }
  }
  const [first, second] = instances;
  assert.ok(first !== undefined && second !== undefined);
  const namespaceOf = (instance: string): Promise<string> =>
    runProgram(undefined, "ip", ["-n", `${instance}-acme`, "-o", "link"]).then(({ output }) => output);
  const filters = () => host.shell("nft list ruleset");
  assert.match(filters(), new RegExp(`weft-${first.name}.*weft-${second.name}`, "s"));
  const linksBefore = await namespaceOf(first.name);
  const before = (await weftJson(["status", "--agent", first.agent])).agent;

  // The second goes altogether.
  const endpoints = (await weftJson(["status", "--agent", second.agent])).agent.endpoints as {
    readonly netns: string;
  }[];
  for (const { netns } of endpoints)
    assert.equal((await weft(["detach", "web", "--netns", netns, "--agent", second.agent])).status, 0);
  await until(() => assert.doesNotMatch(filters(), new RegExp(`weft-${second.name}`)));
  assert.match(filters(), new RegExp(`weft-${first.name}`));
  assert.equal(await namespaceOf(first.name), linksBefore);
  const afterwards = (await weftJson(["status", "--agent", first.agent])).agent;
  assert.deepEqual(
    [afterwards.netlinkWrites, afterwards.repairs, afterwards.inSync],
    [before.netlinkWrites, before.repairs, true],
  );
});
