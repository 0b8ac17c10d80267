/** The kernels that tests run on: this machine's, and User-Mode Linux, which `scripts/uml.sh` boots. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeTemporaryDirectory } from "../../src/testing/temporary-directory.ts";
import { bundledProgram, compileCache } from "./bundle.ts";
import type { ReportLine } from "./reporter.ts";
import { type KernelRun, lacking, type TestResult, wholeFile } from "./results.ts";
import { isPatient, needsQuickProcesses, slowness } from "./slow-kernel.ts";

const root = join(import.meta.dirname, "../..");

export const kernelNames = ["host", "uml"] as const;
export type KernelName = (typeof kernelNames)[number];

/** Seconds after which User-Mode Linux is ended: ten times what the tests take there. */
const longest = 3600;
/** Files at a time on the host, where most tests wait half of the time and more: for packets, reports, programs to end. */
const hostConcurrency = 3;
/** User-Mode Linux has one processor; so many of them run beside each other, each with its share of the files. */
const umlShares = 2;
/** Milliseconds that tests have for cleaning up, when they are ended before they are done. */
const cleaningTime = 20_000;

/** Runs test files, given relative to the project's folder, on a kernel; aborted, it ends them and leaves nothing. */
export async function runTests(
  kernel: KernelName,
  files: readonly string[],
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<KernelRun> {
  if (kernel === "uml" && process.arch !== "x64")
    return {
      kernel,
      results: [],
      unavailable: `User-Mode Linux is for x86-64 only, and this machine is ${process.arch}`,
    };
  if (kernel === "host") {
    say("testing this machine's kernel");
    return runShare(kernel, [], hostConcurrency, files, say, signal);
  }
  const skipped = isPatient ? [] : files.filter((file) => needsQuickProcesses(readFileSync(join(root, file), "utf8")));
  const tried = files.filter((file) => !skipped.includes(file));
  if (tried.length > 0) {
    await buildModules(say, signal);
    say("testing in User-Mode Linux, which boots first");
  }
  const shares = allowedProcessors()
    .slice(-umlShares)
    .map((processor, index, { length }) => ({ processor, files: tried.filter((_, at) => at % length === index) }));
  const runs = await Promise.all(
    shares
      .filter((share) => share.files.length > 0)
      .map((share) => {
        const pin = ["taskset", "-c", String(share.processor)];
        return runShare(kernel, pin, 1, share.files, say, signal);
      }),
  );
  const broken = runs.flatMap((run) => run.broken ?? []);
  return {
    kernel: runs[0]?.kernel ?? kernel,
    results: [...runs.flatMap(({ results }) => results), ...skipped.map(skippedWhole)],
    ...(broken.length === 0 ? {} : { broken: broken.join("\n") }),
  };
}

/** As the file itself would say it. */
function skippedWhole(file: string): TestResult {
  const reason = lacking("quick processes", slowness);
  return { file, path: [wholeFile], suite: false, outcome: "skipped", reason };
}

/** The processors that this process may use, by number. proc(5): Cpus_allowed_list. */
function allowedProcessors(): number[] {
  const [, list = "0"] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

async function runShare(
  kernel: KernelName,
  prefix: readonly string[],
  concurrency: number,
  files: readonly string[],
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<KernelRun> {
  const directory = makeTemporaryDirectory();
  try {
    const report = join(directory, "report");
    const node = [
      "scripts/node.sh",
      "--test",
      `--test-concurrency=${concurrency}`,
      `--test-reporter=${join(import.meta.dirname, "reporter.ts")}`,
      `--test-reporter-destination=${report}`,
      ...files,
    ];
    const [program = "", ...words] = [
      ...prefix,
      ...(kernel === "host" ? node : ["scripts/uml.sh", directory, ...node]),
    ];
    // A group of its own, so that Ctrl-C comes to it by way of this process alone.
    const child = spawn(program, words, {
      cwd: root,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        UML_TIMEOUT: String(longest),
        WEFT_TEST_BUNDLE: bundledProgram(),
        // Sources kept compiled load in a third of the time.
        NODE_COMPILE_CACHE: compileCache,
      },
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding("utf8").on("data", (chunk: string) => {
        output += chunk;
      });
    const closed = once(child, "close");
    const stop = (): void => endGroup(child);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const followed = follow(report, closed, say);
    await closed;
    signal.removeEventListener("abort", stop);
    const { release, results, complete } = await followed;
    return {
      kernel: release === undefined ? kernel : `${kernel} ${release.replace(/-.*/, "")}`,
      results,
      ...(complete ? {} : { broken: `the tests did not run to their end (${ending(child)})\n${output.trimEnd()}` }),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Without these modules User-Mode Linux does as well, for tests that do not need them: those that do are skipped. */
export async function buildModules(say: (line: string) => void, signal: AbortSignal): Promise<void> {
  const { release, built } = umlModules();
  if (built) return;
  say(`building modules of nftables for Linux ${release}, once; half a minute and 140 MB to download`);
  const child = spawn("scripts/uml-modules.sh", { cwd: root, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
    });
  const stop = (): void => endGroup(child);
  signal.addEventListener("abort", stop, { once: true });
  await once(child, "close");
  signal.removeEventListener("abort", stop);
  if (child.exitCode !== 0 && !signal.aborted)
    say(`scripts/uml-modules.sh failed (${ending(child)}), so it goes on without:\n${output.trimEnd()}`);
}

function umlModules(): { release: string; built: boolean } {
  const { stdout, error } = spawnSync("linux.uml", ["--version"], { encoding: "utf8" });
  // uml.sh says what to do about it.
  if (error !== undefined) return { release: "", built: true };
  const release = stdout.trim();
  return { release, built: existsSync(join(root, ".runtime/uml-modules/lib/modules", release, "modules.dep.bin")) };
}

function ending({ exitCode, signalCode }: ChildProcess): string {
  return signalCode === null ? `status ${exitCode}` : signalCode;
}

/** Asks the group to end; what has not after a while is killed. */
function endGroup(child: ChildProcess): void {
  const send = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // It ended meanwhile.
    }
  };
  send("SIGTERM");
  const killing = setTimeout(() => send("SIGKILL"), cleaningTime);
  child.once("close", () => clearTimeout(killing));
}

interface Report {
  release?: string;
  readonly results: TestResult[];
  complete: boolean;
}

/** Reads the report while it grows, until `closed`, and says which files are done. */
async function follow(path: string, closed: Promise<unknown>, say: (line: string) => void): Promise<Report> {
  const report: Report = { results: [], complete: false };
  const read = reader(path);
  const take = (): void => {
    for (const line of read()) {
      const content = JSON.parse(line) as ReportLine;
      if ("kernel" in content) report.release = content.kernel;
      else if ("result" in content) report.results.push(content.result);
      else if ("complete" in content) report.complete = true;
      else say(`${content.passed ? "✔" : "✖"} ${content.finished} (${(content.milliseconds / 1000).toFixed(1)} s)`);
    }
  };
  let open = true;
  const end = closed.then(() => {
    open = false;
  });
  while (open) {
    take();
    await Promise.race([end, sleep(300)]);
  }
  take();
  return report;
}

/** A function that returns the whole lines that a file got since the last call. */
function reader(path: string): () => string[] {
  const buffer = Buffer.alloc(1 << 16);
  const decoder = new TextDecoder();
  let position = 0;
  let rest = "";
  return () => {
    if (!existsSync(path)) return [];
    const file = openSync(path, "r");
    try {
      for (let length = 1; length > 0; position += length) {
        length = readSync(file, buffer, 0, buffer.length, position);
        rest += decoder.decode(buffer.subarray(0, length), { stream: true });
      }
    } finally {
      closeSync(file);
    }
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    return lines;
  };
}
