import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { addNodes, nodeIdentity, openAuthority } from "../../test/support/authority.ts";
import { createToken, joinTestNode, nodeClient, refusal, startTestServer } from "../../test/support/server.ts";
import { joinServer } from "../api/join.ts";
import { type Ipv4Address, ip } from "../base/ip.ts";
import { parseSource } from "./connection.ts";

const at = (number: number): Ipv4Address => ip(`10.255.0.${number}`) as Ipv4Address;

/** Nodes h1 to h`count`, each connected from its address 10.255.0.`number`. */
async function connected(t: TestContext, count: number) {
  const authority = await openAuthority(t);
  await addNodes(authority, count);
  const { nodes, ledger } = authority;
  const watch = (number: number, from: number) =>
    ledger.fanout.open(nodeIdentity(number), { revision: 0n, networks: [], inParts: true }, at(from));
  const register = (number: number, from: number) =>
    nodes.register(nodeIdentity(number), { vtepAddresses: { ipv4: at(from) }, underlayMtu: 1500 }, at(from));
  /** The node has the address from now on, and connects anew until it is accepted. */
  const move = async (number: number, from: number): Promise<void> => {
    await register(number, from);
    watch(number, from);
  };
  const vteps = () => [...ledger.state.nodes.values()].map(({ value }) => value.vtepAddresses.ipv4);
  const watchers = Array.from({ length: count }, (_, index) => watch(index + 1, index + 1));
  const disconnect = (): void => {
    for (const each of watchers) ledger.fanout.close(each);
  };
  return { move, vteps, disconnect };
}

for (const ring of [
  [2, 1],
  [2, 3, 1],
])
  test(`${ring.length} nodes pass their addresses on in a ring: each ends with its new one`, async (t) => {
    const { move, vteps, disconnect } = await connected(t, ring.length);
    disconnect();
    for (const [index, from] of ring.entries()) await move(index + 1, from);
    assert.deepEqual(vteps(), ring.map(at));
  });

test("an address is never taken from the node that is connected from it", async (t) => {
  const { move, vteps } = await connected(t, 2);
  await assert.rejects(
    move(1, 2),
    refusal("already-exists", /node h2 has the VTEP address .* is connected from it now/),
  );
  assert.deepEqual(vteps(), [at(1), at(2)]);
});

test("until a node registers again it may have no VTEP address", async (t) => {
  const { move, vteps, disconnect } = await connected(t, 2);
  disconnect();
  await move(1, 2);
  assert.deepEqual(vteps(), [at(2), undefined]);
});

test("without prefixes an address must be proved or approved, also before the node joins", async (t) => {
  const server = await startTestServer(t, { vtepPrefixes: [] });
  const credentials = await joinServer({ url: server.url, token: await createToken(server), node: "h1" });
  const client = nodeClient(t, server, credentials);
  const registration = { vtepIpv4: "192.0.2.1", vtepIpv6: "2001:db8::1", underlayMtu: 1500 };
  const unproved = refusal("failed-precondition", /connection comes from 127\.0\.0\.1, which does not prove/);
  await assert.rejects(client.register(registration), unproved);
  const loopback = refusal("invalid-argument", /127\.0\.0\.1 is a loopback address/);
  await assert.rejects(client.register({ vtepIpv4: "127.0.0.1", underlayMtu: 1500 }), loopback);
  await server.admin.setNode({ name: "h1", approved: { ipv4: "192.0.2.1", ipv6: "2001:db8::1" } });
  await client.register(registration);
  await assert.rejects(
    server.admin.setNode({ name: "h2", approved: { ipv4: "192.0.2.1" } }),
    refusal("already-exists", /approved for node h1/),
  );
  await server.admin.setNode({ name: "h1", approved: {} });
  await client.register({ ...registration, underlayMtu: 1400 });
  await assert.rejects(client.register({ ...registration, vtepIpv4: "192.0.2.2" }), unproved);
});

test("labels and approved addresses are the administrator's, and go with the node", async (t) => {
  const server = await startTestServer(t);
  await server.admin.setNode({ name: "h1", labels: { zone: "a", rack: "7" } });
  const { settings } = await server.admin.setNode({ name: "h1", labels: { zone: "b" }, removedLabels: ["rack"] });
  assert.deepEqual(settings?.labels, { zone: "b" });
  const labelled = async () =>
    (await server.admin.list({ kind: "node" })).nodeSettings.map(({ name, labels }) => [name, labels]);
  assert.deepEqual(await labelled(), [["h1", { zone: "b" }]]);
  await joinTestNode(t, server, 1);
  assert.deepEqual(await labelled(), [["h1", { zone: "b" }]]);
  await assert.rejects(server.admin.setNode({ name: "h1", labels: { "a b": "" } }), refusal("invalid-argument", /a b/));
  await server.admin.delete({ resources: [{ kind: "node", name: "h1" }] });
  assert.deepEqual(await labelled(), []);
});

test("no part of a block is declared for two nodes", async (t) => {
  const { admin } = await startTestServer(t);
  const declare = (name: string, ...prefixes: string[]) => admin.setNode({ name, blocks: { prefixes } });
  const declared = async () =>
    (await admin.list({ kind: "node" })).nodeSettings.map(({ name, blocks }) => [name, blocks]);
  await declare("h1", "10.64.1.0/24", "fd00::100/120", "10.64.1.0/24");
  await assert.rejects(
    declare("h2", "10.64.2.0/24", "10.64.0.0/23"),
    refusal("already-exists", /10\.64\.0\.0\/23 overlaps 10\.64\.1\.0\/24, which is declared for node h1/),
  );
  await assert.rejects(declare("h2", "10.64.2.1/24"), refusal("invalid-argument", /host bits set/));
  await admin.setNode({ name: "h1", labels: { zone: "a" } });
  assert.deepEqual(await declared(), [["h1", ["10.64.1.0/24", "fd00::100/120"]]]);
  await admin.setNode({ name: "h1", removedLabels: ["zone"] });
  await declare("h1");
  await declare("h2", "10.64.1.0/24");
  assert.deepEqual(await declared(), [["h2", ["10.64.1.0/24"]]]);
});

test("the source of a connection is an address, as its own family writes it", () => {
  const table = { "::ffff:192.0.2.1": "192.0.2.1", "192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1" };
  for (const [text, address] of Object.entries(table)) assert.equal(parseSource(text), address);
  for (const text of ["", "fe80::1%eth0"]) assert.equal(parseSource(text), undefined);
});
