/**
 * How long it takes to program remote endpoints into an empty network: for each a neighbour, and one FDB message that
 * fills the tunnel's and the bridge's table. The library against `bridge -batch` and `ip -batch`, and against a C
 * program that sends the very messages that the library makes.
 *
 *     scripts/node.sh bench/netlink-programming.ts [--endpoints 100000] [--rounds 3]
 */
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { namedNamespacePath } from "../src/linux/index.ts";
import { NetlinkSocket, type Request, replaceFdbEntry, replaceNeighbour } from "../src/netlink/index.ts";
import { beginMessage, endMessage, NLM_F_REQUEST } from "../src/netlink/message.ts";
import { MessageWriter } from "../src/netlink/writer.ts";
import { makeTemporaryDirectory } from "../src/testing/temporary-directory.ts";
import {
  type Destination,
  fdbEntryOf,
  median,
  neighbourOf,
  networkScene,
  remoteEndpoints,
  type Scene,
  table,
} from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { endpoints: { type: "string", default: "100000" }, rounds: { type: "string", default: "3" } },
});
const count = Number(options.endpoints);
const rounds = Number(options.rounds);
const endpoints = remoteEndpoints(count);

function* requestsFor(scene: Scene, destination: Destination): Generator<Request> {
  for (const endpoint of endpoints) {
    yield replaceNeighbour(neighbourOf(endpoint, scene));
    yield replaceFdbEntry(fdbEntryOf(endpoint, scene, destination));
  }
}

/** Each returns the seconds that programming took; what can be made ready before is not counted. */
const variants: Readonly<Record<string, (scene: Scene, destination: Destination) => Promise<number>>> = {
  library: async (scene, destination) => {
    using socket = new NetlinkSocket({ namespace: scene.tenant.namespace });
    const start = performance.now();
    const { done, failures } = await socket.batch(requestsFor(scene, destination));
    const seconds = (performance.now() - start) / 1000;
    if (failures[0] !== undefined) throw failures[0].error;
    if (done !== 2 * count) throw new Error(`${done} of ${2 * count} requests were carried out`);
    return seconds;
  },
  "bridge -batch, ip -batch": async (scene, destination) => {
    const fdbFile = join(directory, "fdb");
    const neighbourFile = join(directory, "neighbours");
    const place = (endpoint: (typeof endpoints)[number]): string =>
      destination === "vtep" ? `dst ${endpoint.vtep}` : `nhid ${endpoint.nexthop}`;
    writeFileSync(
      fdbFile,
      endpoints
        .map((endpoint) => `fdb replace ${endpoint.mac} dev vx100 ${place(endpoint)} self master extern_learn\n`)
        .join(""),
    );
    writeFileSync(
      neighbourFile,
      endpoints
        .map((endpoint) => `neighbour replace ${endpoint.ip} lladdr ${endpoint.mac} dev br100 nud permanent\n`)
        .join(""),
    );
    const start = performance.now();
    scene.tenant.shell(`ip -batch ${neighbourFile}; bridge -batch ${fdbFile}`);
    return (performance.now() - start) / 1000;
  },
};

/** The messages of the library, compiled into a file for the C program. */
async function floor(program: string, scene: Scene, destination: Destination): Promise<number> {
  const writer = new MessageWriter();
  let sequence = 0;
  for (const request of requestsFor(scene, destination)) {
    const start = beginMessage(writer, request.type, request.flags | NLM_F_REQUEST, ++sequence);
    request.write(writer);
    endMessage(writer, start);
  }
  const file = join(directory, "messages");
  writeFileSync(file, writer.written());
  return Number(execFileSync(program, [namedNamespacePath(scene.tenant.name), file], { encoding: "utf8" }));
}

/** `undefined` where there is no C compiler. */
function compileFloor(): string | undefined {
  const program = join(directory, "netlink-floor");
  try {
    execFileSync("cc", ["-O2", "-o", program, join(import.meta.dirname, "netlink-floor.c")]);
    return program;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return undefined;
  }
}

/** That the kernel holds what was programmed: all neighbours, and both tables' entry of the last endpoint. */
function verify(scene: Scene, destination: Destination): void {
  const neighbours = scene.tenant.shell("ip neighbour show dev br100 nud permanent | wc -l").trim();
  const last = endpoints[count - 1];
  const entries = scene.tenant.shell(
    `bridge fdb get ${last?.mac} dev vx100 self; bridge fdb get ${last?.mac} dev vx100 master`,
  );
  const place = destination === "vtep" ? `dst ${last?.vtep}` : `nhid ${last?.nexthop}`;
  if (neighbours !== String(count) || !entries.includes(place) || !entries.includes("master br100"))
    throw new Error(`the kernel holds ${neighbours} of ${count} neighbours, and of the last endpoint:\n${entries}`);
}

const directory = makeTemporaryDirectory();
try {
  const floorProgram = compileFloor();
  const runs = { ...variants };
  if (floorProgram === undefined) console.log("no C compiler (cc): measured without the floor");
  else runs["C, ready-made messages"] = (scene, destination) => floor(floorProgram, scene, destination);
  const results = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++)
    for (const destination of ["vtep", "nexthop"] as const)
      for (const [name, run] of Object.entries(runs)) {
        using scene = await networkScene();
        const seconds = await run(scene, destination);
        verify(scene, destination);
        const key = `${destination}: ${name}`;
        results.set(key, [...(results.get(key) ?? []), seconds]);
      }
  const rows = [["variant", "seconds", "endpoints/s", "to ip+bridge", "to C"]];
  for (const destination of ["vtep", "nexthop"] as const)
    for (const name of Object.keys(runs)) {
      const seconds = median(results.get(`${destination}: ${name}`) ?? []);
      const peer = median(results.get(`${destination}: bridge -batch, ip -batch`) ?? []);
      const least = median(results.get(`${destination}: C, ready-made messages`) ?? []);
      rows.push([
        `${destination}: ${name}`,
        seconds.toFixed(3),
        Math.round(count / seconds).toString(),
        `${(peer / seconds).toFixed(2)} x`,
        Number.isNaN(least) ? "-" : `${(least / seconds).toFixed(2)} x`,
      ]);
    }
  console.log(`${count} remote endpoints, ${2 * count} messages, median of ${rounds} rounds`);
  console.log(table(rows));
} finally {
  rmSync(directory, { recursive: true });
}
