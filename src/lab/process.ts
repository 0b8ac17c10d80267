import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { WeftError } from "../base/errors.ts";
import type { NetworkNamespace } from "../linux/index.ts";

/** The program itself, as people start it. */
export const weftProgram = fileURLToPath(new URL("../../bin/weft", import.meta.url));

/** A process that outlives the command that started it. The start time tells it from a later one with the same number. */
export interface LabProcess {
  readonly name: string;
  readonly pid: number;
  /** Clock ticks since the machine started. proc(5), field 22 of /proc/PID/stat. */
  readonly startTime: string;
}

/** Starts `weft …`, or another program, in a namespace, apart from this process, with its output in a log file. */
export function startProcess(
  name: string,
  namespace: NetworkNamespace,
  parameters: readonly string[],
  logFile: string,
  program = weftProgram,
): LabProcess {
  const log = openSync(logFile, "a", 0o600);
  try {
    const child = namespace.spawn(program, parameters, { detached: true, stdio: ["ignore", log, log] });
    child.unref();
    if (child.pid === undefined)
      throw new WeftError({ code: "internal", attempted: `start ${name}`, reason: `${program} cannot be run` });
    return { name, pid: child.pid, startTime: startTimeOf(child.pid) ?? "" };
  } finally {
    closeSync(log);
  }
}

export function isRunning(process: LabProcess): boolean {
  return startTimeOf(process.pid) === process.startTime;
}

export function signalProcess(labProcess: LabProcess, signal: NodeJS.Signals): void {
  if (!isRunning(labProcess)) return;
  try {
    process.kill(labProcess.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Asks the processes to end, and ends those that do not within `grace` milliseconds. */
export async function stopProcesses(processes: readonly LabProcess[], grace = 3_000): Promise<void> {
  for (const each of processes) signalProcess(each, "SIGTERM");
  const end = performance.now() + grace;
  while (processes.some(isRunning) && performance.now() < end) await pause(20);
  for (const each of processes) signalProcess(each, "SIGKILL");
  while (processes.some(isRunning)) await pause(10);
}

/** The last lines of a log, for error messages. */
export function tailOf(logFile: string, lines = 5): string {
  try {
    return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch {
    return "";
  }
}

export const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Runs a program to its end. */
export async function runProgram(
  namespace: NetworkNamespace | undefined,
  command: string,
  parameters: readonly string[],
): Promise<{ readonly status: number; readonly output: string; readonly complaints: string }> {
  const options = { stdio: ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"] };
  const child: ChildProcess =
    namespace === undefined ? spawn(command, parameters, options) : namespace.spawn(command, parameters, options);
  let output = "";
  let complaints = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    complaints += chunk;
  });
  const status = await new Promise<number>((resolve, reject) => {
    child.once("error", (error) =>
      reject(
        new WeftError({
          code: "failed-precondition",
          attempted: `run ${command}`,
          reason: error.message,
          cause: error,
        }),
      ),
    );
    child.once("close", (code) => resolve(code ?? 1));
  });
  return { status, output, complaints };
}

/** Field 22 of /proc/PID/stat; `undefined` when there is no such process, or only its remains. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name, in parentheses, may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
