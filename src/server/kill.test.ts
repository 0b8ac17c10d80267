/**
 * The server is killed under write load, again and again: what it acknowledged is there when it is back, and
 * nothing that nobody asked for; a block has one owner, and its node's endpoints alone. `WEFT_KILL_CYCLES` says how often.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { connectNode, serverClient } from "../api/clients.ts";
import type { NodeService } from "../api/generated/weft/v1/node_pb.js";
import { joinServer } from "../api/join.ts";
import { cidrOf } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";

const cycles = Number(process.env.WEFT_KILL_CYCLES ?? 15);
/** Requests at a time of each of the two nodes. */
const concurrency = 8;
const program = `
  import { runServer } from ${JSON.stringify(import.meta.resolve("./main.ts"))};
  process.exitCode = await runServer(JSON.parse(process.argv[1]));
`;

async function start(listen: string, dataDir: string): Promise<{ process: ChildProcess; address: string }> {
  const server = spawn(
    process.execPath,
    ["--input-type=module", "--eval", program, JSON.stringify({ listen, dataDir, vtepPrefixes: ["192.0.2.0/24"] })],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const lines: string[] = [];
  for await (const line of createInterface({ input: server.stderr })) {
    lines.push(line);
    const entry = line.startsWith("{") ? JSON.parse(line) : {};
    if (entry.msg !== "server started") continue;
    server.stderr.resume();
    return { process: server, address: entry.address };
  }
  throw new Error(`the server did not start:\n${lines.join("\n")}`);
}

/** What is known of one endpoint: `there` and `gone` were acknowledged, `unknown`: the answer was lost. */
type Fate = { state: "there" | "gone" | "unknown"; place: string };

/** Creates and deletes endpoints until `stopped`. */
async function work(
  client: Client<typeof NodeService>,
  fates: Map<string, Fate>,
  stopped: () => boolean,
): Promise<void> {
  while (!stopped()) {
    const id = randomBytes(6).toString("hex");
    const fate: Fate = { state: "unknown", place: "" };
    fates.set(id, fate);
    try {
      const { endpoint } = await client.createEndpoint({ id, network: randomInt(2) === 0 ? "blue" : "routed" });
      fate.place = `${endpoint?.mac} ${endpoint?.ips}`;
      fate.state = "there";
      if (randomInt(3) > 0) continue;
      fate.state = "unknown";
      await client.deleteEndpoints({ ids: [id] });
      fate.state = "gone";
    } catch {
      return;
    }
  }
}

test(`${cycles} kills under write load lose nothing and invent nothing`, {
  timeout: 200_000 + cycles * 50_000,
}, async (t) => {
  const dataDir = temporaryDirectory(t);
  let server = await start("127.0.0.1:0", dataDir);
  t.after(() => server.process.kill("SIGKILL"));
  const url = `https://${server.address}`;
  const admin = serverClient(join(dataDir, "server.sock"));
  await admin.create({
    resources: [
      { resource: { case: "tenant", value: { name: "acme" } } },
      { resource: { case: "network", value: { name: "blue", tenant: "acme", subnets: ["10.0.0.0/12"] } } },
      {
        resource: {
          case: "network",
          value: { name: "routed", tenant: "acme", mode: "l3", subnets: ["10.64.0.0/12"], blockSize: 8 },
        },
      },
    ],
  });
  const clients: Client<typeof NodeService>[] = [];
  for (const number of [1, 2]) {
    const { token } = await admin.createToken({});
    const connection = connectNode({ url, credentials: await joinServer({ url, token, node: `h${number}` }) });
    t.after(() => connection.close());
    await connection.client.register({ vtepIpv4: `192.0.2.${number}`, underlayMtu: 1500 });
    clients.push(connection.client);
  }
  const fates = new Map<string, Fate>();
  const blockOwners = new Map<string, string>();
  for (let cycle = 0; cycle < cycles; cycle++) {
    const before = fates.size;
    let isStopped = false;
    const workers = clients.flatMap((client) =>
      Array.from({ length: concurrency }, () => work(client, fates, () => isStopped)),
    );
    await sleep(randomInt(30, 120));
    server.process.kill("SIGKILL");
    await once(server.process, "exit");
    isStopped = true;
    await Promise.all(workers);
    assert.ok(fates.size > before);

    server = await start(server.address, dataDir);
    const { resources } = await admin.list({ kind: "endpoint" });
    const there = new Map<string, string>();
    const { blocks } = await admin.list({ kind: "network", name: "routed" });
    for (const { cidr: prefix, node } of blocks) {
      assert.equal(blockOwners.get(prefix) ?? node, node, `block ${prefix} went to another node`);
      blockOwners.set(prefix, node);
    }
    assert.equal(blockOwners.size, blocks.length, "a block was lost");
    for (const { resource } of resources) {
      if (resource.case !== "endpoint") continue;
      const { id, network, node, mac, ips } = resource.value;
      there.set(id, `${mac} ${ips}`);
      if (network !== "routed") continue;
      const block = cidrOf(ip(ips[0] ?? ""), 29);
      assert.equal(blockOwners.get(block), node, `endpoint ${id} is in block ${block} of another node`);
    }
    assert.equal(new Set([...there.values()].map((place) => place.split(" ")[1])).size, there.size, "an address twice");
    for (const [id, place] of there) {
      const fate = fates.get(id);
      assert.ok(fate !== undefined, `endpoint ${id} was invented`);
      assert.notEqual(fate.state, "gone", `endpoint ${id} came back`);
      if (fate.place !== "") assert.equal(place, fate.place);
    }
    for (const [id, fate] of fates) {
      if (fate.state === "there") assert.ok(there.has(id), `endpoint ${id} was lost`);
      fate.state = there.has(id) ? "there" : "gone";
      fate.place = there.get(id) ?? "";
    }
  }
  t.diagnostic(
    `${fates.size} endpoints were asked for, ${[...fates.values()].filter(({ state }) => state === "there").length} remain; ${blockOwners.size} blocks`,
  );
});
