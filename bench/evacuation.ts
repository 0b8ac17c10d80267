/**
 * All endpoints of a node move to others while some of them are talked to: how long it takes, what is lost, and what server and agents
 * do for it. Most are taps without a machine; twenty are containers with a namespace ready on the other node, each asked a
 * hundred times a second.
 *
 *     scripts/node.sh bench/evacuation.ts [--endpoints 1000] [--nodes 10]
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import { type PingResult, ping } from "../src/lab/measure.ts";
import { namedNamespacePath } from "../src/linux/index.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { endpoints: { type: "string", default: "1000" }, nodes: { type: "string", default: "10" } },
});
const count = Number(options.endpoints);
const nodeCount = Number(options.nodes);
const containers = 20;
const atOnce = 16;
const network = "web";

interface Mover {
  readonly id: string;
  readonly ip: string;
  /** A container's; absent: it has a tap. */
  readonly there?: string;
}

const lab = await Lab.up({ name: `b${process.pid}`, hosts: nodeCount + 2 });
const [from = "", observer = "", ...targets] = lab.hosts;
try {
  await lab.admin.create({ resources: [{ resource: { case: "tenant", value: { name: "bench" } } }] });
  const value = { name: network, tenant: "bench", subnets: ["10.1.0.0/16"] };
  await lab.admin.create({ resources: [{ resource: { case: "network", value } }] });
  lab.addContainer("asks");
  await lab.attach("asks", observer, network);
  // Each node has something in the network.
  for (const host of targets) {
    lab.addContainer(`own${host}`);
    await lab.attach(`own${host}`, host, network);
  }
  const movers: Mover[] = [];
  for (let number = 0; number < containers; number++) {
    lab.addContainer(`here${number}`);
    lab.addContainer(`there${number}`);
    const { id, ips } = await lab.attach(`here${number}`, from, network);
    movers.push({ id, ip: ips[0] ?? "", there: `there${number}` });
  }
  while (movers.length < count) {
    const { endpoint } = await lab
      .agent(from)
      .attach({ network, device: `vm${movers.length}`, tap: { multiQueue: false } });
    movers.push({ id: endpoint?.id ?? "", ip: endpoint?.ips[0] ?? "" });
  }
  // Containers among the taps.
  movers.sort((a, b) => (a.id < b.id ? -1 : 1));
  const asked = movers.filter(({ there }) => there !== undefined);
  for (const { ip } of asked) while ((await ping(lab, "asks", ip, { count: 1, interval: 10 })).received === 0);

  const before = new Map(lab.processes.map(({ name }) => [name, secondsOf(name)]));
  const traffic = asked.map(({ ip }) => ping(lab, "asks", ip, { count: Math.max(count * 6, 1_000), interval: 10 }));
  const began = performance.now();
  const took: number[] = [];
  const queue = movers.entries();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const [number, mover] of queue) took.push(await move(mover, targets[number % targets.length] ?? ""));
    }),
  );
  const total = performance.now() - began;
  const used = (name: string): number => secondsOf(name) - (before.get(name) ?? 0);
  const others = targets.map(used).sort((a, b) => b - a);
  const results = await Promise.all(traffic);

  const [p50 = 0, , p99 = 0, max = 0] = quantiles(took);
  console.log(
    table([
      ["", ""],
      [`${count} endpoints of one node to ${nodeCount} others, s`, (total / 1_000).toFixed(1)],
      ["one move, ms: p50, p99, max", [p50, p99, max].map((each) => each.toFixed(0)).join(", ")],
      ["requests to those that were asked, without answer", lossOf(results)],
      ["longest silence of one of them, ms", Math.max(...results.map(({ longestGap }) => longestGap)).toFixed(0)],
      ["processor time, s: server", used("server").toFixed(1)],
      ["  the node that was left", used(from).toFixed(1)],
      ["  the busiest of the others", (others[0] ?? 0).toFixed(1)],
      ["  a node that has nothing to do with it", used(observer).toFixed(1)],
    ]),
  );
} finally {
  await lab.down();
}

/** Milliseconds until the other node has it. */
async function move({ id, there }: Mover, node: string): Promise<number> {
  const began = performance.now();
  const netns = there === undefined ? "" : namedNamespacePath(lab.names.container(there));
  const place = there === undefined ? {} : { place: { netns, interface: "eth0", device: "" } };
  await lab.admin.migrateEndpoint({ endpoint: id, network, node, ...place });
  return performance.now() - began;
}

function lossOf(results: readonly PingResult[]): string {
  const sent = results.reduce((sum, result) => sum + result.sent, 0);
  return `${sent - results.reduce((sum, { received }) => sum + received, 0)} of ${sent}`;
}

/** Processor time that a process of the lab has used. proc(5): `utime` and `stime` of /proc/PID/stat, in hundredths. */
function secondsOf(name: string): number {
  const pid = lab.processes.find((each) => each.name === name)?.pid;
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
