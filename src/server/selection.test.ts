import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  refusal,
  startTestServer,
  type TestServer,
  TestWatch,
} from "../../test/support/server.ts";

function select({ admin }: TestServer, nodeSelector: Record<string, string>) {
  return admin.apply({ resources: [{ resource: { case: "tenant", value: { name: "acme", nodeSelector } } }] });
}

test("a node comes to host a network only with the labels that network and tenant ask for", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24", { nodeSelector: { zone: "a" }, learningLimit: 4 });
  await createNetwork(server, "routed", "10.1.0.0/16", { nodeSelector: { zone: "a" }, mode: "l3" });
  await select(server, { tier: "1" });
  const create = (number: number, network = "blue") => client.createEndpoint({ id: endpointId(number), network });
  const lacking = refusal(
    "failed-precondition",
    /node h1 may not host network blue: it has not the label zone=a, which network blue asks for; tier=1, which tenant acme asks for/,
  );
  await assert.rejects(create(1), lacking);
  await assert.rejects(create(2, "routed"), refusal("failed-precondition", /h1 may not host network routed/));
  assert.equal((await server.admin.list({ kind: "network", name: "routed" })).blocks.length, 0);
  const learned = { network: "blue", addresses: [{ id: endpointId(3), mac: "02:00:00:00:00:01", ips: [] }] };
  await assert.rejects(client.publishLearned(learned), refusal("failed-precondition", /h1 may not host/));

  await server.admin.setNode({ name: "h1", labels: { zone: "b", tier: "1" } });
  await assert.rejects(
    create(1),
    refusal("failed-precondition", /it has not the label zone=a, which network blue asks for$/),
  );
  await server.admin.setNode({ name: "h1", labels: { zone: "a" } });
  await create(1);
  await create(2, "routed");
});

test("what is there when a selector changes stays, is named, and nothing more comes", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await client.createEndpoint({ id: endpointId(1), network: "blue" });
  const { results } = await select(server, { zone: "a" });
  assert.deepEqual(results[0]?.differences, ["nodeSelector: every node -> {zone: a}"]);
  await assert.rejects(
    client.createEndpoint({ id: endpointId(2), network: "blue" }),
    refusal("failed-precondition", /zone=a/),
  );
  const { hosts } = await server.admin.list({ kind: "network", name: "blue" });
  assert.deepEqual(
    hosts.map(({ node, endpoints, missingLabels }) => [node, endpoints, missingLabels]),
    [["h1", 1, ["zone=a"]]],
  );
  const { hosted } = await server.admin.list({ kind: "node", name: "h1" });
  assert.deepEqual(
    hosted.map(({ network, missingLabels }) => [network, missingLabels]),
    [["blue", ["zone=a"]]],
  );
});

test("the MTU is that of the nodes that may host the network or do, and the smallest is named", async (t) => {
  const server = await startTestServer(t);
  await createNetwork(server, "blue", "10.0.0.0/24", { nodeSelector: { zone: "a" } });
  for (const [number, underlayMtu] of [
    [1, 1500],
    [2, 1400],
    [3, 1300],
  ] as const) {
    const { client, name } = await joinTestNode(t, server, number);
    await client.register({ vtepIpv4: `192.0.2.${number}`, underlayMtu });
    if (number < 3) await server.admin.setNode({ name, labels: { zone: "a" } });
  }
  const mtu = async () => {
    const { effectiveMtu, mtuNode } = await server.admin.list({ kind: "network", name: "blue" });
    return [effectiveMtu, mtuNode];
  };
  assert.deepEqual(await mtu(), [1350, "h2"]);
  await server.admin.setNode({ name: "h2", removedLabels: ["zone"] });
  assert.deepEqual(await mtu(), [1450, "h1"]);
});

test("a node that names a network in its watch is told nothing of it unless it hosts it", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await one.client.createEndpoint({ id: endpointId(1), network: "blue" });
  const { revision } = await server.admin.getStatus({});
  const watch = await new TestWatch(t, two.client, { revision, networks: ["blue"] }).reached(revision);
  assert.deepEqual(watch.take(), ["nodes:", "node h2 192.0.2.2", "no network blue"]);
});
