import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What has an end: a test, or all tests of a file. */
interface Owner {
  after(action: () => void): void;
}

/** A directory that is removed with the test. */
export function temporaryDirectory(owner: Owner): string {
  const path = makeTemporaryDirectory();
  owner.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** The name of a file in a directory of its own, which is removed with the test. */
export function temporaryFile(owner: Owner): string {
  return join(temporaryDirectory(owner), "store.db");
}

/**
 * Makes an empty directory, to be removed by the caller. Its name tells the process whose it is: those of processes that
 * were killed before they could remove theirs are removed first.
 */
export function makeTemporaryDirectory(): string {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(/^weft-test-(\d+)-/.exec(name)?.[1] ?? process.pid);
    if (!isAlive(pid)) removeLeftover(join(tmpdir(), name));
  }
  return mkdtempSync(join(tmpdir(), `weft-test-${process.pid}-`));
}

/** Whether there is a process of this number. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Tests mount file systems in theirs. */
function removeLeftover(path: string): void {
  for (const [, mounted = ""] of readFileSync("/proc/self/mounts", "utf8").matchAll(/^\S+ (\S+)/gm))
    if (mounted === path || mounted.startsWith(`${path}/`)) spawnSync("umount", ["--lazy", mounted]);
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Another user's, or another process removes it at this moment.
  }
}
