import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type Authority,
  addNetwork,
  addNodes,
  endpointDraft,
  nodeIdentity,
  openAuthority,
} from "../../test/support/authority.ts";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  refusal,
  startTestServer,
  TestWatch,
} from "../../test/support/server.ts";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { ip } from "../base/ip.ts";
import { type MacAddress, mac } from "../base/mac.ts";
import { networkMac } from "../model/endpoint-mac.ts";
import { MoveLimiter } from "./move-limiter.ts";

const macOf = (number: number): MacAddress => mac(`02:00:00:00:00:${number.toString(16).padStart(2, "0")}`);

/** What became of it: `node mac ips #sequence`, and what there is to say. */
type Line = string;

/** Publishes MAC `number` with addresses of 10.0.0.0/24. */
async function publish({ learned }: Authority, node: number, number: number, ...lasts: number[]): Promise<Line> {
  const address = {
    id: endpointId(0xa00 + number),
    mac: macOf(number),
    ips: lasts.map((last) => ip(`10.0.0.${last}`)),
  };
  const { outcomes } = await learned.publish(nodeIdentity(node), "blue", [address]);
  const [{ endpoint, reason, retryAfter } = assert.fail()] = outcomes;
  const now =
    endpoint === undefined
      ? "refused"
      : `${endpoint.node} ${endpoint.id.slice(-3)} ${endpoint.ips.map((one) => one.split(".")[3])} #${endpoint.sequence}`;
  return [now, reason, retryAfter > 0 ? `in ${retryAfter / 1000} s` : ""].filter((part) => part !== "").join(" | ");
}

/** Network `blue` in which three nodes have declared endpoints 1, 2 and 3 at .1, .2 and .3. */
async function prepared(t: TestContext, fields: object = {}): Promise<Authority> {
  const authority = await openAuthority(t);
  await addNodes(authority, 3);
  await addNetwork(authority, { subnets: ["10.0.0.0/24"], gateways: ["10.0.0.254"], learningLimit: 4, ...fields });
  for (const number of [1, 2, 3])
    await authority.endpoints.create(nodeIdentity(number), endpointDraft(number, { mac: macOf(0xd0 + number) }));
  return authority;
}

test("nobody is learned with the MAC of the network's bridges", async (t) => {
  const { learned, ledger } = await prepared(t);
  const { vni } = ledger.state.networks.get("blue")?.network ?? assert.fail();
  const bridge = networkMac(vni);
  const { outcomes } = await learned.publish(nodeIdentity(1), "blue", [
    { id: endpointId(0xa99), mac: bridge, ips: [] },
  ]);
  assert.deepEqual(
    outcomes.map(({ endpoint, reason }) => ({ endpoint, reason })),
    [{ endpoint: undefined, reason: `the network's bridges have ${bridge}` }],
  );
});

test("what is learned becomes an endpoint, gets and loses addresses, moves, and is withdrawn", async (t) => {
  const authority = await prepared(t);
  const { endpoints, store } = authority;
  assert.equal(await publish(authority, 1, 1), "h1 a01  #0");
  assert.equal(await publish(authority, 1, 1, 10, 11), "h1 a01 10,11 #0");
  const { revision } = store;
  assert.equal(await publish(authority, 1, 1, 11, 10), "h1 a01 10,11 #0");
  assert.equal(store.revision, revision, "nothing to write");
  assert.equal(await publish(authority, 1, 1, 11, 12), "h1 a01 11,12 #0");
  assert.equal(await publish(authority, 2, 1, 11, 12), "h2 a01 11,12 #1");
  // The former node's withdrawal comes too late to matter.
  await endpoints.release(nodeIdentity(1), [endpointId(0xa01)]);
  assert.equal(await publish(authority, 2, 1, 11, 12), "h2 a01 11,12 #1");
  await endpoints.release(nodeIdentity(2), [endpointId(0xa01)]);
  assert.deepEqual(
    (await store.range("/addresses/")).entries.map(({ key }) => key.split(".")[3]),
    ["1", "2", "3"],
  );
  assert.equal((await store.range("/macs/")).entries.length, 3);
  // A MAC that comes back must win against what is remembered of it.
  assert.equal(await publish(authority, 3, 1), "h3 a01  #2");
});

test("what was declared goes before what is learned", async (t) => {
  const authority = await prepared(t);
  const table: [node: number, mac: number, lasts: number[], outcome: Line][] = [
    [1, 0xd2, [9], "refused | endpoint 000000000002 on node h2, which was declared, has 02:00:00:00:00:d2"],
    [1, 1, [2, 9], "h1 a01 9 #0 | 10.0.0.2 is of endpoint 000000000002 on node h2, which was declared"],
    [
      1,
      1,
      [9, 254, 0],
      "h1 a01 9 #0 | 10.0.0.254 is the gateway of 10.0.0.0/24; 10.0.0.0 is the network address of 10.0.0.0/24",
    ],
  ];
  for (const [node, number, lasts, outcome] of table)
    assert.equal(await publish(authority, node, number, ...lasts), outcome);
  // The pool does not give out what was learned, and refuses it by name.
  const taken = endpointDraft(9, { ips: ["10.0.0.9"] });
  await assert.rejects(
    authority.endpoints.create(nodeIdentity(1), taken),
    refusal("already-exists", /000000000a01 on node h1 has 10\.0\.0\.9/),
  );
  for (let number = 4; number < 12; number++) {
    const { endpoint } = await authority.endpoints.create(nodeIdentity(1), endpointDraft(number));
    assert.notEqual(endpoint.ips[0], "10.0.0.9");
  }
});

test("a declared endpoint gets and loses further addresses, and keeps its own", async (t) => {
  const authority = await prepared(t);
  const { ledger, endpoints, store } = authority;
  const learnedIps = (): readonly string[] | undefined => ledger.state.endpoints.get(endpointId(1))?.learnedIps;
  assert.equal(await publish(authority, 1, 0xd1, 10, 11), "h1 001 1,10,11 #0");
  assert.deepEqual(learnedIps(), ["10.0.0.10", "10.0.0.11"]);
  assert.equal(await publish(authority, 1, 0xd1, 1, 11), "h1 001 1,11 #0", "its own is not one of them");
  // Such an address is no more declared than any other that was learned.
  assert.equal(await publish(authority, 2, 1, 11), "h2 a01 11 #0");
  assert.equal(learnedIps(), undefined);
  assert.equal(
    await publish(authority, 1, 0xd1, 2),
    "h1 001 1 #0 | 10.0.0.2 is of endpoint 000000000002 on node h2, which was declared",
  );
  assert.equal(await publish(authority, 1, 0xd1, 12), "h1 001 1,12 #0");
  await endpoints.release(nodeIdentity(1), [endpointId(1)]);
  assert.deepEqual(
    (await store.range("/addresses/")).entries.map(({ key }) => key.split(".")[3]),
    ["11", "2", "3"],
  );
});

test("an address goes from one learned MAC to another", async (t) => {
  const authority = await prepared(t);
  await publish(authority, 1, 1, 10, 20);
  assert.equal(await publish(authority, 2, 2, 20, 21), "h2 a02 20,21 #0");
  assert.deepEqual(authority.ledger.state.endpoints.get(endpointId(0xa01))?.ips, ["10.0.0.10"]);
  // Both in one request: the later one has it.
  const addresses = [3, 4].map((number) => ({
    id: endpointId(0xa00 + number),
    mac: macOf(number),
    ips: [ip("10.0.0.30"), ip(`10.0.0.${40 + number}`)],
  }));
  const { outcomes } = await authority.learned.publish(nodeIdentity(3), "blue", addresses);
  assert.deepEqual(
    outcomes.map(({ endpoint }) => endpoint?.ips),
    [
      ["10.0.0.30", "10.0.0.43"],
      ["10.0.0.30", "10.0.0.44"],
    ],
  );
  assert.deepEqual(authority.ledger.state.endpoints.get(endpointId(0xa03))?.ips, ["10.0.0.43"]);
  const owners = await authority.store.range("/addresses/blue/10.0.0.30");
  assert.equal(owners.entries.length, 1);
});

test("what moves to and fro stays where it is after 5 moves, until it was quiet for 180 s", async (t) => {
  const authority = await prepared(t);
  const { clock } = authority;
  await publish(authority, 1, 1);
  for (let move = 1; move <= 5; move++) {
    clock.advance(seconds(10));
    assert.match(await publish(authority, 1 + (move % 2), 1), new RegExp(`#${move}$`));
  }
  clock.advance(seconds(60));
  const words = "02:00:00:00:00:01 moved too often, as if it were there twice: it stays on node h2";
  assert.equal(await publish(authority, 1, 1), `refused | ${words} | in 120 s`);
  // Where it is, its addresses change as before.
  assert.equal(await publish(authority, 2, 1, 10), "h2 a01 10 #5");
  clock.advance(seconds(120));
  assert.equal(await publish(authority, 1, 1, 10), "h1 a01 10 #6");

  await publish(authority, 1, 2, 50);
  for (let move = 1; move <= 5; move++) await publish(authority, 2, 2 + (move % 2), 50);
  assert.equal(
    await publish(authority, 2, 2, 50),
    "h2 a02  #1 | 10.0.0.50 moved too often, as if it were there twice: it stays with 02:00:00:00:00:03 | in 180 s",
  );
});

test("what is frozen is told of, and may move again when somebody says so", async (t) => {
  const authority = await prepared(t);
  await publish(authority, 1, 2);
  for (let move = 1; move <= 5; move++) await publish(authority, 1 + (move % 2), 2);
  assert.match(await publish(authority, 1, 2), /moved too often/);
  const endpoint = authority.ledger.state.endpoints.get(endpointId(0xa02));
  assert.ok(endpoint !== undefined);
  assert.deepEqual(authority.learned.frozenOf(endpoint), [{ address: endpoint.mac, duration: 180_000 }]);
  assert.deepEqual(authority.learned.unfreeze(endpoint.id), [{ address: endpoint.mac, duration: 180_000 }]);
  assert.deepEqual(authority.learned.unfreeze(endpoint.id), []);
  assert.match(await publish(authority, 1, 2), /^h1 a02/);
  assert.throws(() => authority.learned.unfreeze("nobody"), refusal("not-found", /no such endpoint/));
});

test("moves are forgotten after 180 s", () => {
  const clock = new ManualClock();
  const limiter = new MoveLimiter(clock);
  for (let round = 0; round < 20; round++) {
    limiter.record("a");
    assert.equal(limiter.frozenFor("a"), 0);
    clock.advance(seconds(46));
  }
  for (let number = 0; number < 1000; number++) limiter.record(`b${number}`);
  clock.advance(seconds(180));
  limiter.record("c");
  assert.equal(limiter.size, 1);
});

test("a node publishes at most what its ports may learn, and 16 addresses of a MAC", async (t) => {
  const authority = await prepared(t);
  for (const number of [1, 2, 3, 4]) await publish(authority, 1, number);
  const full =
    "refused | node h1 has 1 endpoints in the network, behind each of which 4 MACs may be learned, and no more are free | in 10 s";
  assert.equal(await publish(authority, 1, 5), full);
  await publish(authority, 2, 6);
  assert.equal(await publish(authority, 1, 6), full, "nor may it take one over");
  await authority.endpoints.release(nodeIdentity(1), [endpointId(0xa01)]);
  assert.equal(await publish(authority, 1, 6), "h1 a06  #1");
  const many = Array.from({ length: 17 }, (_, index) => 100 + index);
  assert.match(await publish(authority, 1, 2, ...many), / #0 \| 10\.0\.0\.116 is one more than 16$/);
});

test("networks that learn nothing refuse, and so does the server what is malformed or too much", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  await createNetwork(server, "none", "10.0.0.0/24");
  await createNetwork(server, "routed", "10.1.0.0/24", { mode: "l3" });
  await createNetwork(server, "blue", "10.2.0.0/24", { learningLimit: 2 });
  const address = { id: endpointId(1), mac: "02:00:00:00:00:01", ips: ["10.2.0.9"] };
  const cases: [object, Parameters<typeof refusal>[0], RegExp][] = [
    [{ network: "none", addresses: [address] }, "failed-precondition", /its learning limit 0/],
    [{ network: "routed", addresses: [address] }, "failed-precondition", /its mode is l3/],
    [{ network: "absent", addresses: [address] }, "not-found", /no network absent/],
    [{ network: "blue", addresses: [{ ...address, mac: "01:00:5e:00:00:01" }] }, "invalid-argument", /unicast MAC/],
    [
      { network: "blue", addresses: [{ ...address, ips: ["10.2.0"] }] },
      "invalid-argument",
      /ips\[0\]: found "10\.2\.0"/,
    ],
    [{ network: "blue", addresses: Array(1001).fill(address) }, "invalid-argument", /1001 addresses .* more than 1000/],
  ];
  for (const [request, code, reason] of cases)
    await assert.rejects(client.publishLearned(request), refusal(code, reason));
  const { outcomes } = await client.publishLearned({ network: "blue", addresses: [address] });
  assert.match(outcomes[0]?.reason ?? "", /node h1 has 0 endpoints/);
});

test("a learned endpoint that moves is told to all as one change, and outlasts a restart of a watch", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24", { learningLimit: 4 });
  await one.client.createEndpoint({ id: endpointId(1), network: "blue" });
  const { revision } = await two.client.createEndpoint({ id: endpointId(2), network: "blue" });
  const watch = await new TestWatch(t, one.client).reached(revision);
  watch.take();
  const addresses = [{ id: endpointId(9), mac: "02:00:00:00:00:01", ips: ["10.0.0.9"] }];
  await two.client.publishLearned({ network: "blue", addresses });
  const moved = await one.client.publishLearned({ network: "blue", addresses });
  await watch.reached(moved.revision);
  assert.deepEqual(watch.take(), [
    "endpoint blue/000000000009 10.0.0.9 on h2",
    "endpoint blue/000000000009 10.0.0.9 on h1",
  ]);
  const resumed = await new TestWatch(t, two.client, { revision, networks: ["blue"] }).reached(moved.revision);
  assert.deepEqual(resumed.take().slice(3), ["network blue, MTU 1450", "endpoint blue/000000000009 10.0.0.9 on h1"]);
  // With its only declared endpoint gone and the learned one moved away, the node hosts the network no more.
  await one.client.deleteEndpoints({ ids: [endpointId(1)] });
  const last = await two.client.publishLearned({ network: "blue", addresses });
  await watch.reached(last.revision);
  assert.deepEqual(watch.take(), ["no endpoint blue/000000000001", "no network blue", "no node h2"]);
});
