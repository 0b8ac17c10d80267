/**
 * Runs benchmarks one after the other, each in a process of its own. See docs/performance.md for what they measure.
 *
 *     npm run bench                    all of them
 *     npm run bench attach-latency     one
 */
import { spawnSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";

/** Their names are their files'. */
const benches: Readonly<Record<string, string>> = {
  "netlink-programming": "100,000 remote endpoints into an empty network; beside ip and bridge -batch, and C",
  "netlink-resync": "100,000 remote endpoints read back; beside ip and bridge",
  "attach-latency": "how soon other hosts can reach a new container; beside ip and bridge by hand",
  "cni-add":
    "ADD of the CNI plugin, with 500 containers present as well, beside bridge and host-local; DEL without server and agent; takes minutes",
  "attach-beside": "the same while another tenant's network of 100,000 endpoints comes; takes two minutes",
  "layer3-size": "rows of 5,000 nodes with 60 endpoints each, routed by blocks and as one flat network",
  "many-networks": "creating 100,000 networks, one more beside them, a restart, and the server's memory",
  "server-start":
    "starting the server with 1,000,000 networks in its store, and what more cost beside them; takes minutes",
  "routed-networks": "100 networks routed with each other on 100 nodes, at the server, and a node's first container",
  "networks-on-node": "500 networks of 10 tenants into one kernel, and out of it; beside ip and bridge -batch",
  migration: "how long an endpoint is silent that moves to another node; beside detach and attach; takes three minutes",
  evacuation: "1,000 endpoints of a node move to ten others under traffic; takes three minutes",
  bandwidth: "rates beside the limits that were asked for, TCP and UDP; takes five minutes",
  datapath: "what protection, policy and bandwidth cost packets; beside the plain path; takes five minutes",
  "beside-swarm":
    "how soon a new container of Docker is reached, throughput and latency; beside an overlay network of Swarm; takes two minutes",
  "policy-change": "how soon a policy of 10,000 endpoints, or rules, is in a node's kernel",
  doctor: "what weft doctor takes on a node with 100,000 endpoints elsewhere; takes two minutes",
  "agent-memory": "memory and time of agents and server with 100,000 endpoints; takes two minutes",
};

const list = Object.entries(benches)
  .map(([name, description]) => `  ${name.padEnd(21)}${description}`)
  .join("\n");
const usage = `usage: npm run bench [NAME...]\n\nWithout names all run, in this order:\n\n${list}\n`;

const names = process.argv.slice(2);
const unknown = names.filter((name) => !Object.hasOwn(benches, name));
if (names.includes("--help") || names.includes("-h")) process.stdout.write(usage);
else if (unknown.length > 0) {
  process.stderr.write(`bench: no such benchmark: ${unknown.join(", ")}\n\n${usage}`);
  process.exitCode = 2;
} else if (process.getuid?.() !== 0) {
  process.stderr.write("bench: network namespaces take root: run it as root\n");
  process.exitCode = 1;
} else process.exitCode = runAll(names.length > 0 ? names : Object.keys(benches));

/** The exit status: 1 when one of them failed; the others run all the same. */
function runAll(chosen: readonly string[]): number {
  const [processor] = cpus();
  const memory = (totalmem() / 1e9).toFixed(0);
  const [load = 0] = loadavg();
  console.log(`Linux ${release()}, ${cpus().length} x ${processor?.model.trim() ?? "unknown processor"}, ${memory} GB`);
  console.log(`Node.js ${process.version}, load before: ${load.toFixed(2)}`);
  let failed = 0;
  for (const name of chosen) {
    console.log(`\n== ${name}: ${benches[name]}`);
    const { status } = spawnSync(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, `${name}.ts`)],
      { stdio: "inherit" },
    );
    if (status !== 0) failed++;
  }
  if (failed > 0) process.stderr.write(`bench: ${failed} of ${chosen.length} failed\n`);
  return failed > 0 ? 1 : 0;
}
