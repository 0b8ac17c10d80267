/**
 * Tries each way that a network can be carried, on this machine's kernel and in User-Mode Linux, in labs with the real
 * server and agents, and shows what came of it: ping, 1 MB over TCP with a checksum at both ends, the largest packet and
 * one octet more, and the outer header as captured, decoded by weft, tcpdump and tshark.
 *
 *     npm run matrix                                  everything
 *     npm run matrix -- geneve l2                     cases with these words in their name
 *     npm run matrix -- --kernel uml dual-over-ipv6   on one kernel
 *     npm run matrix -- -o json                       for programs
 *     npm run matrix -- --captures DIRECTORY          keeps the captures
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { makeTemporaryDirectory } from "../../src/testing/temporary-directory.ts";
import { buildModules, type KernelName, kernelNames } from "../runner/kernels.ts";
import { casesWith, matrixCases } from "./cases.ts";
import { captureName, type Message, messageMark } from "./on-this-kernel.ts";
import { compareReaders } from "./other-readers.ts";
import { matrixJson, renderMatrix, type Trial } from "./table.ts";

const usage = "usage: npm run matrix -- [--kernel host|uml] [-o table|json] [--captures DIRECTORY] [WORD-IN-NAME...]\n";
const root = join(import.meta.dirname, "../..");
/** Seconds after which User-Mode Linux is ended. */
const longest = 1800;

interface Wish {
  readonly kernels: readonly KernelName[];
  readonly words: readonly string[];
  readonly output: string;
  /** Absent: captures are not kept. */
  readonly captures: string | undefined;
}

process.exitCode = await main();

async function main(): Promise<number> {
  let wish: Wish;
  try {
    wish = parse(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`matrix: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write("matrix: network namespaces and devices take root: run it as root\n");
    return 1;
  }
  const directory = makeTemporaryDirectory();
  try {
    return await run(wish, directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function parse(parameters: string[]): Wish {
  const { values, positionals: words } = parseArgs({
    args: parameters,
    options: {
      kernel: { type: "string" },
      output: { type: "string", short: "o", default: "table" },
      captures: { type: "string" },
    },
    allowPositionals: true,
  });
  const kernels = kernelNames.filter((name) => values.kernel === undefined || values.kernel === name);
  if (kernels.length === 0) throw new Error(`no such kernel: ${values.kernel}`);
  if (!["table", "json"].includes(values.output)) throw new Error(`no such output: ${values.output}`);
  if (casesWith(words).length === 0)
    throw new Error(`no case has all of "${words.join(" ")}" in its name; one is called "${matrixCases[0]?.name}"`);
  return { kernels, words, output: values.output, captures: values.captures };
}

async function run({ kernels, words, output, captures }: Wish, directory: string): Promise<number> {
  const abort = new AbortController();
  let interruption: NodeJS.Signals | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      if (interruption === undefined) say(`${signal}: removing everything`);
      interruption ??= signal;
      abort.abort();
    });
  const trials = new Map<string, Trial[]>();
  const broken: string[] = [];
  for (const kernel of kernels) {
    if (interruption !== undefined) break;
    const folder = join(captures === undefined ? directory : resolve(captures), kernel);
    mkdirSync(folder, { recursive: true });
    const reason = await tryOn(kernel, folder, words, abort.signal, (name, trial) => {
      trials.set(name, [...(trials.get(name) ?? []), trial]);
    });
    if (reason !== undefined) broken.push(`${kernel}: ${reason}`);
  }
  if (interruption !== undefined) return 128 + constants.signals[interruption];
  const all = casesWith(words).map((each) => ({ case: each, trials: trials.get(each.name) ?? [] }));
  const { lines, failures } = renderMatrix(all);
  const text = output === "json" ? JSON.stringify(matrixJson(all), null, 2) : lines.join("\n");
  process.stdout.write(`${text}\n`);
  for (const failure of [...failures, ...broken]) process.stderr.write(`✖ ${failure}\n`);
  return failures.length + broken.length > 0 ? 1 : 0;
}

/** Tries the cases on one kernel; returns why it was not done with all of them. */
async function tryOn(
  kernel: KernelName,
  folder: string,
  words: readonly string[],
  signal: AbortSignal,
  onTrial: (name: string, trial: Trial) => void,
): Promise<string | undefined> {
  const command = ["scripts/node.sh", join(import.meta.dirname, "on-this-kernel.ts"), folder, ...words];
  const [program = "", ...parameters] = kernel === "host" ? command : ["scripts/uml.sh", folder, ...command];
  if (kernel === "uml") await buildModules(say, signal);
  say(kernel === "host" ? "this machine's kernel" : "User-Mode Linux, which boots first");
  // A group of its own, so that Ctrl-C comes to it by way of this process alone.
  const child = spawn(program, parameters, {
    cwd: root,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      UML_TIMEOUT: String(longest),
      NODE_COMPILE_CACHE: join(root, "node_modules/.cache/weft"),
    },
  });
  const closed = once(child, "close");
  const stop = (): void => endGroup(child);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  let label: string = kernel;
  let complete = false;
  const noise: string[] = [];
  const take = (line: string): void => {
    if (!line.startsWith(messageMark)) {
      noise.push(line);
      return;
    }
    const message = JSON.parse(line.slice(messageMark.length)) as Message;
    if (message.kind === "began") label = `${kernel} ${message.release.replace(/-.*/, "")}`;
    else if (message.kind === "complete") complete = true;
    else {
      const trial = trialOf(label, folder, message);
      say(`${kernel}: ${message.name}: ${verdictOf(trial)} (${message.seconds.toFixed(1)} s)`);
      onTrial(message.name, trial);
    }
  };
  if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", take);
  child.stderr?.setEncoding("utf8").on("data", (text: string) => noise.push(text.trimEnd()));
  await closed;
  signal.removeEventListener("abort", stop);
  return complete ? undefined : `not done with all cases\n${noise.join("\n")}`;
}

function trialOf(kernel: string, folder: string, { name, outcome }: Extract<Message, { kind: "done" }>): Trial {
  const [each] = matrixCases.filter((candidate) => candidate.name === name);
  if (outcome.kind !== "tried" || outcome.target.length === 0 || each === undefined) return { kernel, outcome };
  return { kernel, outcome, readers: compareReaders(join(folder, captureName(name)), each, outcome.target) };
}

function verdictOf({ outcome, readers }: Trial): string {
  if (outcome.kind === "refused") return "the server refuses it";
  if (outcome.kind === "missing") return "this kernel cannot";
  if (outcome.kind === "failed") return `FAILED: ${outcome.reason}`;
  const failed = [...Object.values(outcome.checks), ...(readers === undefined ? [] : [readers])].find(
    ({ passed }) => !passed,
  );
  return failed === undefined ? "✓" : `FAILED: ${failed.text}`;
}

/** Asks the group to end; its members remove what they made. */
function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGTERM");
  } catch {
    // It ended meanwhile.
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
