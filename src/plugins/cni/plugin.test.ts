import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import { pluginProgram } from "./program.ts";
import { parseRequest } from "./request.ts";
import { parseAgentSocket } from "./texts.ts";
import { supportedVersions } from "./version.ts";

const hasCompiler = (process.env.PATH ?? "").split(":").some((path) => existsSync(join(path, "ld.lld-14")));
// The script installs it, which takes root.
const skip = !hasCompiler && process.getuid?.() !== 0 && "there is no clang-14 with lld-14, and no root to install it";

test("the plugins that are shipped are what their source compiles to", { skip }, (t) => {
  const again = temporaryDirectory(t);
  execFileSync(join(import.meta.dirname, "../../../scripts/plugin.sh"), [again]);
  assert.deepEqual(readdirSync(again).sort(), ["plugin-arm64", "plugin-x64"]);
  for (const name of readdirSync(again))
    assert.ok(
      readFileSync(join(again, name)).equals(readFileSync(join(import.meta.dirname, name))),
      `${name}: run scripts/plugin.sh`,
    );
});

test("a processor that there is no plugin for is refused", () => {
  assert.throws(() => pluginProgram("mips"), /there is none for mips/);
});

const program = pluginProgram(process.arch);
const variables = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "a", OTHER: "secret" };

interface Ended {
  readonly status: number | null;
  readonly output: string;
}

async function run(input: string | Buffer, env: Record<string, string> = variables): Promise<Ended> {
  const child = spawn(program, [], { env, stdio: ["pipe", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  await once(child, "close");
  return { status: child.exitCode, output };
}

/** What listens in place of the agent, and a configuration that leads there. */
async function agent(
  t: TestContext,
  answer: RequestListener,
): Promise<{ readonly configuration: string; readonly server: Server; readonly folder: string }> {
  const folder = temporaryDirectory(t);
  const socket = join(folder, "agent.sock");
  const server = createServer(answer).listen(socket);
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { server, folder, configuration: `{"cniVersion":"1.0.0","agentSocket":"${socket}"}` };
}

test("the agent gets the variables of CNI and standard input, and its answer is printed", async (t) => {
  const bodies: Buffer[] = [];
  const { configuration } = await agent(t, async (request, response) => {
    bodies.push(Buffer.concat(await request.toArray()));
    response.writeHead(200, { "content-length": 3 }).end("{}\n");
  });
  assert.deepEqual(await run(configuration), { status: 0, output: "{}\n" });
  assert.deepEqual(bodies.map(parseRequest), [
    { environment: { CNI_COMMAND: "ADD", CNI_CONTAINERID: "a" }, configuration },
  ]);
});

test("an answer of any other status is printed, and the exit status is 1", async (t) => {
  const { configuration } = await agent(t, (_, response) => response.writeHead(500, { "content-length": 2 }).end("{}"));
  assert.deepEqual(await run(configuration), { status: 1, output: "{}" });
});

test("an answer that is cut short is none", async (t) => {
  const { configuration } = await agent(t, (_, response) => {
    response.writeHead(200, { "content-length": 10 }).write("{}", () => response.destroy());
  });
  const { status, output } = await run(configuration);
  assert.equal(status, 1);
  assert.equal(JSON.parse(output).code, 11);
});

test("without an agent each operation has its code, in the version that was asked in", async (t) => {
  const folder = temporaryDirectory(t);
  for (const [command, code] of [
    ["ADD", 11],
    ["CHECK", 11],
    ["GC", 11],
    ["STATUS", 50],
  ] as const) {
    const { status, output } = await run(`{"cniVersion":"0.4.0","agentSocket":"${folder}/x"}`, {
      CNI_COMMAND: command,
    });
    assert.equal(status, 1);
    const { cniVersion, code: told } = JSON.parse(output);
    assert.deepEqual([cniVersion, told], ["0.4.0", code]);
  }
});

test("a DEL that no agent hears is written down whole, and is no failure; but one that can be written nowhere is", async (t) => {
  const folder = temporaryDirectory(t);
  const configuration = `{"agentSocket":"${folder}/run/agent.sock"}`;
  const env = { CNI_COMMAND: "DEL", CNI_CONTAINERID: "a" };
  assert.deepEqual(await run(configuration, env), { status: 0, output: "" });
  const [name = "", ...others] = readdirSync(join(folder, "run/cni-deleted"));
  assert.deepEqual(others, []);
  assert.match(name, /^[0-9a-f]{16}$/);
  assert.deepEqual(parseRequest(readFileSync(join(folder, "run/cni-deleted", name))), {
    environment: env,
    configuration,
  });
  writeFileSync(join(folder, "file"), "");
  const { status, output } = await run(`{"agentSocket":"${folder}/file/agent.sock"}`, env);
  assert.equal(status, 1);
  assert.equal(JSON.parse(output).code, 11);
});

/** An agent that hangs up on the first call and answers those after it so. */
async function agentThatStarts(t: TestContext, answer: RequestListener): ReturnType<typeof agent> {
  let calls = 0;
  return agent(t, (request, response) => {
    if (calls++ === 0) request.socket.destroy();
    else answer(request, response);
  });
}

const del = { CNI_COMMAND: "DEL", CNI_CONTAINERID: "a" };

test("a DEL is written down also when the agent goes away while it is told", async (t) => {
  const { configuration, folder, server } = await agent(t, () => assert.fail("nothing arrives whole"));
  server.on("connection", (socket) => socket.destroy());
  // More than a socket takes that nobody reads from.
  assert.deepEqual(await run(configuration + " ".repeat(1 << 20), del), { status: 0, output: "" });
  assert.equal(readdirSync(join(folder, "cni-deleted")).length, 1);
});

test("a DEL that an agent answers which has started meanwhile is not written down, unless the answer is cut short", async (t) => {
  const whole = await agentThatStarts(t, (_, response) => response.writeHead(200, { "content-length": 0 }).end());
  assert.deepEqual(await run(whole.configuration, del), { status: 0, output: "" });
  assert.deepEqual(readdirSync(join(whole.folder, "cni-deleted")), []);
  const cut = await agentThatStarts(t, (request) => request.socket.destroy());
  assert.deepEqual(await run(cut.configuration, del), { status: 0, output: "" });
  assert.equal(readdirSync(join(cut.folder, "cni-deleted")).length, 1);
});

test("a DEL that can be written nowhere is asked for once more", async (t) => {
  const { configuration, folder } = await agentThatStarts(t, (_, response) =>
    response.writeHead(200, { "content-length": 0 }).end(),
  );
  writeFileSync(join(folder, "cni-deleted"), "");
  assert.deepEqual(await run(configuration, del), { status: 0, output: "" });
});

test("an agentSocket that cannot be used is code 7, and not another socket", async () => {
  for (const value of [
    "7",
    "null",
    '""',
    '"run/agent.sock"',
    '"/run/\\u0061.sock"',
    '"/run/\\"a"',
    '"/run/é.sock"',
    `"/${"x".repeat(107)}"`,
  ])
    for (const command of ["ADD", "DEL"]) {
      const { status, output } = await run(`{"cniVersion":"0.4.0","agentSocket":${value}}`, { CNI_COMMAND: command });
      assert.equal(status, 1, value);
      const { code, msg, details } = JSON.parse(output);
      assert.deepEqual([code, msg], [7, "agentSocket cannot be used"], value);
      const allowed = parseAgentSocket("");
      assert.ok(!allowed.ok);
      assert.equal(details, `allowed: ${allowed.error}`);
    }
});

test("VERSION says the versions that the agent speaks, whatever the configuration is", async () => {
  for (const [text, version] of [
    ['{"cniVersion":"0.3.1"}', "0.3.1"],
    ["", "1.1.0"],
    ['{"cniVersion":7}', "1.1.0"],
  ] as const) {
    const { status, output } = await run(text, { CNI_COMMAND: "VERSION" });
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(output), { cniVersion: version, supportedVersions: [...supportedVersions] });
  }
});

test("keys are found at the top alone, and texts that need escaping are not", async () => {
  for (const [text, version] of [
    ['{"a":{"cniVersion":"0.3.0"},"b":["cniVersion"],"c":"cniVersion","cniVersion" : \n "0.4.0"}', "0.4.0"],
    ['{"a":"\\"cniVersion\\":\\"0.3.0\\"","cniVersion":"0.4.0"}', "0.4.0"],
    ['{"cniVersion":"0.\\u0034.0"}', "1.1.0"],
    [`{"cniVersion":"${"1".repeat(32)}"}`, "1.1.0"],
    ['{"cniVersion":"0.4.0', "1.1.0"],
    ['{"cniVersion":', "1.1.0"],
    ['{"a\\', "1.1.0"],
  ] as const) {
    const { output } = await run(text, { CNI_COMMAND: "VERSION" });
    assert.equal(JSON.parse(output).cniVersion, version, text);
  }
});

test("what is too large is refused, and not cut", async () => {
  const { status, output } = await run(Buffer.alloc(5 << 20, " "));
  assert.equal(status, 1);
  assert.equal(JSON.parse(output).code, 6);
});

test("without any variable it says what it is", () => {
  const { status, stdout } = spawnSync(program, { env: {}, input: "" });
  assert.equal(status, 1);
  assert.match(`${stdout}`, /missing environment variables: CNI_COMMAND/);
});
