import { existsSync, readFileSync, rmdirSync } from "node:fs";
import { libc } from "../linux/libc.ts";
import type { LabNames } from "./names.ts";

/** sys/mount.h: the mount goes once nobody uses it. */
const MNT_DETACH = 2;
/** Where groups of processes get their share of the processor: cgroups of version 2, and of version 1. */
const controlGroupRoots = ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu"];

/** The control group of the lab's process of this name, in the hierarchy that gives shares of the processor. */
export function controlGroup(names: LabNames, root: string, name: string): string {
  return `${root}/weft-lab-${names.lab}-${name}`;
}

/** The hierarchy that can limit the processor's time; `undefined`: none. */
export function processorHierarchy(): { readonly root: string; readonly version: 1 | 2 } | undefined {
  const [unified = "", cpu = ""] = controlGroupRoots;
  if (existsSync(`${cpu}/cpu.cfs_quota_us`)) return { root: cpu, version: 1 };
  const controllers = `${unified}/cgroup.subtree_control`;
  if (existsSync(controllers) && /\bcpu\b/.test(readFileSync(controllers, "utf8")))
    return { root: unified, version: 2 };
  return undefined;
}

/**
 * Removes what a lab may have outside its namespaces and processes, which have gone before: mounts in its directory, and
 * control groups of its hosts.
 */
export function removeOutside(names: LabNames): void {
  const inside = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${names.directory}/`));
  // What was mounted last lies on top.
  for (const path of inside.reverse()) libc.umount2(path, MNT_DETACH);
  for (const root of controlGroupRoots)
    for (let number = 1; number <= 20; number++) removeControlGroup(controlGroup(names, root, `h${number}`));
}

/** No such group is success; one with processes in it stays. */
export function removeControlGroup(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["ENOENT", "EBUSY", "EROFS"].includes(code)) throw error;
  }
}
