import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import { Engine } from "./engine.ts";

/** An engine that answers so. */
async function engineWith(t: TestContext, answer: RequestListener): Promise<Engine> {
  const socket = join(temporaryDirectory(t), "docker.sock");
  const server = createServer(answer).listen(socket);
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return new Engine(socket);
}

const sayNothing = (): void => {};

test("containers of networks, and what one is called in each of its own", async (t) => {
  const paths: string[] = [];
  const engine = await engineWith(t, ({ url = "" }, response) => {
    paths.push(decodeURIComponent(url));
    const web = { EndpointID: "e1", Aliases: ["db", "0123456789ab"] };
    const container = {
      Name: "/shop",
      NetworkSettings: { Networks: { web, other: { EndpointID: "e2", Aliases: null } } },
    };
    response.end(JSON.stringify(url.startsWith("/containers/json") ? [{ Id: "c1" }, { Id: "c2" }] : container));
  });
  assert.deepEqual(await engine.containersOf(["n1", "n2"]), ["c1", "c2"]);
  assert.deepEqual(await engine.container("c1"), {
    id: "c1",
    name: "shop",
    aliases: new Map([
      ["e1", ["db", "0123456789ab"]],
      ["e2", []],
    ]),
  });
  assert.deepEqual(paths, ['/containers/json?filters={"network":["n1","n2"]}', "/containers/c1/json"]);
});

test("one that is gone is none, and an engine that cannot answer says why", async (t) => {
  const statuses = [404, 500];
  const engine = await engineWith(t, (_, response) => response.writeHead(statuses.shift() ?? 200).end("{}"));
  assert.equal(await engine.container("c1"), undefined);
  await assert.rejects(engine.container("c1"), /it answers with status 500/);
  const away = new Engine(join(temporaryDirectory(t), "none.sock"));
  await assert.rejects(away.container("c1"), /ask Docker at .*none\.sock .*ENOENT/);
  await assert.rejects(away.events(AbortSignal.timeout(60_000), sayNothing).next(), /ENOENT/);
});

test("events are followed from when the engine answers, however they are cut, until they are ended", async (t) => {
  const lines = [
    { Type: "network", Action: "connect", Actor: { ID: "n1", Attributes: { container: "c1" } } },
    { Type: "container", Action: "rename", Actor: { ID: "c2", Attributes: { name: "new" } } },
  ].map((event) => `${JSON.stringify(event)}\n`);
  const engine = await engineWith(t, (_, response) => {
    response.write(lines[0]?.slice(0, 20));
    setImmediate(() => response.write(`${lines[0]?.slice(20)}${lines[1]}`));
  });
  const following = new AbortController();
  let hasBegun = false;
  const events = engine.events(following.signal, () => {
    hasBegun = true;
  });
  assert.deepEqual(
    [await events.next(), await events.next()],
    [
      { done: false, value: { container: "c1" } },
      { done: false, value: { container: "c2" } },
    ],
  );
  assert.equal(hasBegun, true);
  const next = events.next();
  following.abort();
  await assert.rejects(next, /aborted/);
});
