import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { WeftError } from "../../base/errors.ts";
import { writeFileDurably } from "../../linux/durable-file.ts";
import type { Installed } from "../cni/install.ts";

export interface DockerPluginOptions {
  /** Where Docker looks for plugins. */
  readonly pluginDir: string;
  readonly agentSocket: string;
}

/** Tells Docker where its plugin weft answers; may be repeated. What is there and not weft's is not replaced. */
export function installDocker({ pluginDir, agentSocket }: DockerPluginOptions): readonly Installed[] {
  const path = specPath(pluginDir);
  const attempted = "install the Docker plugin";
  // Docker's own reading of the address ends there.
  if (!/^\/[\x21-\x7e]+$/.test(agentSocket) || /[?#%]/.test(agentSocket))
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `the agent's socket: found "${agentSocket}"; allowed: an absolute path of printable ASCII without blanks, ?, # and %`,
      hint: "give it by --agent",
    });
  const [content, there] = [`unix://${agentSocket}\n`, read(path)];
  if (there === content) return [{ path, done: "unchanged" }];
  if (there !== undefined && !isOfWeft(there))
    throw new WeftError({
      code: "already-exists",
      attempted,
      reason: `${path} is there, and is another plugin's`,
      hint: "see what it is, and move it away",
    });
  mkdirSync(pluginDir, { recursive: true });
  writeFileDurably(path, content, 0o644);
  return [{ path, done: "written" }];
}

/** Takes away what {@link installDocker} wrote. */
export function uninstallDocker(pluginDir: string): readonly Installed[] {
  const path = specPath(pluginDir);
  const there = read(path);
  if (there === undefined) return [];
  if (!isOfWeft(there)) return [{ path, done: "left", reason: "it is not as weft wrote it" }];
  rmSync(path);
  return [{ path, done: "removed" }];
}

function specPath(pluginDir: string): string {
  return join(pluginDir, "weft.spec");
}

/** With whichever socket. */
function isOfWeft(content: string): boolean {
  return /^unix:\/\/\/[\x21-\x7e]+\n$/.test(content);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
