import { existsSync, readFileSync, statfsSync } from "node:fs";
import type { FindingDraft } from "../finding.ts";
import type { Check } from "../subject.ts";

/** Octets that the agent's disk needs for what it writes next. */
const neededRoom = 4 * 1024 * 1024;

const diskCheck: Check = {
  name: "room for the agent's data",
  run: ({ dataDirectory }) => fullDisk(dataDirectory),
};

/** Whether the file system of a directory has no room left. */
export function* fullDisk(directory: string): Generator<FindingDraft> {
  const { bavail, bsize, files, ffree } = statfsSync(directory);
  const room = bavail * bsize;
  const hasNoFiles = files > 0 && ffree === 0;
  if (room >= neededRoom && !hasNoFiles) return;
  yield {
    code: "disk-full",
    object: { kind: "file system", key: directory },
    expected: `${neededRoom / 1024 / 1024} MiB at least, and files that can be made`,
    found: hasNoFiles ? "no file can be made any more: it has no inodes left" : `${Math.floor(room / 1024)} KiB`,
    cure: `make room: du -xh --max-depth=2 on the file system of ${directory}`,
  };
}

/** Of the periods in which the agent's control group ran, the part in which it was held back from which on it is told. */
const throttledShare = 0.25;
/** How long it is watched: looks, milliseconds between them, and periods that are enough. */
const looksAtMost = 6;
const lookPause = 500;
const enoughPeriods = 3;

const processorCheck: Check = {
  name: "the processors that the agent gets",
  run: () => starved("self"),
};

/** Whether the control group of a process is held back, which is watched for a moment. */
export async function* starved(process: "self" | number): AsyncGenerator<FindingDraft> {
  const before = readThrottling(process);
  if (before === undefined || before.periods === 0) return;
  let [periods, throttled] = [0, 0];
  // A group that has nothing to do has no periods, and a period may be as long as a second.
  for (let looks = 0; looks < looksAtMost && periods < enoughPeriods; looks++) {
    await new Promise((resolve) => setTimeout(resolve, lookPause));
    const after = readThrottling(process) ?? before;
    periods = after.periods - before.periods;
    throttled = after.throttled - before.throttled;
  }
  if (periods === 0 || throttled / periods < throttledShare) return;
  yield {
    code: "cpu-starved",
    object: { kind: "agent" },
    expected: "it runs when it has work",
    found: `its control group was held back in ${throttled} of ${periods} periods`,
  };
}

/** Of a process's control group, of either version; `undefined`: it is limited by none, or the process is gone. */
function readThrottling(
  process: "self" | number,
): { readonly periods: number; readonly throttled: number } | undefined {
  const file = `/proc/${process}/cgroup`;
  if (!existsSync(file)) return undefined;
  for (const line of readFileSync(file, "utf8").trim().split("\n")) {
    const [, controllers = "", path = ""] = line.split(":");
    const statistics =
      controllers === ""
        ? `/sys/fs/cgroup${path}/cpu.stat`
        : controllers.split(",").includes("cpu")
          ? `/sys/fs/cgroup/cpu${path}/cpu.stat`
          : undefined;
    if (statistics === undefined) continue;
    try {
      const text = readFileSync(statistics, "utf8");
      const of = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
      return { periods: of("nr_periods"), throttled: of("nr_throttled") };
    } catch {
      // A version of control groups that this machine has not mounted there.
    }
  }
  return undefined;
}

export const hostChecks: readonly Check[] = [diskCheck, processorCheck];
