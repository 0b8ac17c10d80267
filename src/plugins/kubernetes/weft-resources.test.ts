/** What is kept at weft's server, a real one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startTestServer, type TestServer } from "../../../test/support/server.ts";
import type { Logger } from "../../base/logger.ts";
import { silentLogger } from "../../base/logger.ts";
import { unwrap } from "../../base/result.ts";
import { type Policy, parsePolicy } from "../../model/policy/index.ts";
import type { Pod } from "../../model/resources.ts";
import { type Wanted, WeftResources } from "./weft-resources.ts";

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
const wanted = (pods: readonly Pod[], policies: readonly Policy[]): Wanted => ({
  pod: new Map(pods.map((each) => [each.name, each])),
  policy: new Map(policies.map((each) => [each.name, each])),
});

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
  const all = wanted([pod("u1"), pod("u2")], [policy("p1")]);
  await resources.keep(all);
  assert.deepEqual(await names(server), ["policy p1", "pod u1", "pod u2"]);
  const { revision } = await server.admin.getStatus({});
  await resources.keep(all);
  await resources.load();
  await resources.keep(wanted([pod("u1"), pod("u2")], [policy("p1")]));
  assert.equal((await server.admin.getStatus({})).revision, revision);
  await resources.keep(wanted([pod("u2", { labels: { app: "web" } })], []));
  assert.deepEqual(await names(server), ["pod u2"]);
});

test("more than one request takes are as many requests", async (t) => {
  const { server, resources } = await cluster(t);
  const many = Array.from({ length: 1_001 }, (_, index) => pod(`u${index}`));
  await resources.keep(wanted(many, []));
  assert.equal((await names(server)).length, 1_001);
  await resources.keep(wanted([], []));
  assert.deepEqual(await names(server), []);
});

test("what people made is neither changed nor deleted", async (t) => {
  const { server, resources, complaints } = await cluster(t);
  const { managedBy: _, ...own } = policy("p1", { endpoints: "app=vm" });
  await server.admin.apply({
    resources: [{ resource: { case: "policy", value: { ...own, isolates: { directions: [] }, rules: [] } as never } }],
  });
  await resources.load();
  await resources.keep(wanted([], [policy("p1"), policy("p2")]));
  const { resources: found } = await server.admin.list({ kind: "policy", name: "p1" });
  assert.deepEqual(
    found.map(({ resource }) => resource.case === "policy" && [resource.value.endpoints, resource.value.managedBy]),
    [["app=vm", ""]],
  );
  assert.match(complaints.join(), /there is a policy of this name that is not Kubernetes'/);
  await resources.keep(wanted([], []));
  assert.deepEqual(await names(server), ["policy p1"]);
});

test("what the server does not take keeps nothing else from being made, and is told once", async (t) => {
  const { server, resources, complaints } = await cluster(t);
  const all = wanted([pod("u1")], [policy("p1"), policy("p2", { tenant: "nobody" })]);
  await resources.keep(all);
  await resources.keep(all);
  assert.deepEqual(await names(server), ["policy p1", "pod u1"]);
  assert.equal(complaints.length, 1);
  assert.match(complaints.join(), /"policy":"p2","error":".*there is no tenant nobody/);
  await server.admin.apply({ resources: [{ resource: { case: "tenant", value: { name: "nobody" } } }] });
  await resources.load();
  await resources.keep(all);
  assert.deepEqual(await names(server), ["policy p1", "policy p2", "pod u1"]);
});
