/** A server that falls silent: its cable is pulled, its host has crashed. TCP alone would notice after minutes. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { joinTestNode, nodeClient, startTestServer, TestWatch } from "../support/server.ts";

test("a silent server is noticed, also in the middle of a watch", async (t) => {
  const server = await startTestServer(t);
  const { credentials } = await joinTestNode(t, server, 1);
  const target = Number(server.server.address.split(":")[1]);
  const sockets: Socket[] = [];
  const relay = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) sockets.push(socket.on("error", () => {}));
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    relay.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = relay.address();
  assert.ok(typeof address === "object" && address !== null);
  const watch = new TestWatch(t, nodeClient(t, { ...server, url: `https://127.0.0.1:${address.port}` }, credentials));
  await watch.reached(1);
  for (const socket of sockets) socket.unpipe().pause();
  const started = performance.now();
  const error = await watch.ended();
  // Ten times as long as it takes; TCP alone takes a quarter of an hour.
  assert.ok(performance.now() - started < 110_000, "the client noticed late");
  assert.equal(error?.code, "unavailable");
  while ((await server.admin.getStatus({})).nodesConnected > 0) {
    assert.ok(performance.now() - started < 210_000, "the server did not notice");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
});
