/**
 * Tries cases on the kernel that runs this, one after the other in one lab: `node on-this-kernel.ts DIRECTORY WORD...`.
 * Writes a line of JSON, a {@link Message}, for whatever it has to tell, and a capture of each case to DIRECTORY.
 */
import { release } from "node:os";
import { join } from "node:path";
import { Lab } from "../../src/lab/lab.ts";
import { attempt, type Outcome } from "./attempt.ts";
import { casesWith } from "./cases.ts";

export type Message =
  | { readonly kind: "began"; readonly release: string }
  | { readonly kind: "done"; readonly name: string; readonly seconds: number; readonly outcome: Outcome }
  | { readonly kind: "complete" };

/** What a message begins with: in User-Mode Linux it comes out among other lines. */
export const messageMark = "matrix: ";

/** The file of a case in the directory of captures. */
export function captureName(name: string): string {
  return `${name.replaceAll(" ", "-")}.pcap`;
}

if (import.meta.main) await run(process.argv[2] ?? ".", process.argv.slice(3));

async function run(directory: string, words: readonly string[]): Promise<void> {
  let interrupted = false;
  const arriving = Lab.up({ name: `mx${process.pid}`, hosts: 2 });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => {
      interrupted = true;
      const leave = (): never => process.exit(1);
      void arriving.then((lab) => lab.down()).then(leave, leave);
    });
  const lab = await arriving;
  try {
    tell({ kind: "began", release: release() });
    for (const each of casesWith(words)) {
      const begin = performance.now();
      const outcome = await attempt(lab, each, join(directory, captureName(each.name)));
      // What failed because the lab went away says nothing.
      if (interrupted) return;
      tell({ kind: "done", name: each.name, seconds: (performance.now() - begin) / 1000, outcome });
    }
    tell({ kind: "complete" });
  } finally {
    await lab.down();
  }
}

function tell(message: Message): void {
  process.stdout.write(`${messageMark}${JSON.stringify(message)}\n`);
}
