import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { WeftError } from "../../base/errors.ts";
import { controlGroup, processorHierarchy, removeControlGroup } from "../outside.ts";
import { pause } from "../process.ts";
import type { Bench } from "./bench.ts";
import type { Fault } from "./fault.ts";
import { addFilter, removeFilter } from "./filters.ts";

const isCutOff = async (bench: Bench): Promise<boolean> => !(await bench.pings("blue1", "10.0.0.2"));

/** Microseconds: a thousandth of one processor. */
const quota = 1_000;
const period = 1_000_000;

const cpuStarved: Fault = {
  name: "cpu-starved",
  group: "load",
  title: "the agent of h2 gets a thousandth of one processor",
  needs: ["control group"],
  expected: [{ code: "cpu-starved", host: "h2", object: "agent" }],
  async break(bench) {
    const { group, version } = groupOf(bench);
    mkdirSync(group, { recursive: true });
    if (version === 2) writeFileSync(`${group}/cpu.max`, `${quota} ${period}`);
    else {
      writeFileSync(`${group}/cpu.cfs_period_us`, `${period}`);
      writeFileSync(`${group}/cpu.cfs_quota_us`, `${quota}`);
    }
    writeFileSync(`${group}/cgroup.procs`, `${agentProcess(bench)}`);
  },
  async mend(bench) {
    const { root, group, version } = groupOf(bench);
    if (!existsSync(group)) return;
    if (version === 2) writeFileSync(`${group}/cpu.max`, "max");
    else writeFileSync(`${group}/cpu.cfs_quota_us`, "-1");
    const pid = agentProcess(bench);
    if (pid !== undefined) writeFileSync(`${root}/cgroup.procs`, `${pid}`);
    removeControlGroup(group);
  },
  /** Twenty questions that cost milliseconds. */
  async symptom({ lab }) {
    const agent = lab.agent("h2");
    const questions = Array.from({ length: 20 }, () => agent.getStatus({}, { timeoutMs: 5_000 }));
    return (await Promise.allSettled(questions)).some(({ status }) => status === "rejected");
  },
};

function agentProcess({ lab }: Bench): number | undefined {
  return lab.processes.find(({ name, running }) => name === "h2" && running)?.pid;
}

function groupOf({ lab }: Bench): { readonly root: string; readonly group: string; readonly version: 1 | 2 } {
  const hierarchy = processorHierarchy();
  if (hierarchy === undefined) throw new TypeError("needs are looked at before");
  return { ...hierarchy, group: controlGroup(lab.names, hierarchy.root, "h2") };
}

/** Of UDP, answered, so that the kernel gives none up for a new one, and for a day. */
const connections = (count: number): string => `awk 'BEGIN {
  for (i = 0; i < ${count}; i++)
    printf "-A -p udp -s 203.0.113.%d -d 198.51.100.1 --sport %d --dport 53 -t 86400 -u SEEN_REPLY,ASSURED\\n", i / 60000, 1024 + i % 60000
}' | conntrack -R - >/dev/null 2>&1 || :`;

const conntrackFull: Fault = {
  name: "conntrack-full",
  group: "load",
  title: "h2 has a stateful firewall, and its table of connections is full",
  needs: ["conntrack"],
  expected: [{ code: "conntrack-full", host: "h2", object: "nf_conntrack" }],
  async break(bench) {
    const most = Number(await bench.sh("h2", "sysctl -n net.netfilter.nf_conntrack_max"));
    await bench.sh("h2", connections(most));
    const count = Number(await bench.sh("h2", "sysctl -n net.netfilter.nf_conntrack_count"));
    if (count < most)
      throw new WeftError({
        code: "failed-precondition",
        attempted: "fill the table of connections of h2",
        reason: `it holds ${count} of ${most}`,
        hint: "mend it with: weft lab mend",
      });
    await addFilter(bench, "h2", "input", "ct state established,related accept; ct state invalid drop");
  },
  async mend(bench) {
    await removeFilter(bench, "h2");
    await bench.sh("h2", "conntrack -F 2>/dev/null || :");
  },
  symptom: isCutOff,
};

const scanner = "scanner";
/** How often it is looked whether the table is full. */
const mostLooks = 60;
/**
 * Sends to more addresses of a link than the kernel has room for, again and again, as whoever looks for hosts does. By many
 * sockets, for packets that wait for an answer to ARP fill the room of theirs.
 */
const scan = `
const { createSocket } = require("node:dgram");
const sockets = Array.from({ length: 30 }, () => createSocket("udp4").on("error", () => {}));
const round = () => {
  let open = 3000;
  const done = () => --open === 0 && setTimeout(round, 500);
  for (let host = 0; host < 3000; host++)
    sockets[host % 30].send("x", 9, "100.64." + (1 + (host >> 8)) + "." + (host & 255), done);
};
round();`;

const neighbourTableFull: Fault = {
  name: "neighbour-table-full",
  group: "load",
  title: "a scan on h1 has filled the kernel's table of neighbours",
  needs: ["a kernel of its own"],
  expected: [{ code: "neighbour-table-full", host: "h1", object: "net.ipv4.neigh.default.gc_thresh3" }],
  async break(bench) {
    await bench.sh("h1", "ip address add 100.64.0.1/16 dev eth0");
    // A slow kernel would give up the first address before the scan has come to the last one.
    await bench.setSysctls("h1", { "net.ipv4.neigh.eth0.retrans_time_ms": 60_000 });
    bench.lab.startProgram(scanner, "h1", process.execPath, ["-e", scan]);
    for (let looks = 0; looks < mostLooks; looks++) {
      if (await isCutOffAnew(bench)) return;
      await pause(500);
    }
    throw new WeftError({
      code: "failed-precondition",
      attempted: "fill the kernel's table of neighbours",
      reason: `there is room in it still: ${await bench.sh("h1", "ip neighbour show dev eth0 | wc -l")}`,
      hint: "mend it with: weft lab mend",
    });
  },
  async mend(bench) {
    await bench.lab.endProgram(scanner);
    await bench.sh("h1", "ip address del 100.64.0.1/16 dev eth0 2>/dev/null || :; ip neighbour flush dev eth0");
    await bench.restoreSysctls();
  },
  symptom: isCutOffAnew,
};

/** h1 has to look for h2 anew, as it does from time to time. */
async function isCutOffAnew(bench: Bench): Promise<boolean> {
  await bench.sh("h1", "ip neighbour flush to 192.0.2.2 dev eth0");
  return isCutOff(bench);
}

export const loadFaults: readonly Fault[] = [cpuStarved, conntrackFull, neighbourTableFull];
