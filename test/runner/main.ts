/**
 * Runs the kernel tests on this machine's kernel and in User-Mode Linux, side by side, and shows what came of each test
 * on each.
 *
 *     npm run test:kernel                               all of them
 *     npm run test:kernel -- netlink dataplane.test     test files with one of these words in their path
 *     npm run test:kernel -- --kernel uml geneve        on one kernel alone
 */
import { existsSync, globSync } from "node:fs";
import { constants } from "node:os";
import { parseArgs } from "node:util";
import { messageOf } from "../../src/base/errors.ts";
import { type KernelName, kernelNames, runTests } from "./kernels.ts";
import { type KernelRun, summarize } from "./results.ts";

const usage = "usage: npm run test:kernel -- [--kernel host|uml] [WORD-IN-PATH...]\n";

process.exitCode = await main();

async function main(): Promise<number> {
  let chosen: { kernels: readonly KernelName[]; words: readonly string[] };
  try {
    chosen = parse(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`test:kernel: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  const files = testFiles(chosen.words);
  if (files.length === 0) {
    process.stderr.write(`test:kernel: no test file below test/kernel has in its path: ${chosen.words.join(", ")}\n`);
    return 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write("test:kernel: network namespaces and devices take root: run it as root\n");
    return 1;
  }
  return run(chosen.kernels, files);
}

function parse(words: string[]): { kernels: readonly KernelName[]; words: readonly string[] } {
  const { values, positionals } = parseArgs({
    args: words,
    options: { kernel: { type: "string" } },
    allowPositionals: true,
  });
  const kernels = kernelNames.filter((name) => values.kernel === undefined || values.kernel === name);
  if (kernels.length === 0) throw new Error(`no such kernel: ${values.kernel}`);
  return { kernels, words: positionals };
}

/** A path that exists is taken as it is, wherever it is; other words choose among the kernel tests. */
function testFiles(words: readonly string[]): string[] {
  const all = globSync("test/kernel/**/*.test.ts").sort();
  if (words.length === 0) return all;
  const given = words.filter((word) => word.endsWith(".ts") && existsSync(word));
  const parts = words.filter((word) => !given.includes(word));
  return [...new Set([...given, ...all.filter((file) => parts.some((part) => file.includes(part)))])];
}

async function run(kernels: readonly KernelName[], files: readonly string[]): Promise<number> {
  const abort = new AbortController();
  let interruption: NodeJS.Signals | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      if (interruption === undefined) say("all", `${signal}: ending the tests`);
      interruption ??= signal;
      abort.abort();
    });
  const begin = performance.now();
  const runs: readonly KernelRun[] = await Promise.all(
    kernels.map((kernel) =>
      runTests(kernel, files, (line) => say(kernel, line), abort.signal).catch(
        // The other kernel's tests go on to their end, and clean up.
        (error: unknown) => ({ kernel, results: [], broken: `the tests could not be run: ${messageOf(error)}` }),
      ),
    ),
  );
  if (interruption !== undefined) return 128 + constants.signals[interruption];
  const { failures, table, passed, failed, skipped, ok } = summarize(runs);
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  const paragraphs = [
    ...failures.map((failure) => `✖ ${failure}`),
    table.join("\n"),
    ok ? `Nothing failed, in ${seconds} s.` : `Failed, in ${seconds} s; the errors are above the table.`,
    `${passed} passed, ${failed} failed, ${skipped} skipped`,
  ];
  process.stdout.write(`\n${paragraphs.join("\n\n")}\n`);
  return ok ? 0 : 1;
}

function say(kernel: string, line: string): void {
  process.stdout.write(`${kernel.padEnd(4)}  ${line}\n`);
}
