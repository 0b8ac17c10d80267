import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import {
  createNetwork,
  createToken,
  endpointId,
  refusal,
  startTestServer,
  type TestServer,
  TestWatch,
} from "../../test/support/server.ts";
import { type Credentials, connectNode } from "../api/clients.ts";
import { joinServer } from "../api/join.ts";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { silentLogger } from "../base/logger.ts";

const first = { vtepIpv4: "192.0.2.1", underlayMtu: 1500 };
const second = { vtepIpv4: "192.0.2.2", underlayMtu: 1500 };

const another = refusal("in-use", /another agent runs as this node: at 127\.0\.0\.1, since 20\d\d-/);

/** What one process of an agent says of itself in each conversation. */
function newProcess(): { incarnation: Uint8Array } {
  return { incarnation: new Uint8Array(randomBytes(16)) };
}

async function join(server: TestServer): Promise<Credentials> {
  return joinServer({ url: server.url, token: await createToken(server), node: "h1" });
}

/** A connection with the node's certificate, from a host of this address. */
async function connectFrom(t: TestContext, server: TestServer, credentials: Credentials, address = "127.0.0.1") {
  const sockets: Socket[] = [];
  let isCut = false;
  const way = createServer((near) => {
    const far = connect({ port: Number(new URL(server.url).port), host: "127.0.0.1", localAddress: address });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.push(from);
      from.on("error", () => {});
      from.on("data", (bytes) => isCut || to.write(bytes));
      from.on("close", () => isCut || to.destroy());
    }
  });
  way.listen(0, "127.0.0.1");
  await once(way, "listening");
  const connection = connectNode({ url: `https://127.0.0.1:${(way.address() as AddressInfo).port}`, credentials });
  t.after(() => {
    connection.close();
    way.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    client: connection.client,
    /** What the kernel does for a process that ended. */
    close: () => connection.close(),
    /** As after a power cut: nothing passes any more, and nobody says goodbye. */
    cut: () => {
      isCut = true;
    },
  };
}

test("a copy of a node is refused before anything changes; server, node and copy are told", async (t) => {
  const warnings: object[] = [];
  const logger = { ...silentLogger, warn: (fields: object) => void warnings.push(fields) };
  const server = await startTestServer(t, { logger });
  const credentials = await join(server);
  await createNetwork(server, "blue", "10.0.0.0/24");
  const process = newProcess();
  const { client } = await connectFrom(t, server, credentials);
  await client.register({ ...first, ...process });
  const watch = new TestWatch(t, client, process);
  await client.createEndpoint({ id: endpointId(1), network: "blue" });

  const copy = newProcess();
  const clone = await connectFrom(t, server, credentials, "127.0.0.3");
  await assert.rejects(clone.client.register({ ...second, ...copy }), another);
  await assert.rejects(clone.client.register({ ...second, ...copy, wasRefused: true }), another);
  another(await new TestWatch(t, clone.client, copy).ended());
  await assert.rejects(clone.client.createEndpoint({ id: endpointId(2), network: "blue" }), another);
  await assert.rejects(clone.client.deleteEndpoints({ ids: [endpointId(1)] }), another);
  await assert.rejects(clone.client.publishLearned({ network: "blue", addresses: [] }), another);

  const { resources, contacts } = await server.admin.list({ kind: "node" });
  const shown = resources[0]?.resource;
  assert.equal(shown?.case === "node" && shown.value.vtepIpv4, "192.0.2.1");
  assert.equal(contacts[0]?.address, "127.0.0.1");
  assert.equal(contacts[0]?.refusedAddress, "127.0.0.3");
  assert.ok(Number(contacts[0]?.refusedAt) > Date.now() - 60_000);
  assert.deepEqual(warnings, [{ node: "h1", address: "127.0.0.1", refused: "127.0.0.3" }]);
  const { revision } = await client.createEndpoint({ id: endpointId(3), network: "blue" });
  await watch.reached(revision);
  assert.deepEqual(
    watch.take().filter((line) => line.startsWith("refused")),
    ["refused 127.0.0.3"],
  );
});

test("an agent that was restarted gets in at once, also from another address; one that reconnects, too", async (t) => {
  const server = await startTestServer(t);
  const credentials = await join(server);
  const process = newProcess();
  const before = await connectFrom(t, server, credentials);
  await before.client.register({ ...first, ...process });
  const watch = new TestWatch(t, before.client, process);
  await watch.reached(1);
  // The same process, while its old connection hangs: its host's address changed.
  const moved = await connectFrom(t, server, credentials, "127.0.0.3");
  await moved.client.register({ ...second, ...process });
  await new TestWatch(t, moved.client, process).reached(1);
  assert.match((await watch.ended())?.reason ?? "", /has opened another watch/);
  moved.close();
  const restarted = await connectFrom(t, server, credentials);
  await restarted.client.register({ ...first, ...newProcess() });
});

test("an agent that died without a word is replaced by the next", async (t) => {
  const server = await startTestServer(t);
  const credentials = await join(server);
  const before = await connectFrom(t, server, credentials);
  const process = newProcess();
  await before.client.register({ ...first, ...process });
  const watch = new TestWatch(t, before.client, process);
  await watch.reached(1);
  before.cut();
  const after = newProcess();
  const { client } = await connectFrom(t, server, credentials, "127.0.0.3");
  await client.register({ ...second, ...after });
  await new TestWatch(t, client, after).reached(1);
  await watch.stop();
});

test("whoever was refused lets the node's own agent go first while that is restarted, or the server is", async (t) => {
  const clock = new ManualClock(Date.now());
  const server = await startTestServer(t, { clock });
  const credentials = await join(server);
  const copy = { ...newProcess(), wasRefused: true };
  const clone = await connectFrom(t, server, credentials, "127.0.0.3");
  const waits = refusal("in-use", /may take its place when that one has been away for 60 s/);
  await assert.rejects(clone.client.register({ ...second, ...copy }), waits);
  const original = await connectFrom(t, server, credentials);
  await original.client.register({ ...first, ...newProcess() });
  await assert.rejects(clone.client.register({ ...second, ...copy }), another);
  original.close();
  while ((await server.admin.list({ kind: "node" })).contacts[0]?.address !== "")
    await new Promise((resolve) => setTimeout(resolve, 5));
  await assert.rejects(clone.client.register({ ...second, ...copy }), waits);
  clock.advance(seconds(60));
  await clone.client.register({ ...second, ...copy });
  assert.equal((await server.admin.list({ kind: "node" })).contacts[0]?.address, "127.0.0.3");
});

test("who joins anew takes the name over at once", async (t) => {
  const server = await startTestServer(t);
  const before = await connectFrom(t, server, await join(server));
  await before.client.register({ ...first, ...newProcess() });
  const { client } = await connectFrom(t, server, await join(server), "127.0.0.3");
  await client.register({ ...second, ...newProcess() });
});

test("agents that say nothing of themselves, as of weft 0.1, are told by their addresses", async (t) => {
  const server = await startTestServer(t);
  const credentials = await join(server);
  const before = await connectFrom(t, server, credentials);
  await before.client.register(first);
  const again = await connectFrom(t, server, credentials);
  await again.client.register(first);
  const clone = await connectFrom(t, server, credentials, "127.0.0.3");
  await assert.rejects(clone.client.register(second), another);
});
