/**
 * A cgroup for each machine, in which its kubelet makes those of pods: kubelets that shared one would delete each other's. Version 1 of
 * cgroups, which Kubernetes 1.20 is at home with.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = "/sys/fs/cgroup";
/** Version 2, beside the others; runtimes make their cgroups there, too. */
const unified = "unified";

export function writeCgroups(name: string): void {
  assert.ok(
    existsSync(join(root, "memory")),
    `${root} has no memory hierarchy: the tests of Kubernetes need cgroups of version 1 (kernel command line systemd.unified_cgroup_hierarchy=0)`,
  );
  for (const hierarchy of hierarchies().filter((each) => each !== unified))
    mkdirSync(join(root, hierarchy, name), { recursive: true });
  // Without these no process may enter it or one below.
  const cpuset = join(root, "cpuset", name);
  for (const file of ["cpuset.cpus", "cpuset.mems"])
    writeFileSync(join(cpuset, file), readFileSync(join(root, "cpuset", file)));
  writeFileSync(join(cpuset, "cgroup.clone_children"), "1");
}

/** Names of those at the roots. */
export function listCgroups(): Set<string> {
  return new Set(
    hierarchies().flatMap((hierarchy) =>
      readdirSync(join(root, hierarchy), { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name),
    ),
  );
}

/** With all below. The processes in them must have ended. */
export function removeCgroups(name: string): void {
  for (const hierarchy of hierarchies()) removeWithAllBelow(join(root, hierarchy, name));
}

function removeWithAllBelow(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeWithAllBelow(join(path, entry.name));
  rmdirSync(path);
}

function hierarchies(): string[] {
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}
