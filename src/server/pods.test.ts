/** Pods at the server: who is told of them, and what is refused. */
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

interface Fields {
  readonly name: string;
  readonly node?: string;
  readonly networks?: string[];
  readonly labels?: Record<string, string>;
}
async function apply({ admin }: TestServer, ...pods: readonly Fields[]): Promise<bigint> {
  const resources = pods.map((fields) => ({
    resource: {
      case: "pod" as const,
      value: { node: "h1", title: `shop/${fields.name}`, networks: ["blue"], ...fields },
    },
  }));
  return (await admin.apply({ resources })).revision;
}

async function remove({ admin }: TestServer, name: string): Promise<bigint> {
  return (await admin.delete({ resources: [{ kind: "pod", name }] })).revision;
}

test("a node is told of its own pods alone, whole when it begins to watch", async (t) => {
  const server = await startTestServer(t);
  const [one, two] = [await joinTestNode(t, server, 1), await joinTestNode(t, server, 2)];
  const before = await apply(
    server,
    { name: "p1", labels: { app: "web" } },
    { name: "p2", node: "h2" },
    { name: "p3", node: "h9" },
  );
  const watches = [new TestWatch(t, one.client), new TestWatch(t, two.client)] as const;
  for (const watch of watches) await watch.reached(before);
  const about = ({ lines }: TestWatch) => lines.splice(0).filter((line) => line.includes("pod"));
  assert.deepEqual(about(watches[0]), ['pod shop/p1 blue {"app":"web"}']);
  assert.deepEqual(about(watches[1]), ["pod shop/p2 blue {}"]);
  await apply(server, { name: "p1", labels: { app: "db" } });
  const removed = await remove(server, "p2");
  const after = await apply(server, { name: "p4", networks: ["red", "blue"] });
  await watches[0].reached(after);
  await watches[1].reached(removed);
  assert.deepEqual(about(watches[0]), ['pod shop/p1 blue {"app":"db"}', "pod shop/p4 red,blue {}"]);
  assert.deepEqual(about(watches[1]), ["no pod p2"]);
});

test("a pod stays on its node, and is in no list that did not ask for pods", async (t) => {
  const server = await startTestServer(t);
  await apply(server, { name: "p1" });
  await assert.rejects(
    apply(server, { name: "p1", node: "h2" }),
    refusal("failed-precondition", /on node h1 and cannot come to h2/),
  );
  await assert.rejects(
    apply(server, { name: "p2", networks: [] }),
    refusal("invalid-argument", /networks: found an empty list/),
  );
  const names = async (kind: string) =>
    (await server.admin.list({ kind })).resources.map(({ resource }) => resource.case);
  assert.deepEqual(await names("pod"), ["pod"]);
  assert.deepEqual(await names(""), []);
  await remove(server, "p1");
  await apply(server, { name: "p1", node: "h2" });
});

test("a node sets the labels of its own endpoints, all of them, and of no others", async (t) => {
  const server = await startTestServer(t);
  const [one, two] = [await joinTestNode(t, server, 1), await joinTestNode(t, server, 2)];
  await createNetwork(server, "blue", "10.0.0.0/24");
  await one.client.createEndpoint({ id: endpointId(1), network: "blue", labels: { app: "web", tier: "" } });
  const set = (of: typeof one, number: number, labels: Record<string, string>) =>
    of.client.setLabels({ id: endpointId(number), labels });
  const labels = async () => {
    const { resources } = await server.admin.list({ kind: "endpoint", name: endpointId(1) });
    return resources.map(({ resource }) => resource.case === "endpoint" && resource.value.labels);
  };
  const { revision } = await set(one, 1, { app: "db" });
  assert.deepEqual(await labels(), [{ app: "db" }]);
  assert.equal((await set(one, 1, { app: "db" })).revision, revision);
  await assert.rejects(set(two, 1, {}), refusal("permission-denied", /it is on node h1/));
  await assert.rejects(set(one, 9, {}), refusal("not-found", /no endpoint 000000000009/));
  await assert.rejects(set(one, 1, { "a b": "" }), refusal("invalid-argument", /labels/));
  await set(one, 1, {});
  assert.deepEqual(await labels(), [{}]);
});
