/**
 * Docker Engine on two hosts, with a network of weft's and with an overlay network of Docker Swarm's own: how soon a new container is
 * reached from the other engine after `docker run` has returned, and what TCP and pings between two containers make of it. In turn, the
 * same engines for both.
 *
 *     scripts/node.sh bench/beside-swarm.ts [--containers 20] [--rounds 3]
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs, promisify } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import { busyboxRoot } from "../test/interop/busybox.ts";
import { DockerEngine } from "../test/interop/docker-engine.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { containers: { type: "string", default: "20" }, rounds: { type: "string", default: "3" } },
});
const containers = Number(options.containers);
const rounds = Number(options.rounds);
const seconds = 3;
const pings = 2_000;
const run = promisify(execFile);

const ends: (() => unknown)[] = [];
const lab = await Lab.up({ name: `b${process.pid}`, hosts: 2 });
try {
  await lab.admin.create({ resources: [{ resource: { case: "tenant", value: { name: "bench" } } }] });
  // Swarm's own begin at 4096, on the same UDP port.
  const value = { name: "web", tenant: "bench", subnets: ["10.1.0.0/16"], vni: 700 };
  await lab.admin.create({ resources: [{ resource: { case: "network", value } }] });
  const folder = join(lab.names.directory, "docker");
  mkdirSync(folder, { recursive: true });
  const image = busyboxRoot(folder);
  const owner = { after: (action: () => unknown) => void ends.push(action) };
  const [one, two] = [new DockerEngine(owner, lab, "h1", folder), new DockerEngine(owner, lab, "h2", folder)];
  for (const engine of [one, two]) {
    await engine.install();
    await engine.start();
    await engine.docker("import", image, "busybox");
    await engine.create("weft", "web", "--subnet", "10.1.0.0/16");
  }
  await one.docker("swarm", "init", "--advertise-addr", "192.0.2.1");
  const token = await one.docker("swarm", "join-token", "-q", "manager");
  await two.docker("swarm", "join", "--token", token, "--advertise-addr", "192.0.2.2", "192.0.2.1:2377");
  await one.docker("network", "create", "-d", "overlay", "--attachable", "--subnet", "10.2.0.0/16", "swarm");

  const ways = ["weft", "swarm"] as const;
  const ip = (way: string, number: number): string => `10.${way === "weft" ? 1 : 2}.9.${number + 1}`;
  const results = new Map(
    ways.map((way) => [way, { reached: [] as number[], rates: [] as number[], rtts: [] as number[] }]),
  );
  const pids = new Map<string, string>();
  for (const way of ways) {
    await two.run(`asks-${way}`, way, "--ip", ip(way, 200));
    await one.run(`far-${way}`, way, "--ip", ip(way, 201));
    for (const [engine, name] of [
      [two, `asks-${way}`],
      [one, `far-${way}`],
    ] as const)
      pids.set(name, await engine.docker("inspect", "-f", "{{.State.Pid}}", name));
    // Whoever asks too early would ask again a second later.
    await inside(`asks-${way}`, "sysctl", "-q", "-w", "net.ipv4.neigh.eth0.retrans_time_ms=10");
    await reached(way, ip(way, 201));
    const server = spawn("nsenter", [`--net=/proc/${pids.get(`far-${way}`)}/ns/net`, "iperf3", "--server"], {
      stdio: "ignore",
    });
    ends.push(() => server.kill());
  }
  for (let number = 0; number < containers; number++)
    for (const way of ways) {
      const address = ip(way, number);
      await one.run(`new-${way}-${number}`, way, "--ip", address);
      results.get(way)?.reached.push(await reached(way, address));
      await one.docker("rm", "-f", `new-${way}-${number}`);
    }
  for (let round = 0; round < rounds; round++)
    for (const way of ways) {
      const far = ip(way, 201);
      const report = JSON.parse(
        await inside(`asks-${way}`, "iperf3", "--client", far, "--time", `${seconds}`, "--json"),
      );
      results.get(way)?.rates.push(report.end.sum_received.bits_per_second / 1e9);
      const said = await inside(`asks-${way}`, "ping", "-q", "-f", "-c", `${pings}`, far);
      results.get(way)?.rtts.push(Number(/rtt [^=]*= [\d.]+\/([\d.]+)/.exec(said)?.[1]) * 1000);
    }
  const rows = ways.map((way) => {
    const { reached = [], rates = [], rtts = [] } = results.get(way) ?? {};
    const [p50 = 0, , , max = 0] = quantiles(reached);
    return [way, p50.toFixed(0), max.toFixed(0), median(rates).toFixed(1), median(rtts).toFixed(0)];
  });
  console.log(table([["network", "reached after ms, p50", "max", "TCP Gbit/s", "there and back us"], ...rows]));

  /** Milliseconds from now until the address answers. */
  async function reached(way: string, address: string): Promise<number> {
    const began = performance.now();
    const words = [`--net=/proc/${pids.get(`asks-${way}`)}/ns/net`, "ping", "-n", "-i", "0.01", address];
    const asking = spawn("nsenter", words, { stdio: ["ignore", "pipe", "ignore"] });
    for await (const line of createInterface({ input: asking.stdout })) if (line.includes("bytes from")) break;
    const took = performance.now() - began;
    asking.kill();
    await once(asking, "exit");
    return took;
  }

  async function inside(name: string, ...words: readonly string[]): Promise<string> {
    const { stdout } = await run("nsenter", [`--net=/proc/${pids.get(name)}/ns/net`, ...words], { maxBuffer: 1e7 });
    return stdout;
  }
} finally {
  for (const end of ends.reverse()) await end();
  await lab.down();
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
