/** The examples of docs/netlink.md run as they stand. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { testNamespace } from "../support/namespaces.ts";

const root = join(import.meta.dirname, "../..");
const text = readFileSync(join(root, "docs/netlink.md"), "utf8");
const examples = [...text.matchAll(/^## (.+)$|^```ts\n([\s\S]*?)^```$/gm)];

/** What each example prints, or a part of it. */
const printed: Readonly<Record<string, string>> = {
  "Requests and the socket": "create veth left: EEXIST",
  "Many changes": "1000 done\n",
  Namespaces: "'eth0'",
  Tunnels: "100\n",
  Events: "br7\n",
};

let heading = "";
const found: string[] = [];
for (const [, title, code] of examples) {
  if (title !== undefined) heading = title;
  if (code === undefined) continue;
  const name = heading;
  found.push(name);
  test(name, () => {
    using host = testNamespace("docs");
    const directory = mkdtempSync(join(tmpdir(), "weft-docs-"));
    try {
      const program = code.replaceAll(/from "weft\/([a-z/-]+)"/g, (_, path: string) => {
        const file = path === "netlink" ? "netlink/index.ts" : `${path}.ts`;
        return `from "${pathToFileURL(join(root, "src", file))}"`;
      });
      writeFileSync(join(directory, "example.mts"), program);
      const output = host.shell(`exec ${process.execPath} ${join(directory, "example.mts")}`);
      assert.ok(output.includes(printed[name] ?? "?"), output);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

test("each example that is expected is there", () => {
  assert.deepEqual(found, Object.keys(printed));
});
