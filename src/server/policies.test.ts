/** Policies at the server: how they are declared, and which nodes are told of them and of whom they speak of. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  refusal,
  startTestServer,
  type TestNode,
  type TestServer,
  TestWatch,
} from "../../test/support/server.ts";
import type { WatchResponse } from "../api/generated/weft/v1/node_pb.js";
import { ManualClock } from "../base/clock.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import { parsePolicy } from "../model/policy/index.ts";
import { parseNetwork } from "../model/schema.ts";
import { MemoryStore } from "../store/index.ts";
import type { Operation } from "../store/store.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { DeclaredSoFar } from "./declared.ts";
import { Fanout } from "./fanout.ts";
import { plainRecords, records } from "./records.ts";
import { State } from "./state.ts";

type Policy = { readonly name: string; readonly tenant?: string; readonly [field: string]: unknown };
const policy = (fields: Policy) => ({
  resource: { case: "policy" as const, value: { tenant: "acme", ...fields } },
});

async function apply({ admin }: TestServer, ...policies: readonly Policy[]): Promise<bigint> {
  return (await admin.apply({ resources: policies.map(policy) })).revision;
}

async function remove({ admin }: TestServer, ...names: readonly string[]): Promise<bigint> {
  return (await admin.delete({ resources: names.map((name) => ({ kind: "policy", name })) })).revision;
}

type Labels = Record<string, string>;
async function attach(node: TestNode, number: number, network = "blue", labels: Labels = {}): Promise<bigint> {
  return (await node.client.createEndpoint({ id: endpointId(number), network, labels })).revision;
}

async function detach(node: TestNode, number: number): Promise<bigint> {
  return (await node.client.deleteEndpoints({ ids: [endpointId(number)] })).revision;
}

/** Two nodes; of one tenant networks blue and, of layer 3, red; of another network green. */
async function cluster(t: Parameters<typeof startTestServer>[0], options: Parameters<typeof startTestServer>[1] = {}) {
  const server = await startTestServer(t, options);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await createNetwork(server, "red", "10.1.0.0/24", { mode: "l3" });
  await server.admin.create({
    resources: [
      { resource: { case: "tenant", value: { name: "other" } } },
      { resource: { case: "network", value: { name: "green", tenant: "other", subnets: ["10.0.0.0/24"] } } },
    ],
  });
  return { server, one, two };
}

const about = (lines: readonly string[]): string[] => lines.filter((line) => /polic|member/.test(line));

test("policies rest on their tenant and the networks that they name", async (t) => {
  const { server } = await cluster(t);
  const { admin } = server;
  const cases: [Policy, Parameters<typeof refusal>[0], RegExp][] = [
    [{ name: "p", tenant: "nobody" }, "not-found", /no tenant nobody/],
    [{ name: "p", networks: ["none"] }, "not-found", /no network none/],
    [{ name: "p", networks: ["green"] }, "failed-precondition", /green is of tenant other/],
    [{ name: "p", endpoints: "a=(" }, "invalid-argument", /endpoints: found "a=\("/],
    [
      { name: "p", rules: [{ direction: "up", action: "allow" }] },
      "invalid-argument",
      /rules\[0\]\.direction: found "up"/,
    ],
  ];
  for (const [fields, code, reason] of cases) await assert.rejects(apply(server, fields), refusal(code, reason));
  await apply(server, { name: "p", networks: ["blue"] });
  await assert.rejects(admin.create({ resources: [policy({ name: "p" })] }), refusal("already-exists", /of this name/));
  await assert.rejects(
    apply(server, { name: "p", tenant: "other" }),
    refusal("failed-precondition", /tenant is acme and cannot become other/),
  );
  const deletion = (kind: string, name: string) => admin.delete({ resources: [{ kind, name }] });
  await assert.rejects(deletion("network", "blue"), refusal("failed-precondition", /policies name it: p/));
  await assert.rejects(deletion("tenant", "acme"), refusal("failed-precondition", /it has policies: p/));
  await assert.rejects(deletion("policy", "q"), refusal("not-found", /no policy q/));
  // A request that deletes all of it does, in whatever order it names them.
  await admin.delete({
    resources: [
      { kind: "tenant", name: "acme" },
      { kind: "network", name: "blue" },
      { kind: "network", name: "red" },
      { kind: "policy", name: "p" },
    ],
  });
  const { resources } = await admin.list({ kind: "policy" });
  assert.deepEqual(resources, []);
});

test("applying a policy says what differs, rule by rule, and nothing where nothing does", async (t) => {
  const { server } = await cluster(t);
  const { admin } = server;
  const rule = (name: string, fields: object = {}) => ({ name, direction: "ingress", action: "allow", ...fields });
  const web = { name: "web", rules: [rule("a"), rule("b", { ports: [{ protocol: "icmp", types: [0] }] })] };
  const outcomes = async (fields: Policy) => {
    const { results } = await admin.apply({ resources: [policy(fields)] });
    return results.map(({ outcome, differences }) => [outcome, ...differences]);
  };
  assert.deepEqual(await outcomes(web), [["created"]]);
  const { revision } = await admin.getStatus({});
  assert.deepEqual(await outcomes(web), [["unchanged"]]);
  assert.equal((await admin.getStatus({})).revision, revision);
  assert.deepEqual(
    await outcomes({ ...web, priority: 0, endpoints: "app=web", rules: [rule("b"), rule("a"), rule("c")] }),
    [
      [
        "changed",
        "priority: 1000 -> 0",
        "rule b: {name: b, direction: ingress, action: allow, ports: [{protocol: icmp, types: [0]}]} -> {name: b, direction: ingress, action: allow}",
        "rule c: none -> {name: c, direction: ingress, action: allow}",
        "rules: [a, b] -> [b, a]",
        "endpoints: all -> app=web",
      ],
    ],
  );
});

test("nodes that host a network of a tenant are told its policies, and all endpoints of the tenant", async (t) => {
  const { server, one, two } = await cluster(t);
  await attach(one, 1, "blue", { app: "web" });
  await attach(two, 2, "red");
  const start = await attach(two, 3, "green");
  const watch = await new TestWatch(t, one.client).reached(start);
  assert.deepEqual(about(watch.take()), []);

  // The first policy brings the members, wherever they are and of whatever mode their network is.
  await watch.reached(await apply(server, { name: "p" }));
  assert.deepEqual(watch.take(), [
    "policies of acme:",
    "policy p, priority 1000",
    'member acme/blue/000000000001 10.0.0.1 {"app":"web"}',
    "member acme/red/000000000002 10.1.0.2 {}",
  ]);
  await watch.reached(await apply(server, { name: "q", priority: 0 }, { name: "p", priority: 7 }));
  assert.deepEqual(watch.take(), ["policy p, priority 7", "policy q, priority 0"]);
  await watch.reached(await attach(two, 4, "red"));
  assert.deepEqual(watch.take(), ["member acme/red/000000000004 10.1.0.3 {}"]);
  await watch.reached(await detach(two, 4));
  assert.deepEqual(watch.take(), ["no member acme/red/000000000004"]);

  await watch.reached(await remove(server, "p"));
  assert.deepEqual(watch.take(), ["no policy acme/p"]);
  await watch.reached(await remove(server, "q"));
  assert.deepEqual(watch.take(), ["no policies of acme"]);
  // Of a tenant without policies there is nothing to tell.
  await attach(two, 5, "red");
  await watch.reached(await attach(one, 6));
  assert.deepEqual(about(watch.take()), []);
});

test("a node that comes to host its first network of a tenant has the policies before the network is complete", async (t) => {
  const { server, one, two } = await cluster(t);
  await attach(two, 1, "red");
  const start = await apply(server, { name: "p" });
  const watch = await new TestWatch(t, one.client).reached(start);
  assert.deepEqual(about(watch.take()), []);
  await watch.reached(await attach(one, 2, "blue", { app: "web" }));
  assert.deepEqual(watch.take(), [
    "policies of acme:",
    "policy p, priority 1000",
    'member acme/blue/000000000002 10.0.0.1 {"app":"web"}',
    "member acme/red/000000000001 10.1.0.2 {}",
    "network blue, MTU 1450:",
    "endpoint blue/000000000002 10.0.0.1 on h1",
  ]);
  // Its second network brings only itself.
  await watch.reached(await attach(one, 3, "red"));
  const lines = watch.take();
  assert.deepEqual(about(lines), ["member acme/red/000000000003 10.1.0.66 {}"]);
  assert.ok(lines.includes("network red, MTU 1450:"));
  // As long as it hosts one, it is told.
  await watch.reached(await detach(one, 2));
  assert.deepEqual(about(watch.take()), ["no member acme/blue/000000000002"]);
});

test("a node that has nothing of the tenant but a peer's network is told of no policies, and nobody waits for it", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "front", "10.0.0.0/24", { gateway: "distributed", peers: ["other/pods"] });
  const value = {
    name: "pods",
    tenant: "other",
    subnets: ["10.1.0.0/24"],
    mode: "l3",
    gateway: "distributed",
    peers: ["acme/front"],
  };
  await server.admin.create({
    resources: [{ resource: { case: "tenant", value: { name: "other" } } }, { resource: { case: "network", value } }],
  });
  await attach(one, 1, "front");
  await attach(two, 2, "pods");
  const { hosts } = await server.admin.list({ kind: "network", name: "pods" });
  assert.deepEqual(
    hosts.map(({ node, endpoints }) => [node, endpoints]),
    [
      ["h1", 0],
      ["h2", 1],
    ],
  );
  const behind = async (): Promise<string[]> => {
    const { readiness } = await server.admin.list({ kind: "network", name: "pods" });
    return readiness?.behind.map(({ node }) => node) ?? [];
  };
  const report = async ({ client }: TestNode, revision: bigint): Promise<void> => {
    await client.reportInPlace({ networks: [{ network: "pods", revision, problem: "" }] });
  };
  const { revision } = await server.admin.getStatus({});
  await report(one, revision);
  await report(two, revision);
  assert.deepEqual(await behind(), []);
  const policed = await apply(server, { name: "p", tenant: "other" });
  const member = await attach(two, 3, "pods");
  assert.deepEqual(await behind(), ["h2"]);
  await report(two, member);
  assert.deepEqual(await behind(), []);
  assert.ok(member > policed);
  // Of those of its own tenant it is.
  const watch = await new TestWatch(t, one.client).reached(await apply(server, { name: "q" }));
  assert.deepEqual(
    about(watch.take()).filter((line) => !line.startsWith("member")),
    ["policies of acme:", "policy q, priority 1000"],
  );
  // To policies an endpoint of the other tenant is its address.
  const ask = async (rule: object) => {
    await apply(server, { name: "p", tenant: "other", rules: [{ direction: "ingress", action: "deny", ...rule }] });
    const { verdict, obstacle } = await server.admin.explainPolicy({
      from: endpointId(1),
      to: endpointId(2),
      protocol: "tcp",
      port: 80,
    });
    return [verdict, obstacle];
  };
  assert.deepEqual(await ask({ peers: [{}] }), ["allow", ""]);
  assert.deepEqual(await ask({ peers: [{ subnet: "10.0.0.0/24" }] }), ["deny", ""]);
});

test("a node that leaves the last network of a tenant holds its policies no more", async (t) => {
  const { server, one, two } = await cluster(t);
  await attach(two, 1);
  await attach(one, 2);
  const watch = await new TestWatch(t, one.client).reached(await apply(server, { name: "p" }));
  watch.take();
  await watch.reached(await detach(one, 2));
  assert.deepEqual(watch.take(), ["no network blue", "no node h2", "no policies of acme"]);
  await apply(server, { name: "p", priority: 3 });
  await watch.reached(await attach(one, 3));
  assert.deepEqual(about(watch.take()).slice(0, 2), ["policies of acme:", "policy p, priority 3"]);
});

test("a watch that resumes is told the policies, and members that changed; others are told whole", async (t) => {
  const store = new MemoryStore();
  const dataDir = temporaryDirectory(t);
  const { server, one, two } = await cluster(t, { store, dataDir });
  for (const [index, name] of ["p", "q"].entries()) await apply(server, { name, priority: index });
  await attach(one, 1);
  await attach(two, 2, "red");
  const revision = await attach(two, 3, "red");
  await detach(two, 2);
  await attach(two, 4, "blue", { app: "db" });
  const end = await remove(server, "q");
  const told = async (from: bigint, policyTenants: readonly string[]): Promise<string[]> => {
    const watch = new TestWatch(t, one.client, { revision: from, networks: [], policyTenants: [...policyTenants] });
    await watch.reached(end);
    await watch.stop();
    return about(watch.take());
  };
  const changes = [
    "policies of acme, and members that changed:",
    "policy p, priority 0",
    "no member acme//000000000002",
    'member acme/blue/000000000004 10.0.0.2 {"app":"db"}',
  ];
  const whole = [
    "policies of acme:",
    "policy p, priority 0",
    "member acme/blue/000000000001 10.0.0.1 {}",
    'member acme/blue/000000000004 10.0.0.2 {"app":"db"}',
    "member acme/red/000000000003 10.1.0.3 {}",
  ];
  const sorted = (lines: readonly string[]): string[] => [...lines].sort();
  assert.deepEqual(sorted(await told(revision, ["acme"])), sorted(changes));
  assert.deepEqual(await told(revision, []), whole);
  assert.deepEqual(await told(end + 100n, ["acme"]), whole);
  // What it holds of tenants that have none, or that it does not host, is void.
  assert.deepEqual(
    await told(revision, ["acme", "other"]).then((lines) => lines.includes("no policies of other")),
    true,
  );
  // The same from a server that was started anew: the store has the changes.
  await server.server.close();
  await startTestServer(t, { store, dataDir, listen: server.server.address });
  assert.deepEqual(sorted(await told(revision, ["acme"])), sorted(changes));
});

test("a watch names as many networks, and tenants with policies, as there may be of either, and no more", async (t) => {
  const { one } = await cluster(t);
  const names = Array.from({ length: 10_001 }, (_, index) => `t${index}`);
  for (const [field, what] of [
    ["networks", "networks"],
    ["policyTenants", "tenants with policies"],
  ] as const) {
    const watch = (count: number): TestWatch => new TestWatch(t, one.client, { [field]: names.slice(0, count) });
    refusal(
      "invalid-argument",
      new RegExp(`^10001 ${what} in one request are more than 10000$`),
    )(await watch(10_001).ended());
    await watch(10_000).reached(1);
  }
});

test("labels come with the claim, are changed by administrators, and members with them", async (t) => {
  const { server, one, two } = await cluster(t);
  await attach(two, 1);
  const watch = await new TestWatch(t, one.client).reached(await attach(one, 2, "blue", { app: "web", tier: "" }));
  await watch.reached(await apply(server, { name: "p" }));
  watch.take();
  const set = (id: number, labels: Labels, ...removedLabels: string[]) =>
    server.admin.setEndpoint({ id: endpointId(id), labels, removedLabels });
  const { endpoint, revision } = await set(1, { app: "db", zone: "a" }, "none");
  assert.deepEqual(endpoint?.labels, { app: "db", zone: "a" });
  await watch.reached(revision);
  assert.deepEqual(watch.take(), [
    "endpoint blue/000000000001 10.0.0.1 on h2",
    'member acme/blue/000000000001 10.0.0.1 {"app":"db","zone":"a"}',
  ]);
  assert.deepEqual((await set(1, { app: "x" }, "zone")).endpoint?.labels, { app: "x" });
  assert.equal((await set(1, { app: "x" })).revision, (await server.admin.getStatus({})).revision);
  // A claim that is repeated finds what was said since.
  await set(2, { app: "other" }, "tier");
  const again = await one.client.createEndpoint({ id: endpointId(2), network: "blue", labels: { app: "web" } });
  assert.deepEqual(again.endpoint?.labels, { app: "other" });
  assert.deepEqual((await set(2, {}, "app")).endpoint?.labels, {});
  await assert.rejects(set(9, { a: "b" }), refusal("not-found", /no endpoint 000000000009/));
  await assert.rejects(set(1, { a: "b c" }), refusal("invalid-argument", /labels\.a: found "b c"/));
  const many = Object.fromEntries(Array.from({ length: 256 }, (_, index) => [`l${index}`, ""]));
  await assert.rejects(set(1, many), refusal("invalid-argument", /at most 256 labels/));
  await assert.rejects(attach(one, 7, "blue", { "a b": "" }), refusal("invalid-argument", /labels/));
});

test("what was learned has no labels, and is a member all the same", async (t) => {
  const { server, one } = await cluster(t);
  await createNetwork(server, "learning", "10.2.0.0/24", { learningLimit: 4 });
  await attach(one, 1, "learning", { app: "web" });
  await apply(server, { name: "p" });
  const { outcomes, revision } = await one.client.publishLearned({
    network: "learning",
    addresses: [
      { id: endpointId(2), mac: "02:00:00:00:00:02", ips: ["10.2.0.9"] },
      { id: endpointId(3), mac: (await macOf(server, 1)) ?? "", ips: ["10.2.0.10"] },
    ],
  });
  assert.deepEqual(
    outcomes.map(({ endpoint }) => endpoint?.id),
    [endpointId(2), endpointId(1)],
  );
  const watch = await new TestWatch(t, one.client).reached(revision);
  assert.deepEqual(about(watch.take()).slice(2), [
    'member acme/learning/000000000001 10.2.0.1,10.2.0.10 {"app":"web"}',
    "member acme/learning/000000000002 10.2.0.9 {}",
  ]);
  await assert.rejects(
    server.admin.setEndpoint({ id: endpointId(2), labels: { app: "x" } }),
    refusal("failed-precondition", /it was learned/),
  );
});

async function macOf({ admin }: TestServer, number: number): Promise<string | undefined> {
  const { resources } = await admin.list({ kind: "endpoint", name: endpointId(number) });
  const [found] = resources;
  return found?.resource.case === "endpoint" ? found.resource.value.mac : undefined;
}

test("that a policy is in place is known when all nodes of its tenant's networks have reported it", async (t) => {
  const { server, one, two } = await cluster(t);
  await attach(one, 1);
  await attach(two, 2, "red");
  for (const node of [one, two]) await new TestWatch(t, node.client, { reports: true }).reached(1);
  const report = (node: TestNode, network: string, revision: bigint) =>
    node.client.reportInPlace({ networks: [{ network, revision }] });
  const behind = async (network: string): Promise<string[]> => {
    const { readiness } = await server.admin.list({ kind: "network", name: network });
    return readiness?.behind.map(({ node }) => node) ?? [];
  };
  const { revision: before } = await server.admin.getStatus({});
  await report(one, "blue", before);
  await report(two, "red", before);
  assert.deepEqual([await behind("blue"), await behind("red")], [[], []]);
  const revision = await apply(server, { name: "p" });
  assert.deepEqual([await behind("blue"), await behind("red")], [["h1"], ["h2"]]);
  const progress: [boolean, number][] = [];
  const waiting = (async () => {
    for await (const { done, inPlace } of server.admin.waitInPlace({ networks: ["blue", "red"], revision }))
      progress.push([done, inPlace]);
  })();
  await report(one, "blue", revision);
  await report(two, "red", revision);
  await waiting;
  assert.deepEqual(progress.at(-1), [true, 2]);
  // Of an l3 network only the node of an endpoint is told of it, and all nodes of the member.
  await attach(one, 3, "red");
  const { revision: now } = await server.admin.getStatus({});
  await report(one, "red", now);
  await report(two, "red", now);
  await attach(one, 4, "red");
  assert.deepEqual((await behind("red")).sort(), ["h1", "h2"]);
});

/** A state with one network that two nodes host, filled without a store. */
function filledState(count: number): {
  readonly state: State;
  readonly fanout: Fanout;
  put(operation: Operation): void;
} {
  const state = new State(new ManualClock());
  const fanout = new Fanout(state, new ManualClock());
  const put = (operation: Operation): void => {
    const revision = state.revision + 1;
    state.apply({ ...operation, revision }, (change) => fanout.notice(change));
    state.settle(revision, () => {});
    fanout.settle(revision);
  };
  put(
    records.network.put(
      unwrap(parseNetwork({ name: "blue", tenant: "acme", vni: 7, mode: "l3", subnets: ["10.0.0.0/8"] })),
      "blue",
    ),
  );
  for (let index = 0; index < count; index++) put(endpointPut(index));
  return { state, fanout, put };
}

function endpointPut(index: number): Operation {
  const id = endpointId(index);
  const [a, b] = [(index + 1) >> 8, (index + 1) & 0xff];
  const endpoint = {
    id,
    network: "blue",
    node: index === 0 ? "h1" : "h2",
    mac: mac(`02:${id.match(/../g)?.slice(1).join(":")}`),
    ips: [ip(`10.0.${a}.${b}`)],
    attachment: "netns",
    sequence: 0,
  } as const;
  return records.endpoint.put(endpoint, "blue", id);
}

const policyPut = (name: string): Operation =>
  plainRecords.policy.put(unwrap(parsePolicy({ name, tenant: "acme" })), name);

test("members of a large tenant are sent in messages of at most 1,000 changes, and count as endpoints of a network do", async () => {
  const { fanout, put } = filledState(2_500);
  const request = { revision: 0n, networks: [], inParts: true };
  const watcher = fanout.open({ name: "h1", generation: 1 }, request, undefined);
  const messages = watcher.messages();
  await messages.next();
  const before = watcher.waiting;
  put(policyPut("p"));
  // The beginning, the policy, and a sixteenth of the members.
  assert.equal(watcher.waiting - before, 2 + Math.ceil(2_500 / 16));
  const sizes: [number, boolean][] = [];
  for (let complete = false; !complete; ) {
    const message: WatchResponse = (await messages.next()).value;
    complete = message.complete;
    sizes.push([message.changes.length, complete]);
  }
  assert.deepEqual(sizes, [
    [1000, false],
    [1000, false],
    [502, true],
  ]);
});

test("the policies of a tenant, and those that a transaction makes of them, are found without looking at other tenants'", () => {
  const state = new State(new ManualClock());
  const make = (name: string, tenant: string, priority = 1000) => unwrap(parsePolicy({ name, tenant, priority }));
  for (const [revision, policy] of [make("p", "acme"), make("q", "acme"), make("r", "other")].entries())
    state.apply({ ...plainRecords.policy.put(policy, policy.name), revision: revision + 1 }, () => {});
  // The table of all of them is looked into, and never gone through.
  for (const walk of ["values", "entries", "keys", Symbol.iterator, "forEach"] as const)
    Object.defineProperty(state.plain.policy, walk, { value: () => assert.fail("all policies were gone through") });
  const declared = new DeclaredSoFar(state);
  for (const policy of [make("q", "acme", 7), make("s", "acme"), make("s", "acme", 8), make("t", "other")])
    declared.put("policy", policy);
  const found = (tenant: string): string[] =>
    Array.from(declared.policiesOf(tenant), ({ name, priority }) => `${name} ${priority}`).sort();
  assert.deepEqual(found("acme"), ["p 1000", "q 7", "s 8"]);
  assert.deepEqual(found("other"), ["r 1000", "t 1000"]);
  assert.deepEqual(found("none"), []);
  assert.equal(declared.get("policy", "p")?.tenant, "acme");
});
