/**
 * The programs of weft in a few files, for tests that start them many times: it halves what each start takes. Run by itself it makes them
 * and prints the path of the main file.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const root = join(import.meta.dirname, "../..");
const cache = join(root, "node_modules/.cache");
/** As bin/weft has it. */
export const compileCache = join(cache, "weft");
const prefix = "weft-bundle-";

/** Its main file, made of the sources as they are now. Throws what the bundler complains of. */
export function bundledProgram(): string {
  const folder = `${prefix}${digestOfSources()}`;
  const main = join(cache, folder, "main.js");
  if (existsSync(main)) return main;
  mkdirSync(cache, { recursive: true });
  const made = mkdtempSync(join(cache, "weft-making-"));
  const words = ["scripts/bundle.ts", "src/cli/main.ts", made];
  const { status, stderr, stdout } = spawnSync("scripts/node.sh", words, { cwd: root, encoding: "utf8" });
  if (status !== 0) {
    rmSync(made, { recursive: true, force: true });
    throw new Error(`scripts/bundle.ts failed: ${stderr}${stdout}`);
  }
  for (const name of readdirSync(cache))
    if (name.startsWith(prefix)) rmSync(join(cache, name), { recursive: true, force: true });
  renameSync(made, join(cache, folder));
  keepCompiled(join(cache, folder));
  return main;
}

/** User-Mode Linux reads what is kept, and keeps nothing itself. All but the main file do no more than to define things. */
function keepCompiled(folder: string): void {
  const script = `for (const name of ${JSON.stringify(readdirSync(folder))}) if (name !== "main.js") await import("${folder}/" + name);`;
  const env = { ...process.env, NODE_COMPILE_CACHE: compileCache };
  for (const words of [
    ["--input-type=module", "--eval", script],
    [join(folder, "main.js"), "version"],
  ]) {
    const { status, stderr } = spawnSync("scripts/node.sh", ["--no-warnings", ...words], {
      cwd: root,
      env,
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`the bundle of weft does not run: ${stderr}`);
  }
}

function digestOfSources(): string {
  const hash = createHash("sha256");
  const files = globSync(["src/**/*.{ts,js}", "scripts/bundle.ts", "package-lock.json"], { cwd: root }).sort();
  for (const file of files)
    if (!file.endsWith(".test.ts"))
      hash
        .update(`${file}\0`)
        .update(readFileSync(join(root, file)))
        .update("\0");
  return hash.digest("hex").slice(0, 16);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) process.stdout.write(`${bundledProgram()}\n`);
