import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { runProgram } from "../../src/lab/process.ts";
import { NetworkNamespace, namedNamespaceExists } from "../../src/linux/index.ts";
import { namespaceNames } from "./cluster.ts";

/** Everything that weft could leave somewhere: namespaces, devices, filters, nexthops, files and what the server holds. */
export async function footprint(lab: Lab): Promise<string[]> {
  const lines: string[] = [];
  for (const name of namespaceNames().filter(lab.names.isOwn)) {
    // It may go while the others are looked at.
    if (!namedNamespaceExists(name)) continue;
    using namespace = NetworkNamespace.openNamed(name);
    const { output } = await runProgram(namespace, "sh", [
      "-c",
      "ip -o link show; ip -o addr show; ip nexthop show; nft list tables",
    ]);
    for (const line of output.split("\n").filter((each) => each !== ""))
      lines.push(`${name}: ${line.replace(/\s+(qdisc|tentative) .*|\s+tentative|\\.*/, "").trim()}`);
    lines.push(`${name} exists`);
  }
  for (const kind of ["tenant", "network", "node", "endpoint"])
    for (const { resource } of (await lab.admin.list({ kind })).resources)
      if (resource.case === "endpoint") lines.push(`endpoint ${resource.value.id} on ${resource.value.node}`);
      else if (resource.case !== undefined) lines.push(`${resource.case} ${resource.value.name}`);
  lines.push(...filesBelow(lab.names.directory));
  return lines.sort();
}

/** The footprint once it no longer changes: what was begun before has ended. */
export async function settledFootprint(lab: Lab): Promise<string[]> {
  let last = await footprint(lab);
  for (;;) {
    const next = await footprint(lab);
    if (next.join("\n") === last.join("\n")) return next;
    last = next;
  }
}

/** Paths of all files, less those that databases make and drop as they please. */
export function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => !/\.db-(wal|shm|journal)$/.test(path))
    .map((path) => `file ${path}${statSync(join(directory, path)).isDirectory() ? "/" : ""}`)
    .sort();
}
