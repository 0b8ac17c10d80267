import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeFileDurably } from "../../linux/durable-file.ts";
import type { Lab } from "../lab.ts";

/** The fault that a lab has, as its directory holds it from before it is made until after it is mended. */
export interface BrokenState {
  readonly fault: string;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** What the fault must know to be mended, as it was before. */
  readonly before: Readonly<Record<string, string>>;
}

export function readBroken(lab: Lab): BrokenState | undefined {
  const file = fileOf(lab);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as BrokenState) : undefined;
}

export function writeBroken(lab: Lab, state: BrokenState): void {
  writeFileDurably(fileOf(lab), JSON.stringify(state));
}

export function forgetBroken(lab: Lab): void {
  rmSync(fileOf(lab), { force: true });
}

function fileOf(lab: Lab): string {
  return join(lab.names.directory, "fault.json");
}
