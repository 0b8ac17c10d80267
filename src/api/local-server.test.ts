import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, get } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { closeHttpServer, createHttpServer, listenUnix } from "./local-server.ts";

test("a client that pauses for longer than others wait goes on on its connection", async (t) => {
  const socketPath = join(temporaryDirectory(t), "server.sock");
  const server = createHttpServer((_request, response) => response.end("here"));
  await listenUnix(server, socketPath, "server");
  t.after(() => closeHttpServer(server, 100));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ask = async (): Promise<{ readonly isReused: boolean; readonly answer: string }> => {
    const request = get({ socketPath, agent });
    const [response] = await once(request, "response");
    return { isReused: request.reusedSocket, answer: await text(response) };
  };
  assert.deepEqual(await ask(), { isReused: false, answer: "here" });
  // Servers of Node's close such a connection after five seconds unless they are told otherwise.
  await setTimeout(7_000);
  assert.deepEqual(await ask(), { isReused: true, answer: "here" });
});
