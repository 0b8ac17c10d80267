import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  nodeClient,
  refusal,
  startTestServer,
  type TestNode,
  type TestServer,
  TestWatch,
} from "../../test/support/server.ts";
import { SqliteStore } from "../store/index.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";

const floating = (name: string, endpoint: string, fields: { network?: string; announce?: string } = {}) => ({
  resource: { case: "floatingAddress" as const, value: { name, network: "blue", endpoint, ...fields } },
});
const gateway = { gateways: ["10.0.0.254"], egress: true };

/** Resolves to the revision. */
async function attach(node: TestNode, number: number, ips: readonly string[], network = "blue"): Promise<bigint> {
  return (await node.client.createEndpoint({ id: endpointId(number), network, ips: [...ips] })).revision;
}

async function detach(node: TestNode, number: number): Promise<bigint> {
  return (await node.client.deleteEndpoints({ ids: [endpointId(number)] })).revision;
}

async function apply({ admin }: TestServer, ...resources: ReturnType<typeof floating>[]): Promise<bigint> {
  return (await admin.apply({ resources })).revision;
}

async function remove({ admin }: TestServer, name: string): Promise<bigint> {
  return (await admin.delete({ resources: [{ kind: "floating-address", name }] })).revision;
}

async function serverWithNodes(t: TestContext) {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24", gateway);
  return { server, one, two };
}

test("nodes hear of a floating address with the endpoint that it stands for, and it moves with that", async (t) => {
  const { server, one, two } = await serverWithNodes(t);
  await attach(one, 1, ["10.0.0.5"]);
  const watch = await new TestWatch(t, two.client).reached(await attach(two, 2, ["10.0.0.6"]));
  watch.take();
  await watch.reached(await apply(server, floating("192.0.2.50", "10.0.0.5")));
  assert.deepEqual(watch.take(), ["endpoint blue/000000000001 10.0.0.5 on h1 as 192.0.2.50 for 10.0.0.5"]);

  // It changes sides.
  await watch.reached(await apply(server, floating("192.0.2.50", "10.0.0.6")));
  assert.deepEqual(watch.take(), [
    "endpoint blue/000000000001 10.0.0.5 on h1",
    "endpoint blue/000000000002 10.0.0.6 on h2 as 192.0.2.50 for 10.0.0.6",
  ]);

  // It waits for an endpoint, whichever that is.
  await apply(server, floating("192.0.2.51", "10.0.0.7"));
  await watch.reached(await attach(one, 3, ["10.0.0.7"]));
  assert.deepEqual(watch.take(), ["endpoint blue/000000000003 10.0.0.7 on h1 as 192.0.2.51 for 10.0.0.7"]);
  await watch.reached(await detach(one, 3));
  await watch.reached(await attach(two, 4, ["10.0.0.7"]));
  assert.deepEqual(watch.take(), [
    "no endpoint blue/000000000003",
    "endpoint blue/000000000004 10.0.0.7 on h2 as 192.0.2.51 for 10.0.0.7",
  ]);

  await watch.reached(await remove(server, "192.0.2.51"));
  assert.deepEqual(watch.take(), ["endpoint blue/000000000004 10.0.0.7 on h2"]);
  // Who comes later is told the same.
  const later = await new TestWatch(t, one.client).reached((await server.admin.getStatus({})).revision);
  assert.ok(later.take().includes("endpoint blue/000000000002 10.0.0.6 on h2 as 192.0.2.50 for 10.0.0.6"));
});

test("of a layer-3 network the endpoint's node hears of it, and no other", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/16", { mode: "l3" });
  const { endpoint } = await one.client.createEndpoint({ id: endpointId(1), network: "blue" });
  const own = endpoint?.ips[0] ?? "";
  const revision = await attach(two, 2, []);
  const [near, far] = [
    await new TestWatch(t, one.client).reached(revision),
    await new TestWatch(t, two.client).reached(revision),
  ];
  for (const watch of [near, far]) watch.take();
  const { revision: told } = await server.admin.create({ resources: [floating("192.0.2.50", own)] });
  await near.reached(told);
  assert.deepEqual(near.take(), [`endpoint blue/000000000001 ${own} on h1 as 192.0.2.50 for ${own}`]);
  await far.reached(await attach(two, 3, []));
  assert.ok(far.take().every((line) => !line.includes("192.0.2.50")));
});

test("who was away hears of what came and went, also from a server that started meanwhile", async (t) => {
  const dataDir = temporaryDirectory(t);
  let store = new SqliteStore(`${dataDir}/weft.db`);
  let server = await startTestServer(t, { dataDir, store });
  const restart = async (): Promise<void> => {
    await server.server.close();
    await store.close();
    store = new SqliteStore(`${dataDir}/weft.db`);
    server = await startTestServer(t, { dataDir, store });
  };
  t.after(() => store.close());
  const { credentials, client } = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24", gateway);
  await client.createEndpoint({ id: endpointId(1), network: "blue", ips: ["10.0.0.5"] });
  await client.createEndpoint({ id: endpointId(2), network: "blue", ips: ["10.0.0.6"] });
  const known = await apply(server, floating("192.0.2.50", "10.0.0.5"));
  const resumed = async (revision: bigint): Promise<string[]> => {
    const node = nodeClient(t, server, credentials);
    const watch = await new TestWatch(t, node, { revision, networks: ["blue"] }).reached(
      (await server.admin.getStatus({})).revision,
    );
    await watch.stop();
    return watch.take().filter((line) => line.startsWith("endpoint"));
  };
  await apply(server, floating("192.0.2.50", "10.0.0.6"));
  const news = [
    "endpoint blue/000000000001 10.0.0.5 on h1",
    "endpoint blue/000000000002 10.0.0.6 on h1 as 192.0.2.50 for 10.0.0.6",
  ];
  assert.deepEqual((await resumed(known)).sort(), news);
  assert.deepEqual(await resumed((await server.admin.getStatus({})).revision), []);
  await restart();
  assert.deepEqual((await resumed(known)).sort(), news, "as of the store");
  await remove(server, "192.0.2.50");
  const before = (await server.admin.getStatus({})).revision;
  await restart();
  assert.deepEqual((await resumed(before - 1n)).sort(), [
    "endpoint blue/000000000001 10.0.0.5 on h1",
    "endpoint blue/000000000002 10.0.0.6 on h1",
  ]);
});

test("of a server that started meanwhile who was away hears of the networks whose floating addresses changed, and of no others", async (t) => {
  const dataDir = temporaryDirectory(t);
  let store = new SqliteStore(`${dataDir}/weft.db`);
  t.after(() => store.close());
  const first = await startTestServer(t, { dataDir, store });
  const { credentials, client } = await joinTestNode(t, first, 1);
  const names = ["blue", "green", "red"];
  for (const [index, name] of names.entries()) {
    await createNetwork(first, name, `10.${index}.0.0/24`, { gateways: [`10.${index}.0.254`], egress: true });
    for (const host of [5, 6])
      await client.createEndpoint({ id: endpointId(index * 16 + host), network: name, ips: [`10.${index}.0.${host}`] });
  }
  const known = await apply(first, floating("192.0.2.50", "10.0.0.5"), floating("192.0.2.51", "10.0.0.7"));
  for (const [name, host] of [
    ["192.0.2.50", "5"],
    ["192.0.2.51", "7"],
  ] as const)
    await apply(first, floating(name, `10.1.0.${host}`, { network: "green" }));
  await first.server.close();
  await store.close();
  store = new SqliteStore(`${dataDir}/weft.db`);
  const second = await startTestServer(t, { dataDir, store });
  const node = nodeClient(t, second, credentials);
  const watch = await new TestWatch(t, node, { revision: known, networks: names }).reached(
    (await second.admin.getStatus({})).revision,
  );
  assert.deepEqual(
    watch
      .take()
      .filter((line) => line.startsWith("endpoint"))
      .sort(),
    [
      "endpoint blue/000000000005 10.0.0.5 on h1",
      "endpoint green/000000000015 10.1.0.5 on h1 as 192.0.2.50 for 10.1.0.5",
      "endpoint green/000000000016 10.1.0.6 on h1",
    ],
  );
});

test("what cannot be is refused, with the reason", async (t) => {
  const { server, one } = await serverWithNodes(t);
  const { admin } = server;
  await createNetwork(server, "red", "10.1.0.0/24");
  await apply(server, floating("192.0.2.50", "10.0.0.5"));
  const refused = (resource: ReturnType<typeof floating>, code: Parameters<typeof refusal>[0], reason: RegExp) =>
    assert.rejects(admin.create({ resources: [resource] }), refusal(code, reason));
  await refused(floating("192.0.2.50", "10.0.0.6"), "already-exists", /floating-address of this name exists/);
  await refused(floating("192.0.2.51", "10.0.0.5"), "already-exists", /has the floating address 192\.0\.2\.50/);
  await refused(floating("192.0.2.1", "10.0.0.6"), "already-exists", /is the VTEP address of node h1/);
  await refused(floating("10.1.0.9", "10.0.0.6"), "already-exists", /is in subnet 10\.1\.0\.0\/24 of network red/);
  await refused(floating("192.0.2.51", "10.1.0.6", { network: "red" }), "failed-precondition", /are no gateway of/);
  await refused(floating("192.0.2.51", "10.0.0.254"), "failed-precondition", /is a gateway/);
  await refused(floating("192.0.2.51", "10.0.0.6", { network: "no" }), "not-found", /no network no/);
  await refused(
    floating("2001:db8::50", "10.0.0.6"),
    "invalid-argument",
    /endpoint: found 10\.0\.0\.6; allowed: an IPv6/,
  );
  await refused(floating("224.0.0.1", "10.0.0.6"), "invalid-argument", /name: found "224\.0\.0\.1"/);
  await refused(floating("192.0.2.51", "10.0.0.6", { announce: "bgp" }), "invalid-argument", /allowed: link or none/);
  // Changed, it is judged like a new one.
  await apply(server, floating("192.0.2.51", "10.0.0.6"));
  await assert.rejects(apply(server, floating("192.0.2.51", "10.0.0.5")), refusal("already-exists", /192\.0\.2\.50/));
  // What it rests on stays, and nobody takes its address.
  await assert.rejects(
    admin.delete({ resources: [{ kind: "network", name: "blue" }] }),
    refusal("failed-precondition", /floating addresses: 192\.0\.2\.50, 192\.0\.2\.51/),
  );
  const closed = { name: "blue", tenant: "acme", subnets: ["10.0.0.0/24"], gateways: ["10.0.0.254"] };
  await assert.rejects(
    admin.apply({ resources: [{ resource: { case: "network", value: closed } }] }),
    refusal("failed-precondition", /are no gateway of network blue/),
  );
  await assert.rejects(
    one.client.register({ vtepIpv4: "192.0.2.50", underlayMtu: 1500 }),
    refusal("failed-precondition", /the VTEP address 192\.0\.2\.50 is a floating address/),
  );
  for (const name of ["192.0.2.50", "192.0.2.51"]) await remove(server, name);
  await admin.delete({ resources: [{ kind: "network", name: "blue" }] });
  await one.client.register({ vtepIpv4: "192.0.2.50", underlayMtu: 1500 });
});

test("a VTEP that a network lists is no floating address, in whatever order they are declared", async (t) => {
  const { server } = await serverWithNodes(t);
  const listing = (...vteps: string[]) => ({
    resource: {
      case: "network" as const,
      value: { name: "old", tenant: "acme", subnets: ["10.3.0.0/24"], discovery: "static", vteps },
    },
  });
  const refused = (resources: (ReturnType<typeof floating> | ReturnType<typeof listing>)[]) =>
    assert.rejects(server.admin.apply({ resources }), refusal("already-exists", /is a VTEP that network old of/));
  await refused([floating("192.0.2.60", "10.0.0.5"), listing("192.0.2.60")]);
  await server.admin.apply({ resources: [floating("192.0.2.50", "10.0.0.5"), listing("192.0.2.60")] });
  await refused([floating("192.0.2.60", "10.0.0.6")]);
  await refused([listing("192.0.2.60", "192.0.2.50")]);
  await server.admin.apply({ resources: [listing("192.0.2.61")] });
  await server.admin.apply({ resources: [floating("192.0.2.60", "10.0.0.6")] });
});

test("it comes and goes with its network in one request", async (t) => {
  const server = await startTestServer(t);
  const { admin } = server;
  const network = { name: "blue", tenant: "acme", subnets: ["10.0.0.0/24"], ...gateway };
  await admin.apply({
    resources: [
      floating("192.0.2.50", "10.0.0.5"),
      { resource: { case: "network", value: network } },
      { resource: { case: "tenant", value: { name: "acme" } } },
    ],
  });
  const { resources } = await admin.list({});
  assert.deepEqual(
    resources.map(({ resource }) => resource.case),
    ["tenant", "network", "floatingAddress"],
  );
  await admin.delete({
    resources: [
      { kind: "tenant", name: "acme" },
      { kind: "network", name: "blue" },
      { kind: "floating-address", name: "192.0.2.50" },
    ],
  });
  assert.deepEqual((await admin.list({})).resources, []);
});
