import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  refusal,
  startTestServer,
  type TestServer,
} from "../../test/support/server.ts";
import type { WeftError } from "../base/errors.ts";

const tenant = (name: string) => ({ resource: { case: "tenant" as const, value: { name } } });
const network = (fields: { name: string; [field: string]: unknown }) => ({
  resource: { case: "network" as const, value: { tenant: "acme", subnets: ["10.0.0.0/24"], ...fields } },
});

async function names({ admin }: TestServer): Promise<string[]> {
  const { resources } = await admin.list({});
  return resources.map(
    ({ resource }) => `${resource.case} ${resource.case === "endpoint" ? "" : resource.value?.name}`,
  );
}

async function serverWithNetwork(t: TestContext): Promise<TestServer> {
  const server = await startTestServer(t);
  await createNetwork(server, "blue", "10.0.0.0/24", { vni: 100 });
  return server;
}

test("what is created gets the defaults and a VNI, a tenant may come after its networks", async (t) => {
  const { admin } = await startTestServer(t);
  const { resources } = await admin.create({
    resources: [
      network({ name: "blue" }),
      network({ name: "red", subnets: ["10.1.0.0/24", "fd00::/64"], vni: 4096 }),
      tenant("acme"),
    ],
  });
  const values = resources.map(({ resource }) => resource.value);
  const [blue, red] = values;
  assert.ok(blue !== undefined && "vni" in blue && red !== undefined && "vni" in red);
  assert.deepEqual(
    [blue.vni, blue.port, blue.flood, blue.arpSuppression, blue.underlay],
    [4097, 4789, "head-end", true, "ipv4"],
  );
  assert.deepEqual([red.vni, red.subnets], [4096, ["10.1.0.0/24", "fd00::/64"]]);
});

test("conflicts are refused, and of a refused request nothing is created", async (t) => {
  const server = await serverWithNetwork(t);
  const cases: [ReturnType<typeof network> | ReturnType<typeof tenant>, WeftError["code"], RegExp][] = [
    [
      network({ name: "red", subnets: ["10.0.0.128/25"] }),
      "already-exists",
      /overlaps 10\.0\.0\.0\/24 of network blue/,
    ],
    [
      network({ name: "red", subnets: ["10.1.0.0/24"], vni: 100 }),
      "already-exists",
      /VNI 100 is taken by network blue/,
    ],
    [network({ name: "blue", subnets: ["10.1.0.0/24"] }), "already-exists", /network of this name exists/],
    [network({ name: "red", tenant: "nobody" }), "not-found", /no tenant nobody/],
    [network({ name: "red", subnets: ["10.1.0.1/24"] }), "invalid-argument", /subnets\[0\]: found "10\.1\.0\.1\/24"/],
    [network({ name: "../x", subnets: ["10.1.0.0/24"] }), "invalid-argument", /name: found/],
    [tenant("acme"), "already-exists", /tenant of this name exists/],
  ];
  for (const [resource, code, reason] of cases)
    await assert.rejects(server.admin.create({ resources: [tenant("new"), resource] }), refusal(code, reason));
  assert.deepEqual(await names(server), ["tenant acme", "network blue"]);
  // Another tenant may use the same addresses.
  await server.admin.create({ resources: [tenant("new"), network({ name: "red", tenant: "new" })] });
});

test("what a request declares together is judged together, against what there is then and not before", async (t) => {
  const server = await startTestServer(t);
  const { admin } = server;
  const port = (name: string, subnet: string, fields: object) => network({ name, subnets: [subnet], ...fields });
  await admin.create({
    resources: [
      tenant("acme"),
      port("a", "10.0.0.0/24", { port: 7000 }),
      port("b", "10.1.0.0/24", { port: 7000 }),
      port("c", "10.2.0.0/24", { port: 7001 }),
    ],
  });
  // Of those that use the port one leaves it; the other is still there.
  const geneve = port("c", "10.2.0.0/24", { port: 7000, encapsulation: "geneve" });
  await assert.rejects(
    admin.apply({ resources: [port("a", "10.0.0.0/24", { port: 7002 }), geneve] }),
    refusal("already-exists", /UDP port 7000 over ipv4 is that of network b/),
  );
  await admin.apply({
    resources: [port("a", "10.0.0.0/24", { port: 7002 }), port("b", "10.1.0.0/24", { port: 7002 }), geneve],
  });
  // Of two new ones the later contradicts the earlier; what one of them had is free for another.
  await assert.rejects(
    admin.create({ resources: [port("d", "10.3.0.0/16", {}), port("e", "10.3.7.0/24", {})] }),
    refusal("already-exists", /overlaps 10\.3\.0\.0\/16 of network d/),
  );
  await admin.apply({ resources: [port("a", "10.4.0.0/24", { port: 7002 }), port("f", "10.0.0.0/24", {})] });
  const { resources } = await admin.create({
    resources: ["g", "h", "i"].map((name, index) =>
      port(name, `10.${index + 5}.0.0/24`, index === 1 ? { vni: 4101 } : {}),
    ),
  });
  const vnis = resources.map(({ resource }) => (resource.case === "network" ? resource.value.vni : 0));
  assert.deepEqual(vnis, [4100, 4101, 4102]);
  await admin.delete({ resources: [{ kind: "network", name: "h" }] });
  const again = await admin.create({ resources: [port("j", "10.6.0.0/24", {})] });
  assert.equal(again.resources[0]?.resource.case === "network" ? again.resources[0].resource.value.vni : 0, 4101);
});

test("errors carry a hint over the API", async (t) => {
  const { admin } = await serverWithNetwork(t);
  await assert.rejects(admin.delete({ resources: [{ kind: "tenant", name: "acme" }] }), (error: WeftError) => {
    assert.equal(error.name, "WeftError");
    assert.deepEqual(
      [error.code, error.attempted, error.reason, error.hint],
      ["failed-precondition", "delete tenant acme", "it has networks: blue", "delete them first"],
    );
    return true;
  });
});

test("applying what is so already changes nothing", async (t) => {
  const { admin } = await serverWithNetwork(t);
  const { revision } = await admin.getStatus({});
  const applied = await admin.apply({ resources: [tenant("acme"), network({ name: "blue" })] });
  assert.deepEqual(
    applied.results.map(({ outcome }) => outcome),
    ["unchanged", "unchanged"],
  );
  assert.equal(applied.revision, revision);
});

test("applying says each difference; a dry run changes nothing", async (t) => {
  const { admin } = await serverWithNetwork(t);
  const { revision } = await admin.getStatus({});
  const resources = [
    network({ name: "blue", mtu: 1400, arpSuppression: false, gateways: ["10.0.0.1"] }),
    tenant("new"),
  ];
  const expected = [
    ["changed", ["gateways: [] -> [10.0.0.1]", "arpSuppression: true -> false", "mtu: computed -> 1400"]],
    ["created", []],
  ];
  const dry = await admin.apply({ resources, dryRun: true });
  assert.deepEqual(
    dry.results.map(({ outcome, differences }) => [outcome, differences]),
    expected,
  );
  assert.equal((await admin.getStatus({})).revision, revision);
  const real = await admin.apply({ resources });
  assert.deepEqual(
    real.results.map(({ outcome, differences }) => [outcome, differences]),
    expected,
  );
  const { resources: listed } = await admin.list({ kind: "network", name: "blue" });
  assert.equal(listed[0]?.resource.case === "network" && listed[0].resource.value.mtu, 1400);
});

test("what endpoints rest on cannot be changed or deleted while there are any", async (t) => {
  const server = await serverWithNetwork(t);
  const { admin } = server;
  const { client } = await joinTestNode(t, server, 1);
  await client.createEndpoint({ id: endpointId(1), network: "blue", ips: ["10.0.0.7"] });
  const apply = (fields: object) => admin.apply({ resources: [network({ name: "blue", ...fields })] });
  await assert.rejects(
    apply({ subnets: ["10.7.0.0/24"] }),
    refusal("failed-precondition", /while there are endpoints \(1\)/),
  );
  await assert.rejects(apply({ vni: 7 }), refusal("failed-precondition", /vni is 100 and cannot become 7/));
  await assert.rejects(apply({ gateways: ["10.0.0.7"] }), refusal("already-exists", /endpoint 000000000001 has/));
  await assert.rejects(apply({ mtu: 9000 }), refusal("failed-precondition", /node h1 has an underlay MTU of 1500/));
  await assert.rejects(
    admin.delete({ resources: [{ kind: "network", name: "blue" }] }),
    refusal("failed-precondition", /it has endpoints: 000000000001 on h1/),
  );
  await apply({ gateways: ["10.0.0.8"] });
  await assert.rejects(
    client.createEndpoint({ id: endpointId(2), network: "blue", ips: ["10.0.0.8"] }),
    refusal("invalid-argument", /the gateway/),
  );
  await admin.delete({
    resources: [
      { kind: "tenant", name: "acme" },
      { kind: "network", name: "blue" },
      { kind: "endpoint", name: endpointId(1) },
    ],
  });
  assert.deepEqual(await names(server), ["node h1"]);
});

test("a network without endpoints may get other subnets", async (t) => {
  const server = await serverWithNetwork(t);
  const { client } = await joinTestNode(t, server, 1);
  await client.createEndpoint({ id: endpointId(1), network: "blue" });
  await client.deleteEndpoints({ ids: [endpointId(1)] });
  await server.admin.apply({ resources: [network({ name: "blue", subnets: ["10.7.0.0/24"] })] });
  const { endpoint } = await client.createEndpoint({ id: endpointId(1), network: "blue" });
  assert.deepEqual(endpoint?.ips, ["10.7.0.1"]);
});

test("a network is either deleted or gets the endpoint that comes at the same time", async (t) => {
  const server = await serverWithNetwork(t);
  const { client } = await joinTestNode(t, server, 1);
  for (let round = 0; round < 10; round++) {
    const name = `race${round}`;
    await createNetwork(server, name, `10.${round + 1}.0.0/24`);
    const [created, deleted] = await Promise.allSettled([
      client.createEndpoint({ id: endpointId(round), network: name }),
      server.admin.delete({ resources: [{ kind: "network", name }] }),
    ]);
    assert.notEqual(created.status, deleted.status);
  }
});

test("lists are ordered, and filtered by network, node and name", async (t) => {
  const server = await serverWithNetwork(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "amber", "10.5.0.0/24");
  await two.client.createEndpoint({ id: endpointId(3), network: "blue" });
  await one.client.createEndpoint({ id: endpointId(2), network: "blue" });
  await one.client.createEndpoint({ id: endpointId(1), network: "amber" });
  assert.deepEqual(await names(server), ["tenant acme", "network amber", "network blue", "node h1", "node h2"]);
  const ids = async (filter: object): Promise<string[]> => {
    const { resources } = await server.admin.list({ kind: "endpoint", ...filter });
    return resources.flatMap(({ resource }) => (resource.case === "endpoint" ? [resource.value.id.slice(-1)] : []));
  };
  assert.deepEqual(await ids({}), ["1", "2", "3"]);
  assert.deepEqual(await ids({ network: "blue" }), ["2", "3"]);
  assert.deepEqual(await ids({ network: "blue", node: "h1" }), ["2"]);
  assert.deepEqual(await ids({ name: endpointId(3) }), ["3"]);
  await assert.rejects(ids({ network: "none" }), refusal("not-found", /no such network/));
  await assert.rejects(server.admin.list({ kind: "node", name: "h9" }), refusal("not-found", /none of this name/));
  await assert.rejects(server.admin.list({ kind: "planet" }), refusal("invalid-argument", /allowed: tenant, network/));
});

test("nodes and endpoints are not declared", async (t) => {
  const { admin } = await startTestServer(t);
  await assert.rejects(
    admin.create({ resources: [{ resource: { case: "node", value: { name: "h1" } } }] }),
    refusal("invalid-argument", /when its agent joins/),
  );
  await assert.rejects(admin.create({ resources: [{}] }), refusal("invalid-argument", /no kind/));
});
