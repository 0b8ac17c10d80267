/** What is kept at weft's server, a real one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startTestServer, type TestServer } from "../../../test/support/server.ts";
import type { Logger } from "../../base/logger.ts";
import { silentLogger } from "../../base/logger.ts";
import { unwrap } from "../../base/result.ts";
import { type Policy, parsePolicy } from "../../model/policy/index.ts";
import type { Pod } from "../../model/resources.ts";
import { WeftResources } from "./weft-resources.ts";

const managedBy = "kubernetes";
const pod = (name: string, fields: object = {}): Pod => ({
  name,
  node: "h1",
  title: name,
  networks: ["pods"],
  ips: [],
  managedBy,
  ...fields,
});
const policy = (name: string, fields: object = {}): Policy =>
  unwrap(parsePolicy({ name, tenant: "acme", managedBy, ...fields }));
type Wanted = readonly [pods: readonly Pod[], policies: readonly Policy[]];
async function keep(resources: WeftResources, [pods, policies]: Wanted): Promise<void> {
  const named = <Value extends { readonly name: string }>(values: readonly Value[]) =>
    new Map(values.map((each) => [each.name, each]));
  for (const [kind, values] of [
    ["policy", named(policies)],
    ["pod", named(pods)],
  ] as const) {
    await resources.put(kind, values);
    await resources.removeOthers(kind, values);
  }
}

async function cluster(t: Parameters<typeof startTestServer>[0]) {
  const server = await startTestServer(t);
  await server.admin.apply({ resources: [{ resource: { case: "tenant", value: { name: "acme" } } }] });
  const complaints: string[] = [];
  const logger: Logger = { ...silentLogger, error: (fields) => void complaints.push(JSON.stringify(fields)) };
  const resources = new WeftResources(server.admin, logger);
  await resources.load();
  return { server, resources, complaints };
}

async function names({ admin }: TestServer): Promise<string[]> {
  const lists = await Promise.all(["policy", "pod"].map((kind) => admin.list({ kind })));
  return lists.flatMap(({ resources }) =>
    resources.map(({ resource }) =>
      resource.value !== undefined && "name" in resource.value ? `${resource.case} ${resource.value.name}` : "",
    ),
  );
}

test("the server has what is wanted, and is asked for nothing where that is so", async (t) => {
  const { server, resources } = await cluster(t);
  const all: Wanted = [[pod("u1"), pod("u2")], [policy("p1")]];
  await keep(resources, all);
  assert.deepEqual(await names(server), ["policy p1", "pod u1", "pod u2"]);
  const { revision } = await server.admin.getStatus({});
  await keep(resources, all);
  await resources.load();
  await keep(resources, [[pod("u1"), pod("u2")], [policy("p1")]]);
  assert.equal((await server.admin.getStatus({})).revision, revision);
  await keep(resources, [[pod("u2", { labels: { app: "web" } })], []]);
  assert.deepEqual(await names(server), ["pod u2"]);
});

test("more than one request takes are as many requests", async (t) => {
  const { server, resources } = await cluster(t);
  const many = Array.from({ length: 1_001 }, (_, index) => pod(`u${index}`));
  await keep(resources, [many, []]);
  assert.equal((await names(server)).length, 1_001);
  await keep(resources, [[], []]);
  assert.deepEqual(await names(server), []);
});

test("what people made is neither changed nor deleted", async (t) => {
  const { server, resources, complaints } = await cluster(t);
  const { managedBy: _, ...own } = policy("p1", { endpoints: "app=vm" });
  await server.admin.apply({
    resources: [{ resource: { case: "policy", value: { ...own, isolates: { directions: [] }, rules: [] } as never } }],
  });
  await resources.load();
  await keep(resources, [[], [policy("p1"), policy("p2")]]);
  const { resources: found } = await server.admin.list({ kind: "policy", name: "p1" });
  assert.deepEqual(
    found.map(({ resource }) => resource.case === "policy" && [resource.value.endpoints, resource.value.managedBy]),
    [["app=vm", ""]],
  );
  assert.match(complaints.join(), /there is a policy of this name that is not Kubernetes'/);
  await keep(resources, [[], []]);
  assert.deepEqual(await names(server), ["policy p1"]);
});

test("what the server does not take keeps nothing else from being made, and is told once", async (t) => {
  const { server, resources, complaints } = await cluster(t);
  const all: Wanted = [[pod("u1")], [policy("p1"), policy("p2", { tenant: "nobody" })]];
  await keep(resources, all);
  await keep(resources, all);
  assert.deepEqual(await names(server), ["policy p1", "pod u1"]);
  assert.equal(complaints.length, 1);
  assert.match(complaints.join(), /"policy":"p2","error":".*there is no tenant nobody/);
  await server.admin.apply({ resources: [{ resource: { case: "tenant", value: { name: "nobody" } } }] });
  await resources.load();
  await keep(resources, all);
  assert.deepEqual(await names(server), ["policy p1", "policy p2", "pod u1"]);
});
