/**
 * The architecture as a test: each layer imports only from layers below it, no module imports itself by way
 * of others, and the pure layers reach nothing outside the program.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { encapsulationNames, noTunnel } from "../src/model/encapsulation.ts";

/** Highest first. A layer imports from the ones after it, and from itself. Only tests import from the first. */
const layers = [
  "testing",
  "cli",
  "plugins",
  "lab",
  "server",
  "agent",
  "diagnose",
  "dataplane",
  "store",
  "api",
  "bgp",
  "netlink",
  "linux",
  "wire",
  "model",
  "base",
];
/** Layers that do no I/O: no module of Node.js, and no package but these. */
const pure: Readonly<Record<string, readonly string[]>> = {
  base: ["ipaddr.js"],
  model: ["zod", "yaml"],
  wire: [],
};

const root = join(import.meta.dirname, "..");
const source = join(root, "src");
const modules = new Map(
  globSync("**/*.ts", { cwd: source })
    .filter((path) => !path.endsWith(".test.ts"))
    .map((path) => [path, importsOf(readFileSync(join(source, path), "utf8"))]),
);

test("every folder of src is a layer", () => {
  const folders = new Set([...modules.keys()].map(layerOf));
  assert.deepEqual(
    [...folders].filter((folder) => !layers.includes(folder)),
    [],
  );
});

test("each layer imports only from the layers below it", () => {
  const violations: string[] = [];
  for (const [path, imports] of modules)
    for (const specifier of imports.filter(isRelative)) {
      const target = resolve(path, specifier);
      if (target.startsWith("..")) violations.push(`${path} leaves src for ${specifier}`);
      else if (layers.indexOf(layerOf(target)) < layers.indexOf(layerOf(path)))
        violations.push(`${path} imports ${target}`);
    }
  assert.deepEqual(violations, []);
});

test("base, model and wire do no I/O", () => {
  const violations: string[] = [];
  for (const [path, imports] of modules) {
    const packages = pure[layerOf(path)];
    if (packages === undefined) continue;
    for (const specifier of imports)
      if (!isRelative(specifier) && !packages.includes(specifier)) violations.push(`${path} imports ${specifier}`);
  }
  assert.deepEqual(violations, []);
});

test("of the dataplane one file alone reaches the kernel, and is handed in; none reads its bytes", () => {
  const linux = valuesIn(readFileSync(join(source, "linux/index.ts"), "utf8"));
  const reaches = new Set([...linux, "openKernelChannel", "EventSocket"]);
  for (const error of ["isErrno", "SystemError", "netlinkProtocol"]) reaches.delete(error);
  const violations: string[] = [];
  for (const [path, imports] of modules) {
    if (layerOf(path) !== "dataplane" || path === "dataplane/linux-kernel.ts") continue;
    const text = readFileSync(join(source, path), "utf8");
    for (const name of [...valuesIn(text), ...imports])
      if (reaches.has(name) || /^node:(fs|child_process)|^RTM_/.test(name)) violations.push(`${path} imports ${name}`);
    if (/new (NetlinkSocket|Watch)\(\{\s*namespace\b/.test(text)) violations.push(`${path} opens a socket by itself`);
  }
  assert.deepEqual(violations, []);
});

test("encapsulations are named by their record, and by what the kernel makes of each", () => {
  const names = new Set<string>(encapsulationNames.filter((name) => name !== noTunnel));
  // Headers and kinds of device have names of their own, which are often the same; faults are told by what they break on the wire.
  const homes =
    /^(model\/encapsulation\.ts|dataplane\/encapsulation\/|netlink\/|wire\/|api\/generated\/|lab\/faults\/)/;
  const violations: string[] = [];
  for (const path of modules.keys()) {
    if (homes.test(path) || /(^|\/)testing(\.ts$|\/)/.test(path)) continue;
    // What people type is an example.
    const code = withoutComments(readFileSync(join(source, path), "utf8")).replace(/"weft [^"]*"/g, "");
    for (const [word] of code.matchAll(/[A-Z]?[a-z]+|[A-Z]+/g))
      if (names.has(word.toLowerCase())) violations.push(`${path} says ${word}`);
    // The dataplane has filters' sets of this name, and is told of tunnels alone.
    if (code.includes(`"${noTunnel}"`) && layerOf(path) !== "dataplane") violations.push(`${path} says ${noTunnel}`);
  }
  assert.deepEqual(violations, []);
});

test("no module imports itself by way of others", () => {
  const finished = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
    else if (!finished.has(path)) {
      for (const specifier of modules.get(path)?.filter(isRelative) ?? [])
        visit(resolve(path, specifier), [...trail, path]);
      finished.add(path);
    }
  };
  for (const path of modules.keys()) visit(path, []);
  assert.deepEqual(cycles, []);
});

test("imports of every form are found, and those in comments are not", () => {
  const text = `
    import "a";
    import b from "b";
    import type { C } from "c";
    import {
      d,
      type D,
    } from "d";
    export { e } from "e";
    export * from "f";
    const g = await import("g");
    type H = import("h").H;
    // import i from "i";
    /** Like import("j"). */
  `;
  assert.deepEqual(importsOf(text), ["a", "b", "c", "d", "e", "f", "g", "h"]);
});

/** The specifiers of all imports and re-exports: static, dynamic, of values and of types. */
function importsOf(text: string): string[] {
  const code = withoutComments(text);
  const pattern = /^\s*(?:import|export)\s(?:[^"';=()]*?\sfrom\s*)?"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/gm;
  return [...code.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? "");
}

/** The names of values that are imported or exported again from modules of the project. */
function valuesIn(text: string): string[] {
  return [...text.matchAll(/^(?:import|export) \{([^}]*)\} from "([^"]+)"/gm)]
    .filter(([, , specifier]) => specifier !== undefined && isRelative(specifier))
    .flatMap(([, names = ""]) => names.split(","))
    .map((name) => name.trim())
    .filter((name) => name !== "" && !name.startsWith("type "));
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith(".");
}

/** The path under src of what `specifier` means in the module at `path`. */
function resolve(path: string, specifier: string): string {
  return relative(source, join(source, dirname(path), specifier));
}

function layerOf(path: string): string {
  return path.split("/")[0] ?? "";
}
