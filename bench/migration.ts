/**
 * How long an endpoint is silent when it moves to another node: one echo request each millisecond from a third node, and
 * the longest time between two answers in each move, with `weft migrate` and beside it with detach and attach, and while nothing moves.
 *
 *     scripts/node.sh bench/migration.ts [--moves 50]
 */
import { parseArgs } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import { type PingResult, ping } from "../src/lab/measure.ts";
import { namedNamespacePath } from "../src/linux/index.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({ options: { moves: { type: "string", default: "50" } } });
const moves = Number(options.moves);
const network = "web";
const endpoint = { ips: ["10.1.0.7"], mac: "02:00:5e:10:00:07" };
/** Requests in each move, which comes after a third of them. */
const requests = 1_500;

const lab = await Lab.up({ name: `b${process.pid}`, hosts: 3 });
try {
  await lab.admin.create({ resources: [{ resource: { case: "tenant", value: { name: "bench" } } }] });
  const value = { name: network, tenant: "bench", subnets: ["10.1.0.0/16"] };
  await lab.admin.create({ resources: [{ resource: { case: "network", value } }] });
  for (const name of ["a", "b", "c", "here", "there"]) lab.addContainer(name);
  await lab.attach("a", "h1", network);
  await lab.attach("b", "h2", network);
  await lab.attach("c", "h3", network);
  const { id } = await lab.attach("here", "h2", network, endpoint);
  await warm();

  const still: PingResult[] = [];
  for (let round = 0; round < 10; round++) still.push(await watch(async () => {}));

  const migrated: PingResult[] = [];
  const took: number[] = [];
  let at = "h2";
  for (let round = 0; round < moves; round++) {
    const to = at === "h2" ? "h3" : "h2";
    const netns = namedNamespacePath(lab.names.container(to === "h2" ? "here" : "there"));
    const place = { netns, interface: "eth0", device: "" };
    migrated.push(
      await watch(async () => {
        const began = performance.now();
        await lab.admin.migrateEndpoint({ endpoint: id, network, node: to, place });
        took.push(performance.now() - began);
      }),
    );
    at = to;
  }

  const moved: PingResult[] = [];
  for (let round = 0; round < Math.min(moves, 20); round++) {
    const to = at === "h2" ? "h3" : "h2";
    const container = (host: string): string => (host === "h2" ? "here" : "there");
    const from = at;
    moved.push(
      await watch(async () => {
        await lab.detach(container(from), from, network);
        await lab.attach(container(to), to, network, endpoint);
      }),
    );
    at = to;
  }

  console.log(
    table([
      ["", "moves", "requests", "not answered", "silence p50 ms", "p99 ms", "max ms"],
      row("nothing moves", still),
      row("weft migrate", migrated),
      row("detach and attach", moved),
    ]),
  );
  const [p50 = 0, , , max = 0] = quantiles(took);
  console.log(`weft migrate until the other node has it: p50 ${p50.toFixed(0)} ms, max ${max.toFixed(0)} ms`);
} finally {
  await lab.down();
}

/** Requests while something is done after a third of them. */
async function watch(action: () => Promise<void>): Promise<PingResult> {
  const traffic = ping(lab, "a", "10.1.0.7", { count: requests, interval: 1 });
  await new Promise((resolve) => setTimeout(resolve, requests / 3));
  await action();
  return traffic;
}

async function warm(): Promise<void> {
  for (let tries = 0; tries < 100; tries++)
    if ((await ping(lab, "a", "10.1.0.7", { count: 1, interval: 10 })).received === 1) return;
}

function row(name: string, results: readonly PingResult[]): string[] {
  const [p50, , p99, max] = quantiles(results.map(({ longestGap }) => longestGap));
  const sent = results.reduce((sum, result) => sum + result.sent, 0);
  const received = results.reduce((sum, result) => sum + result.received, 0);
  const text = (value = 0): string => value.toFixed(1);
  return [name, `${results.length}`, `${sent}`, `${sent - received}`, text(p50), text(p99), text(max)];
}
