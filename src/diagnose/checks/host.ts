import { readFileSync, statfsSync } from "node:fs";
import type { Check } from "../subject.ts";

/** Octets that the agent's disk needs for what it writes next. */
const neededRoom = 4 * 1024 * 1024;

const diskCheck: Check = {
  name: "room for the agent's data",
  *run({ dataDirectory }) {
    const { bavail, bsize, files, ffree } = statfsSync(dataDirectory);
    const room = bavail * bsize;
    const hasNoFiles = files > 0 && ffree === 0;
    if (room >= neededRoom && !hasNoFiles) return;
    yield {
      code: "disk-full",
      object: { kind: "file system", key: dataDirectory },
      expected: `${neededRoom / 1024 / 1024} MiB at least, and files that can be made`,
      found: hasNoFiles ? "no file can be made any more: it has no inodes left" : `${Math.floor(room / 1024)} KiB`,
      cure: `make room: du -xh --max-depth=2 on the file system of ${dataDirectory}`,
    };
  },
};

/** Of the periods in which the agent's control group ran, the part in which it was held back from which on it is told. */
const throttledShare = 0.25;
/** How long it is watched, in milliseconds. */
const watched = 500;

const processorCheck: Check = {
  name: "the processors that the agent gets",
  async *run() {
    const before = readThrottling();
    if (before === undefined) return;
    await new Promise((resolve) => setTimeout(resolve, watched));
    const after = readThrottling() ?? before;
    const periods = after.periods - before.periods;
    const throttled = after.throttled - before.throttled;
    if (periods === 0 || throttled / periods < throttledShare) return;
    yield {
      code: "cpu-starved",
      object: { kind: "agent" },
      expected: "it runs when it has work",
      found: `its control group was held back in ${throttled} of ${periods} periods of ${watched} ms`,
    };
  },
};

/** Of this process's control group, of either version; `undefined`: it is limited by none. */
function readThrottling(): { readonly periods: number; readonly throttled: number } | undefined {
  for (const line of readFileSync("/proc/self/cgroup", "utf8").trim().split("\n")) {
    const [, controllers = "", path = ""] = line.split(":");
    const file =
      controllers === ""
        ? `/sys/fs/cgroup${path}/cpu.stat`
        : controllers.split(",").includes("cpu")
          ? `/sys/fs/cgroup/cpu${path}/cpu.stat`
          : undefined;
    if (file === undefined) continue;
    try {
      const text = readFileSync(file, "utf8");
      const of = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
      return { periods: of("nr_periods"), throttled: of("nr_throttled") };
    } catch {
      // A version of control groups that this machine has not mounted there.
    }
  }
  return undefined;
}

export const hostChecks: readonly Check[] = [diskCheck, processorCheck];
