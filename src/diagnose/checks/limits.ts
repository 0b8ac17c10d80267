import { readdirSync, readFileSync } from "node:fs";
import { listNeighbours } from "../../netlink/index.ts";
import type { Check } from "../subject.ts";

/** Parts of a limit from which on it is told. */
const nearly = 0.95;

/** The limit is one of the whole machine; what counts towards it here is what this namespace has. */
const neighbourCheck: Check = {
  name: "the kernel's neighbour tables",
  async *run({ kernel, socket }) {
    const neighbours = await socket.dump(listNeighbours());
    for (const family of [4, 6] as const) {
      const limit = Number(kernel.readMachineSysctl(`ipv${family}/neigh/default/gc_thresh3`) ?? 0);
      const count = neighbours.filter(({ ip }) => ip.includes(":") === (family === 6)).length;
      if (limit === 0 || count < limit * nearly) continue;
      yield {
        code: "neighbour-table-full",
        object: { kind: "neighbour table", key: `IPv${family}` },
        expected: `less than ${limit} entries (net.ipv${family}.neigh.default.gc_thresh3)`,
        found: `${count} entries of this host's links alone`,
        cure: `sysctl -w net.ipv${family}.neigh.default.gc_thresh3=${limit * 8}`,
      };
    }
  },
};

const trackingCheck: Check = {
  name: "the connection tracking table",
  *run({ host }) {
    const count = Number(host.readSysctl("netfilter/nf_conntrack_count") ?? 0);
    const limit = Number(host.readSysctl("netfilter/nf_conntrack_max") ?? 0);
    if (limit === 0 || count < limit * nearly) return;
    yield {
      code: "conntrack-full",
      object: { kind: "connection tracking table" },
      expected: `less than ${limit} connections (net.netfilter.nf_conntrack_max)`,
      found: `${count} connections`,
      cure: `sysctl -w net.netfilter.nf_conntrack_max=${limit * 4}`,
    };
  },
};

const fileCheck: Check = {
  name: "the agent's limit of open files",
  *run() {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const limit = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0);
    const count = readdirSync("/proc/self/fd").length;
    if (limit === 0 || count < limit * nearly) return;
    yield {
      code: "file-limit",
      object: { kind: "agent" },
      expected: `less than ${limit} open files`,
      found: `${count} open files`,
    };
  },
};

export const limitChecks: readonly Check[] = [neighbourCheck, trackingCheck, fileCheck];
