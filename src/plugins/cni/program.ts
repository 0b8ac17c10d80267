import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { WeftError } from "../../base/errors.ts";

/** What container runtimes execute, for a processor as Node.js names it: scripts/plugin.sh compiles it. */
export function pluginProgram(processor: string): string {
  const path = fileURLToPath(new URL(`plugin-${processor}`, import.meta.url));
  if (existsSync(path)) return path;
  throw new WeftError({
    code: "unsupported",
    attempted: "find the CNI plugin",
    reason: `there is none for ${processor}`,
    hint: "it is there for x64 and arm64",
  });
}
