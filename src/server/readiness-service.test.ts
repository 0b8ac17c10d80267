/** What nodes report over the API, and who is told of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  refusal,
  startTestServer,
  type TestNode,
  TestWatch,
} from "../../test/support/server.ts";

async function attach(node: TestNode, number: number, network = "blue"): Promise<bigint> {
  return (await node.client.createEndpoint({ id: endpointId(number), network })).revision;
}

test("the administrator sees how far nodes are, and waits for them", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await attach(one, 1);
  const revision = await attach(two, 2);
  for (const node of [one, two]) await new TestWatch(t, node.client, {}).reached(revision);
  const readiness = async () => (await server.admin.list({ kind: "network", name: "blue" })).readiness;
  assert.deepEqual(
    (await readiness())?.behind.map(({ node, reason }) => `${node}: ${reason}`),
    ["h1: its agent is of a version that does not report", "h2: its agent is of a version that does not report"],
  );
  const report = async (node: TestNode, problem = "") => {
    const { revision: now } = await server.admin.getStatus({});
    return node.client.reportInPlace({ networks: [{ network: "blue", revision: now, problem }] });
  };
  assert.ok((await report(one)).pause > 0);
  await report(two, `endpoint of network blue: ${"x".repeat(10_000)}`);
  const now = await readiness();
  assert.deepEqual([now?.nodes, now?.inPlace, now?.behind, now?.failingNodes], [2, 2, [], 1]);
  assert.equal(now?.failing[0]?.reason.length, 500);
  const { contacts } = await server.admin.list({ kind: "node" });
  assert.deepEqual(
    contacts.map(({ node, networks, networksBehind }) => [node, networks, networksBehind]),
    [
      ["h1", 1, 0],
      ["h2", 1, 0],
    ],
  );
  for await (const { done, inPlace } of server.admin.waitInPlace({ networks: ["blue"], revision }))
    assert.deepEqual([done, inPlace], [true, 2]);
});

test("what comes to be routed between peers is waited for at both ends", async (t) => {
  const server = await startTestServer(t);
  const { admin } = server;
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await admin.apply({ resources: [{ resource: { case: "tenant", value: { name: "other" } } }] });
  const gateway = "distributed";
  await createNetwork(server, "blue", "10.0.0.0/24", { gateway, peers: ["other/red"] });
  await createNetwork(server, "red", "10.1.0.0/24", { gateway, tenant: "other" });
  await createNetwork(server, "green", "10.2.0.0/24", { gateway, tenant: "other" });
  await attach(one, 1);
  await attach(one, 2, "red");
  const attached = await attach(two, 3, "green");
  for (const node of [one, two]) await new TestWatch(t, node.client, {}).reached(attached);
  /** Says of these networks that all is in place. */
  const report = async ({ client }: TestNode, ...networks: string[]) => {
    const { revision } = await admin.getStatus({});
    await client.reportInPlace({ networks: networks.map((network) => ({ network, revision })) });
  };
  const behindIn = async (name: string) =>
    (await admin.list({ kind: "network", name })).readiness?.behind.map(({ node }) => node);
  await report(one, "blue", "red", "green");
  await report(two, "red", "green");
  assert.deepEqual([await behindIn("blue"), await behindIn("red")], [[], []]);
  const [blue, red] = [
    { name: "blue", tenant: "acme", subnets: ["10.0.0.0/24"], gateway, peers: ["other/red"] },
    { name: "red", tenant: "other", subnets: ["10.1.0.0/24"], gateway, peers: ["acme/blue"] },
  ];
  await admin.apply({ resources: [{ resource: { case: "network", value: red } }] });
  assert.deepEqual([await behindIn("blue"), await behindIn("red")], [["h1"], ["h1", "h2"]]);
  await report(one, "red");
  await report(two, "red");
  assert.deepEqual([await behindIn("blue"), await behindIn("red")], [["h1"], []]);
  await report(one, "blue");
  assert.deepEqual([await behindIn("blue"), await behindIn("red")], [[], []]);
  // A node that has nothing of blue hears nothing of it.
  await admin.apply({ resources: [{ resource: { case: "network", value: { ...blue, flood: "groups" } } }] });
  assert.deepEqual([await behindIn("blue"), await behindIn("red")], [["h1"], ["h1"]]);
  await report(one, "blue", "red");
  assert.deepEqual([await behindIn("blue"), await behindIn("red")], [[], []]);
});

test("a node's waits beyond those that are followed hear how far it is, and end", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24");
  const revision = await attach(one, 1);
  await new TestWatch(t, one.client).reached(revision);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const wait = () => one.client.waitInPlace({ networks: ["blue"], revision: 0n }, { signal: stop.signal });
  // The first one does not report, and is not waited for: another one is.
  const two = await joinTestNode(t, server, 2);
  await attach(two, 2);
  await new TestWatch(t, two.client, { reports: true }).reached(revision);
  const followed = Array.from({ length: 64 }, () => wait()[Symbol.asyncIterator]());
  for (const each of followed) assert.equal((await each.next()).value?.done, false);
  const told: string[] = [];
  for await (const { done, behind } of wait()) told.push(`${done} ${behind.map(({ node }) => node).join(" ")}`);
  assert.deepEqual(told, ["false h1 h2"]);
  await two.client.reportInPlace({
    networks: [{ network: "blue", revision: (await server.admin.getStatus({})).revision, problem: "" }],
  });
  for (const each of followed) assert.equal((await each.next()).value?.done, true);
  for await (const { done } of wait()) assert.equal(done, true);
});

test("a node speaks of its own networks alone, and is told no reasons of others", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  const revision = await attach(one, 1);
  await new TestWatch(t, one.client).reached(revision);
  // It hosts no such network, and there is none: neither is a failure, for a report may cross a change.
  await two.client.reportInPlace({ networks: [{ network: "blue", revision: 1_000n }, { network: "none" }] });
  const wait = async (node: TestNode): Promise<void> => {
    for await (const { behind } of node.client.waitInPlace({ networks: ["blue"], revision }))
      for (const { reason } of behind) assert.equal(reason, "");
  };
  await assert.rejects(wait(two), refusal("permission-denied", /does not host network blue/));
  await wait(one);
  // A revision that the server has not reached is not believed.
  await one.client.reportInPlace({ networks: [{ network: "blue", revision: 1_000n }] });
  await attach(one, 2);
  assert.equal((await server.admin.list({ kind: "network", name: "blue" })).readiness?.inPlace, 0);
  const many = Array.from({ length: 1_001 }, () => ({ network: "blue" }));
  await assert.rejects(one.client.reportInPlace({ networks: many }), refusal("invalid-argument", /more than 1000/));
  const unknown = async (): Promise<void> => {
    for await (const _ of server.admin.waitInPlace({ networks: ["none"] })) assert.fail("told of no network");
  };
  await assert.rejects(unknown(), refusal("not-found", /no network none/));
});
