import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Where scripts/kubernetes-build.sh puts what it builds. */
const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "weft-kubernetes");

/** A program of Kubernetes, or etcd. */
export function program(name: string): string {
  const path = join(folder, "bin", name);
  assert.ok(existsSync(path), `${path} is not there; run scripts/kubernetes-build.sh`);
  return path;
}
