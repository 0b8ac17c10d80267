import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { createToken, joinTestNode, refusal, startTestServer, type TestServer } from "../../test/support/server.ts";
import { connectNode } from "../api/clients.ts";
import { joinServer } from "../api/join.ts";
import { seconds } from "../base/duration.ts";
import { ip } from "../base/ip.ts";

/** A way to the server on which packets can be lost, as when this host's address goes. */
async function startWay(t: TestContext, { url }: TestServer): Promise<{ url: string; cut(): void }> {
  const sockets: Socket[] = [];
  let open = true;
  const way = createServer((near) => {
    const far = connect(Number(new URL(url).port), "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.push(from);
      from.on("error", () => {});
      from.on("data", (bytes) => open && to.write(bytes));
    }
  });
  way.listen(0, "127.0.0.1");
  await once(way, "listening");
  t.after(() => {
    way.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    url: `https://127.0.0.1:${(way.address() as AddressInfo).port}`,
    cut: () => {
      open = false;
    },
  };
}

const registration = { vtepIpv4: "192.0.2.1", underlayMtu: 1500 };
const givenUp = refusal("unavailable", /gave the connection up/);

test("a connection that is given up fails the calls under way, also while it is being opened", async (t) => {
  const server = await startTestServer(t);
  const { credentials } = await joinTestNode(t, server, 1);
  const way = await startWay(t, server);
  const connection = connectNode({ url: way.url, credentials });
  t.after(() => connection.close());
  await connection.client.register(registration);
  way.cut();
  const call = connection.client.register(registration, { timeoutMs: seconds(15) });
  const stream = connection.client.watch({})[Symbol.asyncIterator]().next();
  setImmediate(() => connection.close());
  await Promise.all([assert.rejects(call, givenUp), assert.rejects(stream, givenUp)]);
  const opening = connection.client.register(registration, { timeoutMs: seconds(15) });
  setImmediate(() => connection.close());
  await assert.rejects(opening, givenUp);
});

test("a connection comes from the address that is asked for, and from any where that cannot be", async (t) => {
  const server = await startTestServer(t, { vtepPrefixes: [] });
  await server.admin.setNode({ name: "h1", approved: { ipv4: "192.0.2.1" } });
  const credentials = await joinServer({ url: server.url, token: await createToken(server), node: "h1" });
  for (const [local, source] of [
    ["127.0.0.2", /comes from 127\.0\.0\.2,/],
    // Nobody here has it.
    ["192.0.2.77", /comes from 127\.0\.0\.1,/],
    ["2001:db8::1", /comes from 127\.0\.0\.1,/],
  ] as const) {
    const connection = connectNode({ url: server.url, credentials, localAddresses: [ip(local)] });
    t.after(() => connection.close());
    const call = connection.client.register({ vtepIpv4: "192.0.2.9", underlayMtu: 1500 });
    await assert.rejects(call, refusal("failed-precondition", source));
    connection.close();
  }
});
