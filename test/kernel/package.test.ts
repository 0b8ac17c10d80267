/** The published package: packed as for the registry, installed into an empty folder, and used from there. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
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
/** The package's own program is to run. */
const { WEFT_TEST_BUNDLE: _bundle, ...inherited } = process.env;
const environment = { ...inherited, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };

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
  assert.ok(files.includes("bundle/main.js"));
  assert.deepEqual(
    files.filter((path) => /(^|\/)(test|testing|contract)\b|\.test\./.test(path) || path.startsWith("src/")),
    [],
  );
});

const documents = ["docs/netlink.md", "docs/wire.md"].map((name) => readFileSync(join(root, name), "utf8"));
const promised = new Set(
  documents.flatMap((text) => [...text.matchAll(/["`](weft\/[\w/]+)["`]/g)].map(([, name]) => name)),
);

test("what the documents speak of can be imported, and nothing else", async () => {
  const modules = readdirSync(join(installed, "dist"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".js"))
    .flatMap((path) => [path, path.replace(/\.js$/, ""), path.replace(/\/index\.js$/, ""), `dist/${path}`]);
  const { resolve } = createRequire(join(folder, "example.mjs"));
  const importable = modules
    .map((path) => `weft/${path}`)
    .filter((name) => {
      try {
        return resolve(name);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ERR_PACKAGE_PATH_NOT_EXPORTED");
        return false;
      }
    });
  assert.deepEqual(new Set(importable), promised);
});

/** What each example of the documents prints, or a part of it. */
const printed: Readonly<Record<string, string>> = {
  "Requests and the socket": "create veth left: EEXIST",
  "Many changes": "1000 done\n",
  Namespaces: "'eth0'",
  Tunnels: "100\n",
  Events: "br7\n",
  "Sets of nftables": "[ 'eth0 . 192.0.2.0/24', 'eth1 . 198.51.100.7' ]\n",
  "A whole frame": "ARP, Request who-has 192.0.2.2 tell 192.0.2.1, length 28\n[ 'ethernet' ]\n[]\n",
  "One header": "4096\nvxlan at octet 0: cut short: needs 8 octets, 5 are there\n",
};

const sections = documents.flatMap((text) => text.split(/^## /m));
const examples = sections.flatMap((section) => {
  const code = /^```ts\n([\s\S]*?)^```$/m.exec(section)?.[1];
  const title = section.slice(0, section.indexOf("\n"));
  return code === undefined ? [] : [{ title, code, path: join(folder, `${title.replaceAll(" ", "-")}.mts`) }];
});

test("the examples of the documents are right in their types", async () => {
  for (const { path, code } of examples) writeFileSync(path, code);
  const compiler = join(root, "node_modules/.bin/tsc");
  const libraries = [
    "--lib",
    "es2024,esnext.disposable",
    "--types",
    "node",
    "--typeRoots",
    join(root, "node_modules/@types"),
  ];
  const options = ["--noEmit", "--strict", "--target", "es2024", "--module", "nodenext", ...libraries];
  await run(process.execPath, compiler, ...options, ...examples.map(({ path }) => path));
});

for (const { title, code, path } of examples)
  test(`example: ${title}`, () => {
    using host = testNamespace("package");
    writeFileSync(path, code);
    const output = host.shell(`exec ${process.execPath} ${path}`);
    assert.ok(output.includes(printed[title] ?? "?"), output);
  });

test("each example that is expected is there", () => {
  assert.deepEqual(
    examples.map(({ title }) => title),
    Object.keys(printed),
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
