import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { weftProgram } from "../../src/lab/process.ts";

const page = readFileSync(new URL("../../docs/virtual-machines.md", import.meta.url), "utf8");

/** The block of code that stands in docs/virtual-machines.md in this language, with this in it: what is told is what is tried. */
export function documented(language: string, containing: string): string {
  const blocks = page.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm);
  const found = [...blocks].filter(([, of, text = ""]) => of === language && text.includes(containing));
  assert.equal(found.length, 1, `docs/virtual-machines.md has one block of ${language || "text"} with ${containing}`);
  return found[0]?.[2] ?? "";
}

/** A program of what is documented, at this path. */
export function writeProgram(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

/** A folder, below this one, with a `weft` that asks the agent of this host: on a host of its own it needs no telling. */
export function weftOfHost(folder: string, lab: Lab, host: string): string {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  writeProgram(join(bin, "weft"), `#!/bin/sh\nWEFT_AGENT=${lab.agentSocket(host)} exec ${weftProgram} "$@"\n`);
  return bin;
}
