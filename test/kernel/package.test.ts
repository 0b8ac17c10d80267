/** The published package: packed as for the registry, installed into an empty folder, and used from there. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { before, test } from "node:test";
import { promisify } from "node:util";
import { cleanUp, removeLab, testDirectory, theWholeFile, uniqueName } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";

// What npm installs and whether it starts is the same on every kernel.
await fileRequires("quick processes");
const root = join(import.meta.dirname, "../..");
const file = theWholeFile();
const folder = testDirectory(file);
const installed = join(folder, "node_modules/weft");
/** A host with the Node.js that runs this test first in its path. */
const environment = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };

async function run(command: string, ...words: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, words, { cwd: folder, env: environment, maxBuffer: 1 << 26 });
  return stdout;
}

before(async () => {
  const packed = await run("npm", "pack", "--silent", "--pack-destination", folder, root);
  writeFileSync(join(folder, "package.json"), "{}");
  // koffi brings its binary as a package of its own; its install script is for platforms that have none.
  const install = ["install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  await run("npm", ...install, join(folder, packed.trim().split("\n").at(-1) ?? ""));
});

test("the package holds what runs, and no test code", () => {
  const files = readdirSync(installed, { recursive: true, encoding: "utf8" });
  assert.ok(files.includes("dist/cli/main.js"));
  assert.deepEqual(
    files.filter((path) => /(^|\/)(test|testing|contract)\b|\.test\./.test(path) || path.startsWith("src/")),
    [],
  );
});

test("an example of weft/netlink runs", () => {
  using host = testNamespace("package");
  const text = readFileSync(join(root, "docs/netlink.md"), "utf8");
  const example = /```ts\n(import[\s\S]*?)```/.exec(text)?.[1] ?? "";
  mkdirSync(join(folder, "example"));
  writeFileSync(join(folder, "example/example.mts"), example);
  assert.match(
    host.shell(`exec ${process.execPath} ${join(folder, "example/example.mts")}`),
    /create veth left: EEXIST/,
  );
});

test("weft runs a lab", async () => {
  const weft = join(folder, "node_modules/.bin/weft");
  assert.match(await run(weft, "version"), /^weft /);
  const name = uniqueName();
  cleanUp(file, () => removeLab(name));
  await run(weft, "lab", "up", "--name", name);
  assert.match(
    await run(weft, "lab", "run", "--name", name, "blue1", "--", "ping", "-c", "2", "10.0.0.2"),
    / 0% packet loss/,
  );
  await run(weft, "lab", "down", "--name", name);
});
