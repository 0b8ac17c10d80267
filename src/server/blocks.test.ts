import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type Authority,
  addNetwork,
  addNodes,
  endpointDraft,
  nodeIdentity,
  openAuthority,
  settled,
} from "../../test/support/authority.ts";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  refusal,
  startTestServer,
  type TestNode,
  TestWatch,
} from "../../test/support/server.ts";
import { cidr, cidrContains } from "../base/cidr.ts";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { blockGateway } from "../model/subnet.ts";
import { MemoryStore } from "../store/index.ts";
import type { Change, Store } from "../store/store.ts";
import { records } from "./records.ts";

const [h1, h2, h3] = [nodeIdentity(1), nodeIdentity(2), nodeIdentity(3)];
const l3 = { mode: "l3" } as const;

async function create({ endpoints }: Authority, node: typeof h1, number: number, ips: string[] = []): Promise<string> {
  return (await endpoints.create(node, endpointDraft(number, { ips }))).endpoint.ips.join();
}

/** Every block with its owner: `10.0.0.0/30 h1 1`, or `gone` for the owner. */
function blocksOf({ ledger }: Authority): string[] {
  const blocks = [...(ledger.state.networks.get("blue")?.blocks.values() ?? [])];
  return blocks.map((block) => `${block.cidr} ${block.released > 0 ? "gone" : block.node} ${block.generation}`);
}

test("an endpoint gets an address of its node's blocks; the lowest free block is claimed when they are full", async (t) => {
  const authority = await openAuthority(t);
  await addNodes(authority, 2);
  await addNetwork(authority, { ...l3, subnets: ["10.0.0.0/28", "fd00::/124"], blockSize: 4 });
  assert.equal(await create(authority, h1, 1), "10.0.0.2,fd00::2");
  assert.equal(await create(authority, h2, 2), "10.0.0.6,fd00::6");
  // An IPv6 block has no broadcast address, and so room for one more.
  assert.equal(await create(authority, h1, 3), "10.0.0.10,fd00::3");
  assert.deepEqual(blocksOf(authority).sort(), [
    "10.0.0.0/30 h1 1",
    "10.0.0.4/30 h2 1",
    "10.0.0.8/30 h1 1",
    "fd00::/126 h1 1",
    "fd00::4/126 h2 1",
  ]);
  assert.equal(blockGateway(cidr("10.0.0.4/30")), "10.0.0.5");
  assert.equal(blockGateway(cidr("fd00::4/126")), "fd00::5");
});

test("requests of one node at the same time claim no more blocks than they need", async (t) => {
  const authority = await openAuthority(t);
  await addNodes(authority, 2);
  await addNetwork(authority, { ...l3, subnets: ["10.0.0.0/16"] });
  const ips = await Promise.all(
    Array.from({ length: 250 }, (_, index) => create(authority, [h1, h2][index % 2] ?? h1, index)),
  );
  assert.equal(new Set(ips).size, 250);
  // 61 addresses of 64 can be given out.
  assert.equal(blocksOf(authority).length, 6);
});

test("a wanted address lies in a block of the node, or in a free one", async (t) => {
  const authority = await openAuthority(t);
  await addNodes(authority, 2);
  await addNetwork(authority, { ...l3, subnets: ["10.0.0.0/26"], blockSize: 8 });
  assert.equal(await create(authority, h1, 1, ["10.0.0.20"]), "10.0.0.20");
  assert.deepEqual(blocksOf(authority), ["10.0.0.16/29 h1 1"]);
  assert.equal(await create(authority, h1, 2, ["10.0.0.19"]), "10.0.0.19");
  const cases: [number, string, WeftError["code"], RegExp][] = [
    [2, "10.0.0.21", "already-exists", /it is in block 10\.0\.0\.16\/29 of node h1/],
    [1, "10.0.0.20", "already-exists", /endpoint 000000000001 on node h1 has 10\.0\.0\.20/],
    [1, "10.0.0.17", "invalid-argument", /it is the gateway of block 10\.0\.0\.16\/29/],
    [1, "10.0.0.24", "invalid-argument", /it is the network address of block 10\.0\.0\.24\/29/],
    [1, "10.0.0.31", "invalid-argument", /it is the broadcast address of block/],
    [1, "10.0.1.1", "invalid-argument", /outside the network's subnets/],
  ];
  for (const [node, ip, code, reason] of cases)
    await assert.rejects(create(authority, nodeIdentity(node), 9, [ip]), refusal(code, reason));
  assert.deepEqual(blocksOf(authority), ["10.0.0.16/29 h1 1"]);
});

test("where blocks are declared a node has those that are for it, and gives them back when they are not any more", async (t) => {
  const authority = await openAuthority(t);
  const { nodes, endpoints, clock } = authority;
  const declare = (name: string, ...blocks: string[]) =>
    nodes.set(name, { labels: {}, removedLabels: [], blocks: blocks.map(cidr) });
  await addNodes(authority, 2);
  await addNetwork(authority, {
    ...{ ...l3, subnets: ["10.0.0.0/16", "fd00::/112"], blockSize: 256, blockAssignment: "declared" },
  });
  await assert.rejects(create(authority, h1, 1), refusal("failed-precondition", /no block of .* declared for node h1/));
  await declare("h1", "10.0.7.0/24");
  await assert.rejects(create(authority, h1, 1), refusal("failed-precondition", /no block of fd00::\/112 is declared/));
  await declare("h1", "10.0.7.0/24", "fd00::700/120");
  assert.equal(await create(authority, h1, 1), "10.0.7.2,fd00::702");
  assert.equal(await create(authority, h1, 2, ["10.0.7.9"]), "10.0.7.9,fd00::703");
  assert.deepEqual(blocksOf(authority), ["10.0.7.0/24 h1 1", "fd00::700/120 h1 1"]);
  await assert.rejects(
    create(authority, h1, 3, ["10.0.8.9"]),
    refusal("already-exists", /block 10\.0\.8\.0\/24, which is not declared for node h1/),
  );
  const occupied = /endpoints on it have addresses of block 10\.0\.7\.0\/24/;
  await assert.rejects(declare("h1", "10.0.8.0/24", "fd00::700/120"), refusal("failed-precondition", occupied));
  await endpoints.release(h1, [1, 2].map(endpointId));
  await declare("h1", "10.0.8.0/24", "fd00::700/120");
  await declare("h2", "10.0.7.0/24", "fd00::800/120");
  await assert.rejects(create(authority, h2, 4), refusal("failed-precondition", /10\.0\.7\.0\/24 is node h1's/));
  clock.advance(seconds(5));
  await settled(() => blocksOf(authority).includes("10.0.7.0/24 gone 1"));
  await assert.rejects(
    create(authority, h2, 4),
    refusal("failed-precondition", /10\.0\.7\.0\/24 was node h1's .* 60 s/),
  );
  assert.equal(await create(authority, h1, 5), "10.0.8.2,fd00::704");
  clock.advance(seconds(60));
  assert.equal(await create(authority, h2, 4), "10.0.7.2,fd00::802");
  assert.deepEqual(blocksOf(authority).sort(), [
    "10.0.7.0/24 h2 2",
    "10.0.8.0/24 h1 1",
    "fd00::700/120 h1 1",
    "fd00::800/120 h2 1",
  ]);
});

test("a deleted node's blocks are nobody's for 60 s, also after a restart; then with a higher generation", async (t) => {
  const before = await openAuthority(t);
  await addNodes(before, 2);
  await addNetwork(before, { ...l3, subnets: ["10.0.0.0/29"], blockSize: 4 });
  await create(before, h1, 1);
  await create(before, h2, 2);
  await before.nodes.delete("h1");
  assert.deepEqual(blocksOf(before), ["10.0.0.0/30 gone 1", "10.0.0.4/30 h2 1"]);
  await assert.rejects(create(before, h2, 3), refusal("exhausted", /released a moment ago, comes free in 60 s/));
  await assert.rejects(
    create(before, h2, 3, ["10.0.0.2"]),
    refusal("already-exists", /block 10\.0\.0\.0\/30, which node h1 gave up a moment ago; it comes free in 60 s/),
  );
  before.clock.advance(seconds(20));
  await before.close();
  const after = await openAuthority(t, before.store, before.clock);
  await assert.rejects(create(after, h2, 3), refusal("exhausted", /comes free in 40 s/));
  after.clock.advance(seconds(40));
  assert.equal(await create(after, h2, 3), "10.0.0.2");
  assert.deepEqual(blocksOf(after), ["10.0.0.0/30 h2 2", "10.0.0.4/30 h2 1"]);
});

test("with no free block, one in which nobody has an address is taken back, one for each node that asks", async (t) => {
  const authority = await openAuthority(t);
  const { clock, endpoints } = authority;
  await addNodes(authority, 3);
  await addNetwork(authority, { ...l3, subnets: ["10.0.0.0/28"], blockSize: 4 });
  for (const number of [1, 2, 3, 4]) await create(authority, number < 4 ? h1 : h2, number);
  await assert.rejects(create(authority, h3, 5), refusal("exhausted", /endpoints have addresses in every block/));
  await endpoints.release(h1, [endpointId(1), endpointId(2)]);
  for (let round = 0; round < 3; round++)
    await assert.rejects(create(authority, h3, 5), refusal("exhausted", /comes free in 60 s/));
  assert.deepEqual(blocksOf(authority), [
    "10.0.0.0/30 gone 1",
    "10.0.0.4/30 h1 1",
    "10.0.0.8/30 h1 1",
    "10.0.0.12/30 h2 1",
  ]);
  clock.advance(seconds(60));
  assert.equal(await create(authority, h3, 5), "10.0.0.2");
  assert.equal(await create(authority, h1, 6), "10.0.0.6");
  assert.deepEqual(blocksOf(authority)[0], "10.0.0.0/30 h3 2");
});

test("a release that was cut short by a crash is ended, and one that an endpoint came to is not", async (t) => {
  const store = new MemoryStore();
  const before = await openAuthority(t, store);
  await addNodes(before, 2);
  await addNetwork(before, { ...l3, subnets: ["10.0.0.0/29"], blockSize: 4 });
  await create(before, h1, 1);
  await create(before, h2, 2);
  await before.endpoints.release(h1, [endpointId(1)]);
  // What the first phase of a release leaves behind.
  await before.ledger.commit("test", () => ({
    conditions: [],
    operations: [...(before.ledger.state.networks.get("blue")?.blocks.values() ?? [])].map((block) =>
      records.block.put({ ...block, closing: true }, "blue", block.cidr),
    ),
  }));
  await before.close();
  const after = await openAuthority(t, store, before.clock);
  const entry = after.ledger.state.networks.get("blue");
  assert.equal(entry?.closingBlocks.size, 2);
  after.clock.advance(seconds(5));
  await settled(() => entry?.closingBlocks.size === 0);
  assert.deepEqual(blocksOf(after), ["10.0.0.0/30 gone 1", "10.0.0.4/30 h2 1"]);
});

test("with its network all blocks go, and the subnets of a network with blocks stay", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24", l3);
  await one.client.createEndpoint({ id: endpointId(1), network: "blue" });
  await two.client.createEndpoint({ id: endpointId(2), network: "blue" });
  await one.client.deleteEndpoints({ ids: [endpointId(1)] });
  await two.client.deleteEndpoints({ ids: [endpointId(2)] });
  const watch = await new TestWatch(t, one.client).reached((await server.admin.getStatus({})).revision);
  assert.deepEqual(watch.take(), [
    "nodes:",
    "node h1 192.0.2.1",
    "node h2 192.0.2.2",
    "network blue, MTU 1450:",
    "block blue 10.0.0.0/26 of h1, generation 1",
    "block blue 10.0.0.64/26 of h2, generation 1",
  ]);
  for (const [fields, reason] of [
    [{ subnets: ["10.7.0.0/24"] }, /subnets cannot change while nodes own blocks: 10\.0\.0\.0\/26 of h1, 10\.0\.0\.64/],
    [{ blockSize: 32 }, /blockSize cannot change while nodes own blocks/],
    [{ mode: "l2" }, /mode is l3 and cannot become l2/],
  ] as const) {
    const value = { name: "blue", tenant: "acme", mode: "l3", subnets: ["10.0.0.0/24"], ...fields };
    const applied = server.admin.apply({
      resources: [{ resource: { case: "network", value: { ...value, subnets: [...value.subnets] } } }],
    });
    await assert.rejects(applied, refusal("failed-precondition", reason));
  }
  const { revision } = await server.admin.delete({ resources: [{ kind: "network", name: "blue" }] });
  await watch.reached(revision);
  assert.deepEqual(watch.take(), ["no network blue", "no node h2"]);
  await createNetwork(server, "blue", "10.0.0.0/24", l3);
  await two.client.createEndpoint({ id: endpointId(3), network: "blue" });
  const { revision: last } = await one.client.createEndpoint({ id: endpointId(4), network: "blue" });
  await watch.reached(last);
  assert.deepEqual(watch.take(), [
    "node h2 192.0.2.2",
    "network blue, MTU 1450:",
    "block blue 10.0.0.0/26 of h2, generation 1",
    "block blue 10.0.0.64/26 of h1, generation 1",
    "endpoint blue/000000000004 10.0.0.66 on h1",
  ]);
});

test("a node is told every block of an l3 network, and of endpoints its own alone", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/16", { ...l3, blockSize: 4 });
  const attach = async (node: TestNode, number: number): Promise<bigint> =>
    (await node.client.createEndpoint({ id: endpointId(number), network: "blue" })).revision;
  const watch = await new TestWatch(t, one.client).reached(await attach(one, 1));
  watch.take();
  // The node, then its block; of its endpoint nothing.
  await attach(two, 2);
  await attach(one, 3);
  await watch.reached((await one.client.deleteEndpoints({ ids: [endpointId(1)] })).revision);
  assert.deepEqual(watch.take(), [
    "node h2 192.0.2.2",
    "block blue 10.0.0.4/30 of h2, generation 1",
    "block blue 10.0.0.8/30 of h1, generation 1",
    "endpoint blue/000000000003 10.0.0.10 on h1",
    "no endpoint blue/000000000001",
  ]);
  // Without an endpoint a node keeps its blocks, and is told of the others'.
  await watch.reached((await one.client.deleteEndpoints({ ids: [endpointId(3)] })).revision);
  await two.client.register({ vtepIpv4: "192.0.2.22", underlayMtu: 1500 });
  await attach(two, 4);
  await server.admin.delete({ resources: [{ kind: "node", name: "h2" }] });
  await watch.reached(await attach(one, 5));
  assert.deepEqual(watch.take().slice(0, 6), [
    "no endpoint blue/000000000003",
    "node h2 192.0.2.22",
    "block blue 10.0.0.12/30 of h2, generation 1",
    "no block blue 10.0.0.12/30",
    "no block blue 10.0.0.4/30",
    "no node h2",
  ]);
});

test("a watch of an l3 network that resumes is sent all that there is now", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24", l3);
  const { revision } = await one.client.createEndpoint({ id: endpointId(1), network: "blue" });
  const { revision: last } = await two.client.createEndpoint({ id: endpointId(2), network: "blue" });
  const watch = await new TestWatch(t, one.client, { revision, networks: ["blue"] }).reached(last);
  assert.deepEqual(watch.take().slice(3), [
    "network blue, MTU 1450:",
    "block blue 10.0.0.0/26 of h1, generation 1",
    "block blue 10.0.0.64/26 of h2, generation 1",
    "endpoint blue/000000000001 10.0.0.2 on h1",
  ]);
});

/** What the store's history must never show. Throws at the first change that breaks it. */
class Judge {
  readonly #blocks = new Map<string, ReturnType<typeof records.block.decode>>();
  readonly #endpoints = new Map<string, ReturnType<typeof records.endpoint.decode>>();

  take(changes: readonly Change[], now: number): void {
    // A release of endpoints is judged before what comes to be in their place.
    for (const { key, value } of changes.toSorted((a, b) => a.revision - b.revision)) {
      if (key.startsWith("/endpoints/")) {
        if (value === undefined) this.#endpoints.delete(key);
        else this.#endpoints.set(key, records.endpoint.decode(value));
        const endpoint = this.#endpoints.get(key);
        for (const ip of endpoint?.ips ?? []) {
          const block = [...this.#blocks].find(([prefix]) => cidrContains(cidr(prefix), ip));
          assert.equal(block?.[1].released, 0, `${ip} is in no block`);
          assert.equal(block?.[1].node, endpoint?.node, `${ip} is in a block of another node`);
        }
      }
      if (!key.startsWith("/blocks/blue/") || value === undefined) continue;
      const prefix = key.slice("/blocks/blue/".length);
      const before = this.#blocks.get(prefix);
      const after = records.block.decode(value);
      this.#blocks.set(prefix, after);
      if (after.released > 0)
        for (const { ips } of this.#endpoints.values())
          assert.ok(!ips.some((ip) => cidrContains(cidr(prefix), ip)), `${prefix} was released with ${ips}`);
      if (before === undefined) assert.equal(after.generation, 1);
      else if (before.released === 0) {
        assert.equal(after.node, before.node, `${prefix} has two owners`);
        assert.equal(after.generation, before.generation);
      } else if (after.released === 0) {
        assert.ok(now - before.released >= seconds(60), `${prefix} was claimed too early`);
        assert.equal(after.generation, before.generation + 1);
      }
    }
  }
}

/** The store as a server sees it that hears of changes late. */
function lagging(store: Store, turns: number): Store {
  return {
    get revision() {
      return store.revision;
    },
    range: (prefix, page) => store.range(prefix, page),
    get: (key) => store.get(key),
    transact: (transaction) => store.transact(transaction),
    compact: (revision) => store.compact(revision),
    close: () => store.close(),
    async *watch(prefix, afterRevision, signal) {
      for await (const batch of store.watch(prefix, afterRevision, signal)) {
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
        yield batch;
      }
    },
  };
}

test("two servers on one store, restarts and any order of requests: a block has one owner", async (t) => {
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("create" as const), node: fc.nat(2), server: fc.nat(1) }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("release" as const), node: fc.nat(99), server: fc.nat(1) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), node: fc.nat(2), server: fc.nat(1) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const), node: fc.nat(70), server: fc.nat(1) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const), node: fc.nat(1), server: fc.nat(1) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("await" as const), node: fc.nat(1), server: fc.nat(1) }) },
  );
  const seen = { claims: 0, releases: 0, refusals: 0 };
  const run = async (steps: readonly { kind: string; node: number; server: number }[]): Promise<void> => {
    const store = new MemoryStore();
    const clock = new ManualClock();
    const first = await openAuthority(t, store, clock);
    await addNodes(first, 3);
    await addNetwork(first, { ...l3, subnets: ["10.0.0.0/28"], blockSize: 4 });
    const open = (): Promise<Authority> => openAuthority(t, lagging(store, 3), clock);
    const servers = [first, await open()];
    const judge = new Judge();
    const stop = new AbortController();
    let judged = 0;
    const judging = (async () => {
      for await (const { changes, revision } of store.watch("", 0, stop.signal)) {
        judge.take(changes, clock.now());
        judged = revision;
      }
    })().catch((error: unknown) => {
      judged = Number.POSITIVE_INFINITY;
      return stop.signal.aborted ? undefined : error;
    });
    const owners = new Map<number, number>();
    const generations = [1, 1, 1];
    let underWay: Promise<unknown>[] = [];
    let count = 0;
    const start = (work: Promise<unknown>): void => {
      underWay.push(
        work.catch((error: unknown) => {
          if (!(error instanceof WeftError)) throw error;
          seen.refusals++;
        }),
      );
    };
    const all = async (): Promise<void> => {
      await Promise.all(underWay);
      underWay = [];
      while (judged < store.revision) await new Promise((resolve) => setImmediate(resolve));
    };
    for (const { kind, node, server } of steps) {
      const authority = servers[server] ?? first;
      const caller = (index: number) => ({ name: `h${index + 1}`, generation: generations[index] ?? 1 });
      if (kind === "create") {
        owners.set(++count, node);
        start(authority.endpoints.create(caller(node), endpointDraft(count)));
      } else if (kind === "release" && count > 0) {
        const number = (node % count) + 1;
        start(authority.endpoints.release(caller(owners.get(number) ?? 0), [endpointId(number)]));
      } else if (kind === "delete") {
        start(authority.nodes.delete(`h${node + 1}`));
      } else if (kind === "wait") {
        // The judge looks at the clock.
        await all();
        clock.advance(seconds(node));
      } else if (kind === "restart") {
        // Requests under way go on at the store, and find nobody to answer to.
        servers[server] = await open();
      } else if (kind === "await") await all();
    }
    await all();
    stop.abort();
    assert.equal(await judging, undefined);
    const blocks = (await store.range("/blocks/")).entries.map(({ value }) => records.block.decode(value));
    seen.claims += blocks.reduce((sum, { generation }) => sum + generation, 0);
    seen.releases += blocks.filter(({ released }) => released > 0).length;
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), run), { numRuns: 60 });
  assert.ok(seen.claims > 100 && seen.releases > 10 && seen.refusals > 10, JSON.stringify(seen));
});
