/** A server process that is stopped: its socket takes connections, and nothing ever answers. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { serverClient } from "../api/clients.ts";
import { WeftError } from "../base/errors.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";

const bin = join(import.meta.dirname, "../../bin/weft");

async function startServerProcess(t: TestContext): Promise<{ process: ChildProcess; socket: string }> {
  const dataDir = temporaryDirectory(t);
  const words = ["server", "--listen", "127.0.0.1:0", "--data-dir", dataDir];
  const server = spawn(bin, words, { stdio: ["ignore", "ignore", "pipe"] });
  t.after(async () => {
    server.kill("SIGKILL");
    if (server.exitCode === null && server.signalCode === null) await once(server, "exit");
  });
  for await (const line of createInterface({ input: server.stderr })) {
    if (!line.includes("server started")) continue;
    server.stderr.resume();
    return { process: server, socket: join(dataDir, "server.sock") };
  }
  throw new Error("the server did not start");
}

const status = (words: readonly string[]): Promise<{ code: unknown; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    execFile(bin, ["status", ...words], { encoding: "utf8" }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    );
  });

test("a call to a stopped server ends in time and says what did not answer", { timeout: 120_000 }, async (t) => {
  const { process: server, socket } = await startServerProcess(t);
  const client = serverClient(socket);
  assert.equal((await client.getStatus({})).networks, 0);
  const absent = join(socket, "..", "absent.sock");
  // What one says is shown, though the other is not there.
  const half = await status(["--server", socket, "--agent", absent]);
  assert.match(half.stdout, /^SERVER +running$/m);
  assert.match(half.stderr, /^weft: .*connect to the agent at .*absent\.sock: no such socket\n {2}try: /);
  assert.equal(half.code, 1);
  server.kill("SIGSTOP");
  await assert.rejects(client.list({}, { timeoutMs: 300 }), (error: unknown) => {
    assert.ok(error instanceof WeftError);
    assert.equal(error.code, "unavailable");
    assert.match(error.message, /^List: connect to the server at .*server\.sock: no answer within 300 ms$/);
    assert.match(error.hint ?? "", /stopped/);
    return true;
  });
  const stuck = await status(["--server", socket]);
  assert.match(
    stuck.stderr,
    /^weft: GetStatus: connect to the server at .*server\.sock: no answer within 10 s\n {2}try: /,
  );
  assert.equal(stuck.code, 1);
});
