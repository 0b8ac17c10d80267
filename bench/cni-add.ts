/**
 * How long a container runtime waits for a network: ADD of weft's CNI plugin, and of the reference plugins `bridge` and `host-local`
 * of Debian's containernetworking-plugins, in turns on the same host of a lab. From the start of the plugin's process to
 * its end, one by one, 16 at once, and one by one while 500 containers are there. Then DEL of weft's with the server away, and with the
 * agent away as well: a container's end must wait for neither, which takes less than two seconds.
 *
 *     scripts/node.sh bench/cni-add.ts [--rounds 100] [--present 500]
 */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import { type NetworkNamespace, namedNamespacePath } from "../src/linux/index.ts";
import { pluginProgram } from "../src/plugins/cni/program.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { rounds: { type: "string", default: "100" }, present: { type: "string", default: "500" } },
});
const rounds = Number(options.rounds);
const present = Number(options.present);
const atOnce = 16;
/** Containers that go in each way while something is away. */
const gone = 20;
const folder = "/usr/lib/cni";
if (!existsSync(join(folder, "bridge"))) throw new Error("install containernetworking-plugins: npm run setup");

const lab = await Lab.up({ name: `b${process.pid}`, hosts: 2 });
try {
  await lab.admin.create({
    resources: [
      { resource: { case: "tenant", value: { name: "blue" } } },
      { resource: { case: "network", value: { name: "l2", tenant: "blue", vni: 100, subnets: ["10.1.0.0/16"] } } },
      {
        resource: {
          case: "network",
          value: { name: "l3", tenant: "blue", vni: 200, mode: "l3", subnets: ["10.2.0.0/16"], blockSize: 4096 },
        },
      },
    ],
  });
  using host = lab.namespace("h1");
  const common = { cniVersion: "1.0.0", agentSocket: lab.agentSocket("h1") };
  const range = { subnet: "10.9.0.0/16" };
  const ipam = { type: "host-local", dataDir: join(lab.names.directory, "host-local"), ranges: [[range]] };
  const kinds = {
    "weft, l2": { program: pluginProgram(process.arch), ...common, name: "l2", type: "weft", network: "l2" },
    "weft, l3": { program: pluginProgram(process.arch), ...common, name: "l3", type: "weft", network: "l3" },
    "bridge and host-local": {
      program: join(folder, "bridge"),
      ...common,
      name: "ref",
      type: "bridge",
      bridge: "cni0",
      ipam,
    },
  };
  type Kind = keyof typeof kinds;
  const names = Object.keys(kinds) as Kind[];
  const call = async (command: "ADD" | "DEL", kind: Kind, container: string): Promise<number> => {
    const { program, ...configuration } = kinds[kind];
    const start = performance.now();
    const child = spawnIn(host, program, {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: container,
      CNI_NETNS: namedNamespacePath(lab.names.container(container)),
      CNI_IFNAME: "eth0",
      CNI_PATH: folder,
    });
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk;
    });
    const closed = once(child, "close");
    child.stdin?.end(JSON.stringify(configuration));
    await closed;
    if (child.exitCode !== 0) throw new Error(`${command} by ${kind}: ${output}`);
    return performance.now() - start;
  };
  let next = 0;
  /** Containers come, and go when all of them have come; the milliseconds that each took to come. */
  const round = async (kind: Kind, count: number): Promise<number[]> => {
    const containers = Array.from({ length: count }, () => `c${next++}`);
    for (const container of containers) lab.addContainer(container);
    const times = await Promise.all(containers.map((container) => call("ADD", kind, container)));
    for (const container of containers) await call("DEL", kind, container);
    for (const container of containers) lab.removeContainer(container);
    return times;
  };
  const rows: string[][] = [["ADD, ms", "", "p50", "p90", "p99", "max"]];
  const measure = async (title: string, count: number): Promise<void> => {
    const times = new Map<Kind, number[]>(names.map((kind) => [kind, []]));
    // In turns, so that what else the machine does meets all of them alike.
    for (let number = 0; number < rounds / count; number++)
      for (const kind of names) times.get(kind)?.push(...(await round(kind, count)));
    for (const [kind, values] of times) rows.push([title, kind, ...quantilesText(values)]);
  };
  const kept = new Map<Kind, string[]>(names.map((kind) => [kind, []]));
  const keep = async (kind: Kind, count: number): Promise<void> => {
    for (let number = 0; number < count; number++) {
      const container = `p${next++}`;
      lab.addContainer(container);
      await call("ADD", kind, container);
      kept.get(kind)?.push(container);
    }
  };
  for (const kind of names) {
    // The bridge of the reference plugin stays when the last container leaves, and weft's network does not.
    await keep(kind, 1);
    for (let number = 0; number < 10; number++) await round(kind, 1);
  }
  await measure("one by one", 1);
  await measure(`${atOnce} at once`, atOnce);
  for (const kind of names) await keep(kind, present);
  await measure(`one by one, ${present} present`, 1);
  rows.push(["DEL, ms", "", "p50", "p90", "p99", "max"]);
  for (const away of ["server", "h1"]) {
    await lab.stop(away);
    for (const kind of ["weft, l2", "weft, l3"] as const) {
      const times: number[] = [];
      for (const container of kept.get(kind)?.splice(0, gone) ?? []) times.push(await call("DEL", kind, container));
      rows.push([away === "server" ? "server away" : "agent away, too", kind, ...quantilesText(times)]);
    }
  }
  console.log(table(rows));
} finally {
  await lab.down();
}

function quantilesText(times: readonly number[]): string[] {
  return quantiles(times).map((value) => value.toFixed(1));
}

function spawnIn(host: NetworkNamespace, program: string, env: Record<string, string | undefined>) {
  return host.spawn(program, [], { env, stdio: ["pipe", "pipe", "inherit"] });
}
