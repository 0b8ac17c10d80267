import assert from "node:assert/strict";
import { test } from "node:test";
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
  nodeClient,
  refusal,
  startTestServer,
} from "../../test/support/server.ts";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { MemoryStore } from "../store/index.ts";

const mac = "02:00:00:00:00:01";

test("an endpoint gets a free address, and the same answer when it asks again", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24");
  const request = { id: endpointId(1), network: "blue" };
  const first = await client.createEndpoint(request);
  assert.deepEqual(first.endpoint?.ips, ["10.0.0.1"]);
  assert.equal(first.network?.effectiveMtu, 1450);
  const { revision } = first;
  const again = await client.createEndpoint(request);
  assert.deepEqual(again.endpoint, first.endpoint);
  assert.equal((await server.admin.getStatus({})).revision, revision);
  const [left, right] = await Promise.all([
    client.createEndpoint({ id: endpointId(2), network: "blue" }),
    client.createEndpoint({ id: endpointId(2), network: "blue" }),
  ]);
  assert.deepEqual(left.endpoint, right.endpoint);
  await assert.rejects(
    client.createEndpoint({ ...request, ips: ["10.0.0.77"] }),
    refusal("already-exists", /exists already, in network blue with .* and 10\.0\.0\.1$/),
  );
});

test("what another endpoint has is refused, naming it", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  const other = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  const network = "blue";
  await client.createEndpoint({ id: endpointId(1), network, mac, ips: ["10.0.0.9"] });
  const cases: [object, Parameters<typeof refusal>[0], RegExp][] = [
    [{ id: endpointId(2), network, ips: ["10.0.0.9"] }, "already-exists", /endpoint 000000000001 on node h1 has /],
    [{ id: endpointId(2), network, mac }, "already-exists", /endpoint 000000000001 on node h1 has /],
    [{ id: endpointId(1), network }, "already-exists", /node h1 has an endpoint of this id/],
    [{ id: endpointId(2), network, ips: ["10.0.1.9"] }, "invalid-argument", /outside the network's subnets/],
    [{ id: endpointId(2), network, ips: ["10.0.0.255"] }, "invalid-argument", /the broadcast address/],
    [{ id: endpointId(2), network: "red" }, "not-found", /no network red/],
    [{ id: "xyz", network }, "invalid-argument", /id: found "xyz"/],
    [{ id: endpointId(2), network, mac: "01:00:00:00:00:01" }, "invalid-argument", /mac: .*unicast/],
  ];
  for (const [request, code, reason] of cases)
    await assert.rejects(other.client.createEndpoint(request), refusal(code, reason));
});

test("a node cannot delete the endpoint of another", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  const other = await joinTestNode(t, server, 2);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await client.createEndpoint({ id: endpointId(1), network: "blue" });
  await other.client.deleteEndpoints({ ids: [endpointId(1), endpointId(99), "nonsense"] });
  assert.equal((await server.admin.getStatus({})).endpoints, 1);
  await client.deleteEndpoints({ ids: [endpointId(1)] });
  assert.equal((await server.admin.getStatus({})).endpoints, 0);
  await client.deleteEndpoints({ ids: [endpointId(1)] });
});

test("many creates at the same time get distinct addresses, until none is left", async (t) => {
  const server = await startTestServer(t);
  const nodes = [await joinTestNode(t, server, 1), await joinTestNode(t, server, 2)];
  await createNetwork(server, "blue", "10.0.0.0/25");
  const created = await Promise.allSettled(
    Array.from({ length: 150 }, (_, index) =>
      (nodes[index % 2] ?? assert.fail()).client.createEndpoint({ id: endpointId(index), network: "blue" }),
    ),
  );
  const ips = created.flatMap((result) => (result.status === "fulfilled" ? (result.value.endpoint?.ips ?? []) : []));
  assert.equal(ips.length, 126);
  assert.equal(new Set(ips).size, 126);
  const refused = created.find((result) => result.status === "rejected");
  assert.ok(refusal("exhausted", /all 126 addresses are taken/)(refused?.reason));
});

test("a node needs a VTEP of the network's underlay and an MTU that carries it", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  await server.admin.create({
    resources: [
      { resource: { case: "tenant", value: { name: "acme" } } },
      {
        resource: {
          case: "network",
          value: { name: "six", tenant: "acme", subnets: ["10.0.0.0/24"], underlay: "ipv6" },
        },
      },
      { resource: { case: "network", value: { name: "big", tenant: "acme", subnets: ["10.1.0.0/24"], mtu: 1400 } } },
    ],
  });
  await assert.rejects(
    client.createEndpoint({ id: endpointId(1), network: "six" }),
    refusal("failed-precondition", /no ipv6 VTEP address, which network six needs/),
  );
  await client.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1400 });
  await assert.rejects(
    client.createEndpoint({ id: endpointId(1), network: "big" }),
    refusal("failed-precondition", /underlay MTU of 1400/),
  );
});

test("a VTEP address belongs to one node", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  const other = await joinTestNode(t, server, 2);
  await assert.rejects(
    other.client.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 }),
    refusal("already-exists", /node h1 has the VTEP address 192\.0\.2\.1/),
  );
  await client.register({ vtepIpv4: "192.0.2.3", underlayMtu: 1500 });
  await other.client.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  await assert.rejects(
    other.client.register({ underlayMtu: 1500 }),
    refusal("invalid-argument", /one of them at least/),
  );
});

test("registering what is known already writes nothing", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  const { revision } = await server.admin.getStatus({});
  await client.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  assert.equal((await server.admin.getStatus({})).revision, revision);
});

const h1 = nodeIdentity(1);

async function prepare(authority: Authority, subnet: string): Promise<void> {
  await addNodes(authority, 1);
  await addNetwork(authority, { subnets: [subnet] });
}

test("a released address waits 60 s, unless it is asked for; a MAC that comes back has a higher sequence", async (t) => {
  const all = await openAuthority(t);
  const { endpoints, clock, ledger } = all;
  await prepare(all, "10.0.0.0/30");
  await endpoints.create(h1, endpointDraft(1, { mac }));
  await endpoints.create(h1, endpointDraft(2));
  await endpoints.release(h1, [endpointId(1), endpointId(2)]);
  await assert.rejects(endpoints.create(h1, endpointDraft(3)), refusal("exhausted", /released a moment ago.*in 60 s/));
  const back = await endpoints.create(h1, endpointDraft(4, { mac, ips: ["10.0.0.2"] }));
  assert.equal(back.endpoint.sequence, 1);
  clock.advance(seconds(59));
  await assert.rejects(endpoints.create(h1, endpointDraft(3)), refusal("exhausted", /in 1 s/));
  clock.advance(seconds(1));
  const chosen = await endpoints.create(h1, endpointDraft(3));
  assert.deepEqual(chosen.endpoint.ips, ["10.0.0.1"]);
  clock.advance(seconds(5));
  await settled(() => ledger.state.networks.get("blue")?.releasedMacs.size === 0);
  assert.equal((await all.store.range("/quarantine/")).entries.length, 0);
});

test("quarantine and sequences outlast a restart, also when the clock was set back meanwhile", async (t) => {
  const store = new MemoryStore();
  const before = await openAuthority(t, store);
  await prepare(before, "10.0.0.0/30");
  await before.endpoints.create(h1, endpointDraft(1, { mac }));
  await before.endpoints.create(h1, endpointDraft(2));
  await before.endpoints.release(h1, [endpointId(1)]);
  await before.close();
  const { endpoints, clock } = await openAuthority(t, store, new ManualClock(Date.UTC(2025, 0, 1)));
  await assert.rejects(endpoints.create(h1, endpointDraft(3)), refusal("exhausted", /released a moment ago/));
  const back = await endpoints.create(h1, endpointDraft(4, { mac, ips: ["10.0.0.1"] }));
  assert.equal(back.endpoint.sequence, 1);
  await endpoints.release(h1, [endpointId(4)]);
  clock.advance(seconds(60));
  assert.deepEqual((await endpoints.create(h1, endpointDraft(5))).endpoint.ips, ["10.0.0.1"]);
});

test("two servers on one store never give an address twice", async (t) => {
  const store = new MemoryStore();
  const left = await openAuthority(t, store);
  await prepare(left, "10.0.0.0/24");
  const right = await openAuthority(t, store);
  const created = await Promise.all(
    Array.from({ length: 100 }, (_, index) => (index % 2 ? left : right).endpoints.create(h1, endpointDraft(index))),
  );
  assert.equal(new Set(created.map(({ endpoint }) => endpoint.ips[0])).size, 100);
  await left.ledger.reached(store.revision);
  await right.ledger.reached(store.revision);
  assert.deepEqual([...left.ledger.state.endpoints.keys()].sort(), [...right.ledger.state.endpoints.keys()].sort());
});

test("a client of a stopped server is told that trying again may help", async (t) => {
  const server = await startTestServer(t);
  const { credentials } = await joinTestNode(t, server, 1);
  await server.server.close();
  await assert.rejects(
    nodeClient(t, server, credentials).register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 }),
    refusal("unavailable", /nobody listens there/),
  );
});
