/**
 * What a large network costs: memory of an agent and of the server while endpoints of another node come, how soon the
 * kernel has them, what a restart takes when nothing changed, and how long a node needs that hosts the network late.
 *
 *     scripts/node.sh bench/agent-memory.ts [--endpoints 100000] [--parallel 64]
 *
 * The lab's real server and agents do it all. The endpoints are claimed over the node API in the name of a node whose
 * agent is stopped, so that nothing but the claims is at work there.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { namespaceName } from "../src/dataplane/kernel-names.ts";
import { Lab } from "../src/lab/lab.ts";
import { pause } from "../src/lab/process.ts";
import { NetworkNamespace } from "../src/linux/index.ts";
import { listFdbEntries, listNeighbours, NetlinkSocket, neighbourFlag } from "../src/netlink/index.ts";
import { claim } from "../src/testing/claims.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { endpoints: { type: "string", default: "100000" }, parallel: { type: "string", default: "64" } },
});
const count = Number(options.endpoints);
const parallel = Number(options.parallel);
const tenant = "bench";
const network = "large";
/** After work has ended, until the memory is read: what a garbage collector does by itself, it may have done by then. */
const settling = 15_000;

/** Megabytes of 10^6 octets. proc(5): `VmRSS` and `VmHWM` of /proc/PID/status, and `RssAnon`, which is shared with nobody. */
interface Memory {
  readonly resident: number;
  readonly own: number;
  readonly peak: number;
}

function memoryOf(lab: Lab, name: string): Memory {
  const pid = lab.processes.find((each) => each.name === name)?.pid;
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (key: string): number =>
    (Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024) / 1e6;
  return { resident: field("VmRSS"), own: field("RssAnon"), peak: field("VmHWM") };
}

const memoryRows: string[][] = [["process", "state", "RSS MB", "of it own MB", "peak MB"]];

function recordMemory(lab: Lab, names: readonly string[], state: string): void {
  for (const name of names) {
    const { resident, own, peak } = memoryOf(lab, name);
    memoryRows.push([
      name === "server" ? name : `agent of ${name}`,
      state,
      resident.toFixed(0),
      own.toFixed(0),
      peak.toFixed(0),
    ]);
  }
}

async function untilInSync(lab: Lab, host: string, remotes: number): Promise<void> {
  for (;;) {
    const { networks, inSync, serverState } = await lab.agent(host).getStatus({});
    if (inSync && serverState === "connected" && networks[0]?.remoteEndpoints === remotes) return;
    await pause(10);
  }
}

/** That the kernel itself has a neighbour and both FDB entries of each endpoint. */
async function verify(lab: Lab, host: string, remotes: number): Promise<void> {
  using namespace = NetworkNamespace.openNamed(namespaceName(lab.names.instance(host), tenant));
  using socket = new NetlinkSocket({ namespace });
  const isOurs = (entry: { readonly flags: number }): boolean => (entry.flags & neighbourFlag.externallyLearned) !== 0;
  const neighbours = (await socket.dump(listNeighbours())).filter(isOurs).length;
  const entries = (await socket.dump(listFdbEntries())).filter(isOurs).length;
  if (neighbours < remotes || entries < 2 * remotes)
    throw new Error(
      `the kernel of ${host} holds ${neighbours} neighbours and ${entries} FDB entries of ${remotes} endpoints`,
    );
}

const lab = await Lab.up({ name: `b${process.pid}`, hosts: 3 });
try {
  await lab.admin.create({
    resources: [
      { resource: { case: "tenant", value: { name: tenant } } },
      { resource: { case: "network", value: { name: network, tenant, vni: 100, subnets: ["10.0.0.0/12"] } } },
    ],
  });
  lab.addContainer("c1");
  lab.addContainer("c3");
  await lab.attach("c1", "h1", network);
  await lab.stop("h2");
  await pause(settling);
  recordMemory(lab, ["h1", "server"], "0 endpoints");

  const times: string[][] = [["what", "seconds", "endpoints/s"]];
  const recordTime = (what: string, milliseconds: number, endpoints: number): void => {
    const seconds = milliseconds / 1000;
    times.push([what, seconds.toFixed(2), Math.round(endpoints / seconds).toString()]);
  };

  let before = 0;
  for (const wanted of new Set([Math.min(10_000, count), count])) {
    const range = `${before} to ${wanted} endpoints`;
    const start = performance.now();
    recordTime(
      `${range}: claimed at the server, ${parallel} calls at a time`,
      await claim(lab, { host: "h2", network, first: before + 1, last: wanted, parallel }),
      wanted - before,
    );
    await untilInSync(lab, "h1", wanted);
    recordTime(`${range}: all in the kernel of h1`, performance.now() - start, wanted - before);
    await pause(settling);
    recordMemory(lab, ["h1", "server"], `${wanted} endpoints`);
    before = wanted;
  }
  await verify(lab, "h1", count);

  await lab.stop("h1");
  const restart = performance.now();
  await lab.startAgent("h1");
  await untilInSync(lab, "h1", count);
  recordTime("restart of the agent of h1 until in sync, nothing to change", performance.now() - restart, count);
  const { netlinkWrites } = await lab.agent("h1").getStatus({});
  await pause(settling);
  recordMemory(lab, ["h1"], "after the restart");

  const late = performance.now();
  await lab.attach("c3", "h3", network);
  await untilInSync(lab, "h3", count + 1);
  recordTime("first container on h3 until all endpoints are in its kernel", performance.now() - late, count);
  await verify(lab, "h3", count);
  await pause(settling);
  recordMemory(lab, ["h3", "server"], "all endpoints at once");

  console.log(`one network with ${count} endpoints of another node`);
  console.log(table(memoryRows));
  console.log();
  console.log(table(times));
  console.log(`messages that the restarted agent wrote to the kernel: ${netlinkWrites}`);
} finally {
  await lab.down();
}
