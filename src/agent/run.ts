import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { unwrap } from "../base/result.ts";
import { readPrivateFile } from "../linux/private-files.ts";
import { parseUnderlaySelectors, type UnderlaySelector } from "../model/underlay-selector.ts";

/** What an agent was started with, for who looks for it when it runs no more. */
export interface Run {
  readonly process: number;
  readonly node: string;
  readonly instance: string;
  readonly server: string;
  readonly dataDirectory: string;
  readonly underlay: readonly UnderlaySelector[];
}

const schema = z.object({
  process: z.number(),
  node: z.string(),
  instance: z.string(),
  server: z.string(),
  dataDirectory: z.string(),
  /** As `--underlay` has it. */
  underlay: z.string().transform((text) => unwrap(parseUnderlaySelectors(text))),
});

/** Replaces what an earlier agent left in the run directory. Nothing else depends on it: where it cannot be written, it is not there. */
export function rememberRun(runDirectory: string, run: Run): void {
  const file = join(runDirectory, "agent.json");
  try {
    rmSync(file, { force: true });
    writeFileSync(file, `${JSON.stringify({ ...run, underlay: run.underlay.map(selectorText).join(",") })}\n`, {
      mode: 0o600,
      flag: "wx",
    });
  } catch {
    // A disk that is full is no reason not to run.
  }
}

/** What the last agent of this run directory was started with; `undefined`: none since the host was started, or that cannot be read. */
export function lastRun(runDirectory: string): Run | undefined {
  const text = readPrivateFile(join(runDirectory, "agent.json"));
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    // A disk that was full, or another version: it says no more than a file that is not there.
    return undefined;
  }
}

function selectorText(selector: UnderlaySelector): string {
  switch (selector.kind) {
    case "address":
      return selector.address;
    case "prefix":
      return selector.prefix;
    case "interface":
      return selector.name;
  }
}
