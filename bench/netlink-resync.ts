/**
 * How long it takes to read back a large network that has not changed: all FDB entries and neighbours. The library
 * against `bridge -json fdb show` and `ip -json neighbour show`, whose output is read but not even parsed.
 *
 *     scripts/node.sh bench/netlink-resync.ts [--endpoints 100000] [--rounds 3]
 */
import { parseArgs } from "node:util";
import {
  listFdbEntries,
  listNeighbours,
  NetlinkSocket,
  replaceFdbEntry,
  replaceNeighbour,
} from "../src/netlink/index.ts";
import { fdbEntryOf, median, neighbourOf, networkScene, remoteEndpoints, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { endpoints: { type: "string", default: "100000" }, rounds: { type: "string", default: "3" } },
});
const count = Number(options.endpoints);
const rounds = Number(options.rounds);

using scene = await networkScene();
using socket = new NetlinkSocket({ namespace: scene.tenant.namespace });
const { failures } = await socket.batch(
  remoteEndpoints(count).flatMap((endpoint) => [
    replaceNeighbour(neighbourOf(endpoint, scene)),
    replaceFdbEntry(fdbEntryOf(endpoint, scene, "nexthop")),
  ]),
);
if (failures[0] !== undefined) throw failures[0].error;

/** Each returns how many objects it read. */
const variants: Readonly<Record<string, () => Promise<number>>> = {
  "FDB: library": async () => (await socket.dump(listFdbEntries({ index: scene.tunnel }))).length,
  "FDB: bridge -json": async () => scene.tenant.shell("bridge -json fdb show dev vx100").split('"mac"').length - 1,
  "neighbours: library": async () => (await socket.dump(listNeighbours({ index: scene.bridge }))).length,
  "neighbours: ip -json": async () =>
    scene.tenant.shell("ip -json neighbour show dev br100 nud permanent").split('"dst"').length - 1,
};

const results = new Map<string, { readonly wall: number; readonly own: number }[]>();
for (let round = 0; round < rounds; round++)
  for (const [name, run] of Object.entries(variants)) {
    const processor = process.cpuUsage();
    const start = performance.now();
    const objects = await run();
    const wall = (performance.now() - start) / 1000;
    const own = process.cpuUsage(processor).user / 1e6;
    const least = name.startsWith("FDB") ? 2 * count : count;
    if (objects < least) throw new Error(`${name} read ${objects} of ${least} objects`);
    results.set(name, [...(results.get(name) ?? []), { wall, own }]);
  }
const rows = [["variant", "seconds", "objects/s", "to iproute2", "user s in JavaScript"]];
for (const [name, runs] of results) {
  const seconds = median(runs.map(({ wall }) => wall));
  const [kind] = name.split(":");
  const peer = [...results].find(([other]) => other.startsWith(`${kind}:`) && other.includes("-json"));
  const peerSeconds = median((peer?.[1] ?? []).map(({ wall }) => wall));
  rows.push([
    name,
    seconds.toFixed(3),
    Math.round((kind === "FDB" ? 2 * count : count) / seconds).toString(),
    `${(peerSeconds / seconds).toFixed(2)} x`,
    name.includes("library") ? median(runs.map(({ own }) => own)).toFixed(3) : "-",
  ]);
}
console.log(`${count} remote endpoints: ${2 * count} FDB entries of tunnel and bridge, ${count} neighbours`);
console.log(`median of ${rounds} rounds`);
console.log(table(rows));
