import assert from "node:assert/strict";
import { linkSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import {
  createNetwork,
  endpointId,
  joinTestNode,
  nodeClient,
  refusal,
  startTestServer,
  TestWatch,
} from "../../test/support/server.ts";
import { serverClient } from "../api/clients.ts";
import { cidr } from "../base/cidr.ts";
import { silentLogger } from "../base/logger.ts";
import { MemoryStore, SqliteStore } from "../store/index.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { formatListenAddress, parseListenAddress } from "./listeners.ts";
import { startServer } from "./server.ts";

function get(
  options: { socketPath: string } | { host: string; port: number },
  path: string,
): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    request({ ...options, path }, (response) => {
      let body = "";
      response.on("data", (chunk) => {
        body += chunk;
      });
      response.on("end", () => resolve([response.statusCode ?? 0, body]));
    })
      .on("error", reject)
      .end();
  });
}

test("state and identities outlast a restart on SQLite", async (t) => {
  const dataDir = temporaryDirectory(t);
  const vtepPrefixes = [cidr("192.0.2.0/24")];
  const first = await startServer({ listen: "127.0.0.1:0", dataDir, vtepPrefixes, logger: silentLogger });
  const server = { server: first, url: `https://${first.address}`, dataDir, admin: serverClient(first.adminSocket) };
  const node = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24");
  const { endpoint } = await node.client.createEndpoint({ id: endpointId(1), network: "blue" });
  await first.close();
  const second = await startServer({ listen: first.address, dataDir, vtepPrefixes, logger: silentLogger });
  t.after(() => second.close());
  const again = await nodeClient(t, server, node.credentials).createEndpoint({ id: endpointId(1), network: "blue" });
  assert.deepEqual(again.endpoint, endpoint);
});

test("files that are secret are readable by their owner alone", async (t) => {
  const dataDir = join(temporaryDirectory(t), "data");
  const server = await startServer({ listen: "127.0.0.1:0", dataDir, logger: silentLogger });
  t.after(() => server.close());
  const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  assert.equal(mode(dataDir), "700");
  assert.equal(mode(join(dataDir, "ca.key")), "600");
  assert.equal(mode(server.adminSocket), "600");
});

test("metrics and health are told on the admin socket, and on a port when asked for", async (t) => {
  const server = await startTestServer(t, { metrics: "127.0.0.1:0" });
  await joinTestNode(t, server, 1);
  const socketPath = server.server.adminSocket;
  const [status, text] = await get({ socketPath }, "/metrics");
  assert.equal(status, 200);
  assert.match(text, /^weft_server_nodes 1$/m);
  assert.match(text, /^weft_server_commits_total 3$/m);
  assert.match(text, /weft_server_request_duration_seconds_count\{method="Register",code="ok"\} 1/);
  assert.deepEqual(await get({ socketPath }, "/healthz"), [200, "ok\n"]);
  const port = Number(server.server.metricsAddress?.split(":")[1]);
  assert.deepEqual(await get({ host: "127.0.0.1", port }, "/readyz"), [200, "ok\n"]);
  assert.equal((await get({ host: "127.0.0.1", port }, "/weft.v1.AdminService/GetStatus"))[0], 404);
});

test("the admin API is not served to nodes", async (t) => {
  const server = await startTestServer(t);
  const session = connectHttp2(server.url, { rejectUnauthorized: false });
  t.after(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": "/weft.v1.AdminService/GetStatus",
    "content-type": "application/json",
  });
  stream.end("{}");
  const status = await new Promise((resolve, reject) => {
    stream.on("response", (headers) => resolve(headers[constants.HTTP2_HEADER_STATUS]));
    stream.on("error", reject);
  });
  assert.equal(status, 404);
});

test("a store that fails makes the server not ready", async (t) => {
  const store = new MemoryStore();
  let failure: unknown;
  const server = await startTestServer(t, {
    store,
    onFailure: (error) => {
      failure = error;
    },
  });
  await store.close();
  while (failure === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal((await get({ socketPath: server.server.adminSocket }, "/readyz"))[0], 503);
  await assert.rejects(server.admin.createToken({}), refusal("unavailable", /store is closed/));
});

test("with its database deleted, the server changes nothing, says what to do, and is not ready", async (t) => {
  const dataDir = temporaryDirectory(t);
  const server = await startTestServer(t, { dataDir, store: new SqliteStore(join(dataDir, "weft.db")) });
  await createNetwork(server, "blue", "10.0.0.0/24");
  rmSync(join(dataDir, "weft.db"));
  assert.equal((await get({ socketPath: server.server.adminSocket }, "/readyz"))[0], 503);
  await assert.rejects(
    createNetwork(server, "red", "10.1.0.0/24"),
    (error: { reason: string; hint?: string }) =>
      /weft\.db was deleted/.test(error.reason) && /weft\.db\.rescued/.test(error.hint ?? ""),
  );
  assert.equal((await server.admin.list({ kind: "network" })).resources.length, 1);
});

test("a socket left by a crash is replaced, a live one is not", async (t) => {
  const server = await startTestServer(t);
  const start = (dataDir: string, store = new MemoryStore()) =>
    startServer({ listen: "127.0.0.1:0", dataDir, store, logger: silentLogger });
  await assert.rejects(start(server.dataDir), refusal("already-exists", /another server answers there/));
  await server.admin.getStatus({});

  const dataDir = temporaryDirectory(t);
  const dead = createServer().listen(join(dataDir, "dead.sock"));
  await new Promise((resolve) => dead.once("listening", resolve));
  // Closing removes the socket; a hard link to it stays, as after a crash.
  linkSync(join(dataDir, "dead.sock"), join(dataDir, "server.sock"));
  await new Promise((resolve) => dead.close(resolve));
  const replaced = await start(dataDir);
  t.after(() => replaced.close());
  await serverClient(replaced.adminSocket).getStatus({});
});

test("addresses and directories that cannot be used are refused with what to do", async (t) => {
  const dataDir = temporaryDirectory(t);
  const file = join(dataDir, "file");
  writeFileSync(file, "");
  const busy = createServer().listen(0, "127.0.0.1");
  t.after(() => busy.close());
  await new Promise((resolve) => busy.once("listening", resolve));
  const address = busy.address();
  assert.ok(typeof address === "object" && address !== null);
  const start = (options: object) =>
    startServer({ listen: "127.0.0.1:0", dataDir, store: new MemoryStore(), logger: silentLogger, ...options });
  await assert.rejects(
    start({ listen: `127.0.0.1:${address.port}` }),
    refusal("failed-precondition", /address is in use/),
  );
  await assert.rejects(start({ listen: "192.0.2.77:0" }), refusal("failed-precondition", /no such address/));
  await assert.rejects(
    start({ listen: "localhost" }),
    refusal("invalid-argument", /"localhost" is not an address and port/),
  );
  await assert.rejects(start({ metrics: "1.2.3.4:99999" }), refusal("invalid-argument", /is not an address and port/));
  await assert.rejects(start({ dataDir: join(file, "sub") }), refusal("failed-precondition", /ENOTDIR/));
  const damaged = join(dataDir, "damaged");
  mkdirSync(damaged);
  writeFileSync(join(damaged, "ca.crt"), "no certificate");
  await assert.rejects(start({ dataDir: damaged }), refusal("failed-precondition", /ca\.key/));
  // Nothing is left open by the failed starts.
  const server = await start({});
  await server.close();
});

test("two servers cannot use one database", async (t) => {
  const dataDir = temporaryDirectory(t);
  const store = new SqliteStore(join(dataDir, "weft.db"));
  await store.close();
  const server = await startServer({ listen: "127.0.0.1:0", dataDir, logger: silentLogger });
  t.after(() => server.close());
  await assert.rejects(
    startServer({ listen: "127.0.0.1:0", dataDir, logger: silentLogger }),
    (error: Error) => error.name === "WeftError",
  );
});

test("a server stops at once, also with watches and idle connections", async (t) => {
  const server = await startTestServer(t);
  const node = await joinTestNode(t, server, 1);
  await new TestWatch(t, node.client).reached(1);
  const idle = connectHttp2(server.url, { rejectUnauthorized: false });
  idle.on("error", () => {});
  await new Promise((resolve) => idle.once("connect", resolve));
  const started = performance.now();
  await server.server.close();
  // Ten times as long as a busy machine takes.
  assert.ok(performance.now() - started < 20_000);
});

test("a socket that is not there is explained", async (t) => {
  const dataDir = temporaryDirectory(t);
  const path = join(dataDir, "server.sock");
  await assert.rejects(serverClient(path).getStatus({}), refusal("unavailable", /no such socket/));
  const dead = createServer().listen(path);
  await new Promise((resolve) => dead.once("listening", resolve));
  linkSync(path, `${path}.link`);
  await new Promise((resolve) => dead.close(resolve));
  await assert.rejects(serverClient(`${path}.link`).getStatus({}), refusal("unavailable", /nobody listens there/));
  rmSync(`${path}.link`);
  assert.throws(() => serverClient("https://192.0.2.1:1"), refusal("unsupported", /Unix socket only/));
});

test("listen addresses are read strictly", () => {
  for (const text of ["192.0.2.1:7473", "[::]:7473", "[fd00::1]:0"]) {
    const address = parseListenAddress(text);
    assert.ok(address.ok);
    assert.equal(formatListenAddress(address.value), text);
  }
  for (const text of [
    "",
    ":7473",
    "192.0.2.1",
    "::1:7473",
    "[192.0.2.1]:1",
    "192.0.2.1:65536",
    "host:1",
    "192.0.2.1:-1",
  ])
    assert.equal(parseListenAddress(text).ok, false, text);
});
