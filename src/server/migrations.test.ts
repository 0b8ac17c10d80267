/** Moves of endpoints as the server leads them: who has an endpoint at each moment, and who is still forwarded by. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  addNetwork,
  addNodes,
  endpointDraft,
  nodeIdentity,
  openAuthority,
  settled,
} from "../../test/support/authority.ts";
import { endpointId, refusal } from "../../test/support/server.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { MemoryStore } from "../store/index.ts";
import { Migrations } from "./migrations.ts";

const [h1, h2, h3] = [nodeIdentity(1), nodeIdentity(2), nodeIdentity(3)] as const;
const id = endpointId(1);
const nobodyGivesUp = new AbortController().signal;

/** Three nodes, of which each has an endpoint of network `blue`; the first is the one that moves. */
async function scene(
  t: TestContext,
  fields: object = { subnets: ["10.0.0.0/24", "fd00::/64"] },
  store = new MemoryStore(),
) {
  const authority = await openAuthority(t, store);
  const { ledger, endpoints, identities } = authority;
  await addNodes(authority, 3);
  await addNetwork(authority, fields);
  await endpoints.create(h1, endpointDraft(1, { labels: { app: "web" }, movable: true }));
  await endpoints.create(h2, endpointDraft(2));
  await endpoints.create(h3, endpointDraft(3));
  const migrations = new Migrations(ledger, identities, endpoints);
  t.after(() => migrations.close());
  const endpoint = () => {
    const known = ledger.state.endpoints.get(id);
    assert.ok(known !== undefined);
    const { node, standby, formerNodes, sequence } = known;
    return { node, standby, formerNodes, sequence };
  };
  /** The node watches, and has all in place that it was told. */
  const connect = (node: typeof h1): void => {
    ledger.fanout.open(node, { revision: 0n, networks: [], inParts: false }, undefined);
    ledger.readiness.connected(node.name, true);
    report(node);
  };
  const report = (node: typeof h1): void => {
    ledger.readiness.report(node.name, [{ network: "blue", revision: ledger.state.revision, problem: "" }]);
  };
  return { ...authority, migrations, endpoint, connect, report };
}

test("a node that stands by takes the endpoint over, and the one that it left forwards until all follow", async (t) => {
  const { migrations, endpoint, connect, report, clock, ledger } = await scene(t);
  for (const node of [h1, h2, h3]) connect(node);
  const prepared = await migrations.prepare(h2, "blue", "10.0.0.1");
  assert.equal(prepared.endpoint.id, id);
  assert.deepEqual(endpoint(), {
    node: "h1",
    standby: { node: "h2", when: "announced" },
    formerNodes: undefined,
    sequence: 0,
  });
  const revision = await migrations.takeOver(h2, id, "tap");
  assert.deepEqual(endpoint(), { node: "h2", standby: undefined, formerNodes: ["h1"], sequence: 1 });
  assert.equal(ledger.state.endpoints.get(id)?.attachment, "tap");
  assert.deepEqual(ledger.state.endpoints.get(id)?.labels, { app: "web" });
  assert.equal(await migrations.takeOver(h2, id, "tap"), revision, "once more changes nothing");
  for (const node of [h1, h2]) report(node);
  clock.advance(milliseconds(50));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(endpoint().formerNodes, ["h1"], "h3 sends to h1 still");
  report(h3);
  clock.advance(milliseconds(50));
  await settled(() => endpoint().formerNodes === undefined);
});

test("a node that is away is forwarded for until it is back, or deleted", async (t) => {
  const { migrations, endpoint, connect, report, clock, ledger, nodes } = await scene(t);
  for (const node of [h1, h2]) connect(node);
  await migrations.prepare(h2, "blue", id);
  await migrations.takeOver(h2, id, "netns");
  for (const node of [h1, h2]) report(node);
  clock.advance(seconds(3_600));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(endpoint().formerNodes, ["h1"]);
  await nodes.delete("h3");
  for (const node of [h1, h2]) report(node);
  clock.advance(seconds(6));
  clock.advance(milliseconds(50));
  await settled(() => endpoint().formerNodes === undefined);
  assert.equal(ledger.state.nodes.has("h3"), false);
});

test("those that it left before forward to where it is, but for the one that has it again", async (t) => {
  const { migrations, endpoint } = await scene(t);
  for (const [node, former] of [
    [h2, ["h1"]],
    [h3, ["h1", "h2"]],
    [h1, ["h2", "h3"]],
  ] as const) {
    await migrations.prepare(node, "blue", id);
    await migrations.takeOver(node, id, "netns");
    assert.deepEqual(endpoint().formerNodes, former);
  }
});

test("nodes that stand by, or forward, host the network although they have nothing in it", async (t) => {
  const { migrations, ledger, endpoints } = await scene(t);
  await endpoints.release(h2, [endpointId(2)]);
  const hosts = () => [...(ledger.state.networks.get("blue")?.hosts.keys() ?? [])].sort();
  assert.deepEqual(hosts(), ["h1", "h3"]);
  await migrations.prepare(h2, "blue", id);
  assert.deepEqual(hosts(), ["h1", "h2", "h3"]);
  await migrations.decline(h2, id, "");
  assert.deepEqual(hosts(), ["h1", "h3"]);
  await migrations.prepare(h2, "blue", id);
  await migrations.takeOver(h2, id, "netns");
  assert.deepEqual(hosts(), ["h1", "h2", "h3"], "h1 forwards");
  await endpoints.release(h2, [id]);
  assert.deepEqual(hosts(), ["h3"]);
});

test("by command the node takes it over when it is ready, and how it is attached its node says", async (t) => {
  const { migrations, endpoint, connect } = await scene(t);
  for (const node of [h1, h2, h3]) connect(node);
  const request = { name: id, network: "", node: "h2", place: undefined };
  const moved = migrations.migrate(request, nobodyGivesUp);
  await settled(() => endpoint().standby !== undefined);
  const port = { netns: "", interface: "", routePriority: 0, device: "vm1", allowedAddresses: [] };
  await migrations.offer(h2, id, port, "");
  assert.equal(endpoint().standby?.port, undefined, "another node says nothing of it");
  await migrations.offer(h1, id, port, "");
  assert.deepEqual(endpoint().standby, { node: "h2", when: "ready", port });
  await migrations.takeOver(h2, id, "tap");
  const { formerNode, endpoint: after } = await moved;
  assert.deepEqual([formerNode, after.node], ["h1", "h2"]);
});

test("a move that cannot be leaves the endpoint where it is, and says why", async (t) => {
  const { migrations, endpoint, connect, clock } = await scene(t);
  for (const node of [h1, h2, h3]) connect(node);
  const request = { name: id, network: "", node: "h2", place: undefined };
  const stays = { node: "h1", standby: undefined, formerNodes: undefined, sequence: 0 };

  const declined = assert.rejects(
    migrations.migrate(request, nobodyGivesUp),
    refusal("failed-precondition", /node h2: there is no such namespace/),
  );
  await settled(() => endpoint().standby !== undefined);
  await migrations.decline(h2, id, "node h2: there is no such namespace");
  await declined;
  assert.deepEqual(endpoint(), stays);

  const refused = assert.rejects(
    migrations.migrate(request, nobodyGivesUp),
    refusal("failed-precondition", /a runtime/),
  );
  await settled(() => endpoint().standby !== undefined);
  await migrations.offer(h1, id, undefined, "a runtime attached it");
  await refused;
  assert.deepEqual(endpoint(), stays);

  const late = assert.rejects(
    migrations.migrate(request, nobodyGivesUp),
    refusal("unavailable", /node h2 did not take it over within 30 s/),
  );
  await settled(() => endpoint().standby !== undefined);
  clock.advance(seconds(30));
  await late;
  assert.deepEqual(endpoint(), stays);

  const asking = new AbortController();
  const aborted = assert.rejects(migrations.migrate(request, asking.signal), refusal("unavailable", /waits no more/));
  await settled(() => endpoint().standby !== undefined);
  asking.abort();
  await aborted;
  assert.deepEqual(endpoint(), stays);

  const cancelled = assert.rejects(
    migrations.migrate(request, nobodyGivesUp),
    refusal("unavailable", /somebody cancelled it/),
  );
  await settled(() => endpoint().standby !== undefined);
  assert.equal((await migrations.cancel(id, "blue")).node, "h2");
  await cancelled;
  assert.deepEqual(endpoint(), stays);
  await assert.rejects(migrations.takeOver(h2, id, "tap"), refusal("failed-precondition", /does not stand by/));
});

test("two moves at once, to oneself, of what was learned, of unknown endpoints and in l3 networks are refused", async (t) => {
  const { migrations } = await scene(t);
  await migrations.prepare(h2, "blue", id);
  await migrations.prepare(h2, "blue", id);
  await assert.rejects(migrations.prepare(h3, "blue", id), refusal("already-exists", /node h2 makes ready/));
  await assert.rejects(migrations.prepare(h1, "blue", id), refusal("failed-precondition", /on node h1 already/));
  await assert.rejects(migrations.prepare(h2, "blue", "10.0.0.77"), refusal("not-found", /no such endpoint/));
  await assert.rejects(migrations.prepare(h2, "green", id), refusal("not-found", /no network green/));
  await assert.rejects(migrations.prepare(h2, "", id), refusal("not-found", /no network/));
  const request = { name: id, network: "", node: "h9", place: undefined };
  await assert.rejects(migrations.migrate(request, nobodyGivesUp), refusal("not-found", /no node h9/));
});

test("addresses of l3 networks belong to nodes", async (t) => {
  const { migrations } = await scene(t, { subnets: ["10.0.0.0/16"], mode: "l3" });
  await assert.rejects(migrations.prepare(h2, "blue", id), refusal("failed-precondition", /belong to blocks/));
});

test("a server that starts again goes on with what was begun", async (t) => {
  const store = new MemoryStore();
  const before = await scene(t, undefined, store);
  await before.migrations.prepare(h2, "blue", id);
  await before.migrations.takeOver(h2, id, "netns");
  await before.migrations.close();
  await before.close();
  const after = await openAuthority(t, store);
  const migrations = new Migrations(after.ledger, after.identities, after.endpoints);
  t.after(() => migrations.close());
  assert.deepEqual(after.ledger.state.endpoints.get(id)?.formerNodes, ["h1"]);
  for (const node of [h1, h2, h3]) {
    after.ledger.fanout.open(node, { revision: 0n, networks: [], inParts: false }, undefined);
    after.ledger.readiness.connected(node.name, true);
    const report = { network: "blue", revision: after.ledger.state.revision, problem: "" };
    after.ledger.readiness.report(node.name, [report]);
  }
  after.clock.advance(milliseconds(50));
  await settled(() => after.ledger.state.endpoints.get(id)?.formerNodes === undefined);
});

test("what nobody waits for any more ends by itself", async (t) => {
  const store = new MemoryStore();
  const before = await scene(t, undefined, store);
  for (const node of [h1, h2, h3]) before.connect(node);
  const request = { name: id, network: "", node: "h2", place: undefined };
  void before.migrations.migrate(request, nobodyGivesUp).catch(() => {});
  await settled(() => before.endpoint().standby !== undefined);
  await before.migrations.close();
  await before.close();
  const after = await openAuthority(t, store);
  const migrations = new Migrations(after.ledger, after.identities, after.endpoints);
  t.after(() => migrations.close());
  const standby = () => after.ledger.state.endpoints.get(id)?.standby;
  for (let waited = 0; waited < 30; waited += 5) {
    assert.equal(standby()?.node, "h2");
    after.clock.advance(seconds(5));
    await new Promise((resolve) => setImmediate(resolve));
    after.clock.advance(milliseconds(50));
    await new Promise((resolve) => setImmediate(resolve));
  }
  after.clock.advance(seconds(6));
  await new Promise((resolve) => setImmediate(resolve));
  after.clock.advance(milliseconds(50));
  await settled(() => standby() === undefined);
});

test("a node takes over what may come to it alone: what is movable, or what an administrator let it have", async (t) => {
  const { migrations, ledger } = await scene(t);
  const other = endpointId(3);
  await assert.rejects(
    migrations.prepare(h2, "blue", other),
    refusal("permission-denied", /node h3 has it, and nobody has said that it may come here/),
  );
  await assert.rejects(migrations.takeOver(h2, other, "tap"), refusal("failed-precondition", /does not stand by/));
  const admitted = await migrations.admit({ name: other, network: "", node: "h2", place: undefined });
  assert.deepEqual(admitted.endpoint.standby, { node: "h2", when: "announced" });
  await assert.rejects(migrations.prepare(h1, "blue", other), refusal("permission-denied", /nobody has said/));
  await migrations.prepare(h2, "blue", other);
  await migrations.takeOver(h2, other, "tap");
  assert.equal(ledger.state.endpoints.get(other)?.node, "h2");
  await assert.rejects(migrations.prepare(h3, "blue", other), refusal("permission-denied", /node h2 has it/));
});

test("a node that may not host the network any more takes nothing over", async (t) => {
  const { migrations, nodes } = await scene(t);
  await migrations.prepare(h2, "blue", id);
  await nodes.set("h2", { labels: {}, removedLabels: [], drained: true });
  await assert.rejects(migrations.takeOver(h2, id, "netns"), refusal("failed-precondition", /h2 is drained/));
});

test("who gives up an endpoint that another stands by for hands it over", async (t) => {
  const { migrations, endpoint } = await scene(t);
  await migrations.prepare(h2, "blue", id);
  assert.deepEqual(await migrations.handOver(h1, [id, endpointId(3)]), [endpointId(3)]);
  assert.deepEqual(endpoint().standby, { node: "h2", when: "ready" });
  await migrations.takeOver(h2, id, "netns");
  assert.equal(endpoint().node, "h2");
});

test("of a node that died whoever stands by has the endpoint, and nothing is forwarded by the dead", async (t) => {
  const { migrations, endpoint, ledger, nodes } = await scene(t);
  await migrations.prepare(h2, "blue", id);
  assert.deepEqual(await nodes.fail("h1").then(({ released, takenOver }) => ({ released, takenOver })), {
    released: 0,
    takenOver: 1,
  });
  await migrations.takeOver(h2, id, "netns");
  assert.deepEqual(endpoint(), { node: "h2", standby: undefined, formerNodes: undefined, sequence: 1 });
  await migrations.prepare(h3, "blue", endpointId(2)).catch(() => {});
  await nodes.fail("h3");
  assert.equal(ledger.state.endpoints.has(endpointId(3)), false);
});

test("two by command are refused, and one that fails leaves what stood by before", async (t) => {
  const { migrations, endpoint, connect, clock } = await scene(t);
  for (const node of [h1, h2, h3]) connect(node);
  await migrations.prepare(h2, "blue", id);
  const request = { name: id, network: "", node: "h2", place: undefined };
  const late = assert.rejects(migrations.migrate(request, nobodyGivesUp), refusal("unavailable", /within 30 s/));
  await settled(() => endpoint().standby?.when === "ready");
  await assert.rejects(migrations.migrate(request, nobodyGivesUp), refusal("already-exists", /right now/));
  clock.advance(seconds(30));
  await late;
  assert.deepEqual(endpoint().standby, { node: "h2", when: "announced" });
});

test("where tunnels learn for themselves nothing is taken over", async (t) => {
  const { migrations } = await scene(t, {
    subnets: ["10.0.0.0/24"],
    discovery: "multicast",
    learning: "data-plane",
    arpSuppression: false,
  });
  await assert.rejects(migrations.prepare(h2, "blue", id), refusal("failed-precondition", /learn for themselves/));
});
