import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  startTestServer,
  type TestNode,
  TestWatch,
} from "../../test/support/server.ts";
import type { WatchResponse } from "../api/generated/weft/v1/node_pb.js";
import { ManualClock } from "../base/clock.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import type { Vni } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import { MemoryStore } from "../store/index.ts";
import type { Operation } from "../store/store.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { Fanout } from "./fanout.ts";
import { History } from "./history.ts";
import { records } from "./records.ts";
import { State } from "./state.ts";
import type { WatchChangeInit } from "./watcher.ts";

async function attach(node: TestNode, number: number, network = "blue"): Promise<bigint> {
  return (await node.client.createEndpoint({ id: endpointId(number), network })).revision;
}

async function detach(node: TestNode, number: number): Promise<bigint> {
  return (await node.client.deleteEndpoints({ ids: [endpointId(number)] })).revision;
}

test("a node is told of the networks that it hosts, and of nothing else", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await createNetwork(server, "red", "10.1.0.0/24");
  const start = await attach(two, 2);
  const watch = await new TestWatch(t, one.client).reached(start);
  assert.deepEqual(watch.take(), ["nodes:", "node h1 192.0.2.1"]);

  // Its first endpoint brings the whole network and the nodes that share it.
  await watch.reached(await attach(one, 1));
  assert.deepEqual(watch.take(), [
    "node h2 192.0.2.2",
    "network blue, MTU 1450:",
    "endpoint blue/000000000002 10.0.0.1 on h2",
    "endpoint blue/000000000001 10.0.0.2 on h1",
  ]);

  // Of networks that it does not host it hears nothing; a node that it knows is not told again.
  await attach(two, 3, "red");
  await watch.reached(await attach(two, 4));
  assert.deepEqual(watch.take(), ["endpoint blue/000000000004 10.0.0.3 on h2"]);

  await watch.reached(await detach(two, 4));
  await watch.reached(await detach(two, 2));
  assert.deepEqual(watch.take(), ["no endpoint blue/000000000004", "no endpoint blue/000000000002", "no node h2"]);

  await watch.reached(await attach(two, 5));
  await watch.reached(await detach(one, 1));
  assert.deepEqual(watch.take(), [
    "node h2 192.0.2.2",
    "endpoint blue/000000000005 10.0.0.4 on h2",
    "no network blue",
    "no node h2",
  ]);
});

test("nodes that share two networks part when they share none", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await createNetwork(server, "red", "10.1.0.0/24");
  await attach(one, 1);
  await attach(one, 2, "red");
  await attach(two, 3);
  const watch = await new TestWatch(t, one.client).reached(await attach(two, 4, "red"));
  watch.take();
  await watch.reached(await detach(two, 3));
  assert.deepEqual(watch.take(), ["no endpoint blue/000000000003"]);
  await watch.reached(await detach(two, 4));
  assert.deepEqual(watch.take(), ["no endpoint red/000000000004", "no node h2"]);
});

test("changes of nodes and of the MTU reach those whom they concern", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await attach(one, 1);
  const watch = await new TestWatch(t, one.client).reached(await attach(two, 2));
  watch.take();
  await two.client.register({ vtepIpv4: "192.0.2.20", underlayMtu: 1400 });
  await watch.reached((await server.admin.getStatus({})).revision);
  assert.deepEqual(watch.take(), ["node h2 192.0.2.20", "network blue, MTU 1350"]);
  await server.admin.apply({
    resources: [
      { resource: { case: "network", value: { name: "blue", tenant: "acme", subnets: ["10.0.0.0/24"], mtu: 1300 } } },
    ],
  });
  await watch.reached((await server.admin.getStatus({})).revision);
  // Its change first, then itself.
  assert.deepEqual(watch.take(), ["network blue, MTU 1350", "network blue, MTU 1300"]);
  await server.admin.delete({ resources: [{ kind: "node", name: "h2" }] });
  await watch.reached(await attach(one, 3));
  assert.deepEqual(watch.take(), [
    "no endpoint blue/000000000002",
    "no node h2",
    "endpoint blue/000000000003 10.0.0.3 on h1",
  ]);
});

test("a watch that resumes is told what changed meanwhile, each endpoint once", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await createNetwork(server, "red", "10.1.0.0/24");
  await createNetwork(server, "old", "10.2.0.0/24");
  await attach(one, 1);
  const revision = await attach(two, 2);
  await attach(two, 3);
  await detach(two, 3);
  await detach(two, 2);
  await attach(one, 4, "red");
  const end = await attach(two, 5);
  const watch = new TestWatch(t, one.client, { revision, networks: ["blue", "old"] });
  await watch.reached(end);
  assert.deepEqual(watch.take(), [
    "nodes:",
    "node h1 192.0.2.1",
    "node h2 192.0.2.2",
    "network blue, MTU 1450",
    "endpoint blue/000000000005 10.0.0.4 on h2",
    "no endpoint blue/000000000002",
    "no endpoint blue/000000000003",
    "network red, MTU 1450:",
    "endpoint red/000000000004 10.1.0.1 on h1",
    "no network old",
  ]);
});

test("a watch resumes after the server was restarted, unless its revision is compacted or of the future", async (t) => {
  const store = new MemoryStore();
  const dataDir = temporaryDirectory(t);
  const first = await startTestServer(t, { store, dataDir });
  const one = await joinTestNode(t, first, 1);
  await createNetwork(first, "blue", "10.0.0.0/24");
  const revision = await attach(one, 1);
  const end = await attach(one, 2);
  await first.server.close();

  const whole = [
    "nodes:",
    "node h1 192.0.2.1",
    "network blue, MTU 1450:",
    "endpoint blue/000000000001 10.0.0.1 on h1",
    "endpoint blue/000000000002 10.0.0.2 on h1",
  ];
  const changes = [
    "nodes:",
    "node h1 192.0.2.1",
    "network blue, MTU 1450",
    "endpoint blue/000000000002 10.0.0.2 on h1",
  ];
  const watchOn = async (from: bigint): Promise<string[]> => {
    const server = await startTestServer(t, { store, dataDir, listen: first.server.address });
    const watch = new TestWatch(t, one.client, { revision: from, networks: ["blue"] });
    await watch.reached(end);
    await watch.stop();
    await server.server.close();
    return watch.take();
  };
  assert.deepEqual(await watchOn(revision), changes);
  await store.compact(Number(revision));
  assert.deepEqual(await watchOn(revision), changes);
  await store.compact(Number(end));
  assert.deepEqual(await watchOn(revision), whole);
  assert.deepEqual(await watchOn(end + 1_000n), whole);
});

test("a network made anew under an old name is sent whole", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await attach(one, 1);
  const revision = await detach(one, 1);
  await server.admin.delete({ resources: [{ kind: "network", name: "blue" }] });
  await createNetwork(server, "blue", "10.9.0.0/24");
  const end = await attach(one, 2);
  const watch = new TestWatch(t, one.client, { revision, networks: ["blue"] });
  await watch.reached(end);
  assert.deepEqual(watch.take().slice(2), ["network blue, MTU 1450:", "endpoint blue/000000000002 10.9.0.1 on h1"]);
});

test("a newer watch of a node ends the older one", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const older = await new TestWatch(t, one.client).reached(1);
  const newer = await new TestWatch(t, one.client).reached(1);
  assert.match((await older.ended())?.reason ?? "", /has opened another watch/);
  assert.equal((await server.admin.getStatus({})).nodesConnected, 1);
  await newer.stop();
  while ((await server.admin.getStatus({})).nodesConnected > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const { contacts } = await server.admin.list({ kind: "node" });
  assert.equal(contacts[0]?.connected, false);
  assert.ok(Number(contacts[0]?.lastSeen) > Date.now() - 60_000);
});

test("a stopping server ends watches with a reason", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const watch = await new TestWatch(t, one.client).reached(1);
  await server.server.close();
  const error = await watch.ended();
  assert.equal(error?.code, "unavailable");
  assert.equal(error?.reason, "the server is stopping");
});

/** A state with one network, filled without a store. */
function filledState(count: number): State {
  const state = new State(new ManualClock());
  const network = unwrap(parseNetwork({ name: "blue", tenant: "acme", vni: 7 as Vni, subnets: ["10.0.0.0/8"] }));
  apply(state, 1, records.network.put(network, "blue"));
  for (let index = 0; index < count; index++) addEndpoint(state, index + 2, index, "h1");
  state.settle(count + 1, () => {});
  return state;
}

function apply(state: State, revision: number, operation: Operation, fanout?: Fanout): void {
  state.apply({ ...operation, revision }, (change) => fanout?.notice(change));
}

function addEndpoint(state: State, revision: number, number: number, node: string, fanout?: Fanout): void {
  const id = endpointId(number);
  const hex = id.match(/../g)?.join(":") ?? "";
  const [a, b, c] = [(number + 1) >> 16, ((number + 1) >> 8) & 0xff, (number + 1) & 0xff];
  const endpoint = {
    id,
    network: "blue",
    node,
    mac: mac(`02${hex.slice(2)}`),
    ips: [ip(`10.${a}.${b}.${c}`)],
    attachment: "netns",
    sequence: 0,
  } as const;
  apply(state, revision, records.endpoint.put(endpoint, "blue", id), fanout);
}

test("a large network is sent in messages of at most 1,000 changes, complete with the last", async () => {
  const state = filledState(2_500);
  const watcher = new Fanout(state, new ManualClock()).open(
    { name: "h1", generation: 1 },
    { revision: 0n, networks: [], inParts: true },
    undefined,
  );
  const sizes: [number, boolean][] = [];
  for await (const { changes, complete } of watcher.messages()) {
    sizes.push([changes.length, complete]);
    if (complete) watcher.end("done");
  }
  assert.deepEqual(sizes, [
    [1000, false],
    [1000, false],
    [502, true],
  ]);
});

/** A node that begins to host a network of 1,200 endpoints, and who commits further changes of it. */
function newHost() {
  const count = 1_200;
  const state = filledState(count);
  const fanout = new Fanout(state, new ManualClock());
  const watcher = fanout.open({ name: "h2", generation: 1 }, { revision: 0n, networks: [], inParts: true }, undefined);
  const commit = (number: number, node: string): void => {
    const revision = state.revision + 1;
    addEndpoint(state, revision, number, node, fanout);
    state.settle(revision, () => {});
    fanout.settle(revision);
  };
  const idsOf = (changes: readonly WatchChangeInit[]): string[] =>
    changes.flatMap(({ change }) => (change?.case === "endpoint" ? (change.value.id ?? "") : []));
  const nextPart = () => {
    const part = fanout.nextPart("h2", "blue");
    return part && { ids: idsOf(part.changes), complete: part.complete };
  };
  commit(count, "h2");
  return { count, watcher, commit, nextPart, messages: watcher.messages() };
}

test("a large network that a node begins to host is announced, and got in parts; changes hold against these", async () => {
  const { count, commit, nextPart, messages } = newHost();
  await messages.next();
  const { changes }: WatchResponse = (await messages.next()).value;
  assert.deepEqual(
    changes.map(({ change }) => change.case),
    ["networkFollows"],
  );
  const first = nextPart();
  assert.ok(first !== undefined && first.ids.length === 500 && !first.complete);
  // One that was got moves, one that was not, and one is new: all are told, and not got again.
  for (const number of [0, count - 1, count + 1]) commit(number, "h3");
  for (const number of [0, count - 1, count + 1]) {
    const told: WatchResponse = (await messages.next()).value;
    assert.ok(told.changes.some(({ change }) => change.case === "endpoint" && change.value.id === endpointId(number)));
  }
  const rest: string[] = [];
  for (let part = nextPart(); part !== undefined; part = nextPart()) rest.push(...part.ids);
  assert.equal(new Set([...first.ids, ...rest]).size, count);
  assert.equal(rest.length, count - 500);
  assert.ok(!rest.includes(endpointId(count - 1)));
});

test("a network that comes in parts has none when the node hosts it no more", () => {
  const { count, commit, nextPart } = newHost();
  assert.equal(nextPart()?.complete, false);
  commit(count, "h1");
  assert.equal(nextPart(), undefined);
});

test("a watcher that does not read is ended with an error that it can retry, in bounded memory", async () => {
  const state = filledState(1);
  const fanout = new Fanout(state, new ManualClock());
  const watcher = fanout.open({ name: "h1", generation: 1 }, { revision: 0n, networks: [], inParts: true }, undefined);
  for (let index = 1; index < 30_000; index++) {
    addEndpoint(state, index + 2, index, "h2", fanout);
    state.settle(index + 2, () => {});
    fanout.settle(index + 2);
    assert.ok(fanout.longestQueue <= 20_100);
  }
  await assert.rejects(watcher.messages().next(), /reads too slowly/);
  assert.equal(watcher.waiting, 0);
  assert.equal(fanout.connected, 0);
});

test("a history knows what changed since a revision, as long as it holds it", () => {
  const history = new History(10);
  assert.equal(history.since(9), undefined);
  assert.deepEqual(history.since(10), new Set());
  history.record(11, "a", 1);
  history.record(12, "b", 2);
  history.record(13, "a", 2);
  assert.deepEqual(history.since(10), new Set(["a", "b"]));
  assert.deepEqual(history.since(12), new Set(["a"]));
  for (let revision = 14; revision < 2_000; revision++) history.record(revision, `e${revision}`, 300);
  assert.equal(history.since(13), undefined);
  assert.equal(history.since(1_700)?.size, 299);
});

test("100,000 endpoints take at most 60 MB", () => {
  setFlagsFromString("--expose-gc");
  const collectGarbage: () => void = runInNewContext("gc");
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  const state = filledState(100_000);
  collectGarbage();
  const used = process.memoryUsage().heapUsed - before;
  assert.equal(state.endpoints.size, 100_000);
  assert.ok(used < 60e6, `${used} octets`);
});

test("of a layer-3 network with names its nodes are told of all endpoints, from when it has them until it has none", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  const apply = async (names: boolean): Promise<bigint> => {
    const value = { name: "blue", tenant: "acme", mode: "l3", subnets: ["10.0.0.0/24"], names };
    const { revision } = await server.admin.apply({ resources: [{ resource: { case: "network", value } }] });
    return revision;
  };
  await createNetwork(server, "blue", "10.0.0.0/24", { mode: "l3" });
  await attach(two, 2);
  const watch = await new TestWatch(t, one.client).reached(await attach(one, 1));
  const parts = ["block blue 10.0.0.0/26 of h2, generation 1", "block blue 10.0.0.64/26 of h1, generation 1"];
  const own = "endpoint blue/000000000001 10.0.0.66 on h1";
  assert.deepEqual(watch.take().slice(-3), [...parts, own]);
  await watch.reached(await apply(true));
  const other = "endpoint blue/000000000002 10.0.0.2 on h2";
  assert.deepEqual(watch.take(), ["network blue, MTU 1450:", ...parts, other, own]);
  await watch.reached(await attach(two, 3));
  assert.deepEqual(watch.take(), ["endpoint blue/000000000003 10.0.0.3 on h2"]);
  await watch.reached(await detach(two, 3));
  assert.deepEqual(watch.take(), ["no endpoint blue/000000000003"]);
  // Who comes again hears all of it.
  const again = await new TestWatch(t, one.client).reached((await server.admin.getStatus({})).revision);
  assert.deepEqual(again.take().slice(-4), [...parts, other, own]);
  await again.reached(await apply(false));
  assert.deepEqual(again.take(), ["network blue, MTU 1450:", ...parts, own]);
  await attach(two, 4);
  await again.reached(await attach(one, 5));
  assert.deepEqual(again.take(), ["endpoint blue/000000000005 10.0.0.67 on h1"]);
});
