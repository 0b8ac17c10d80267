import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ip } from "../../base/ip.ts";
import { readBpfObject } from "../../linux/index.ts";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import {
  addressKey,
  identifierOctets,
  indexKey,
  listKey,
  nothingCounted,
  nothingDenied,
  portValue,
  verdictKey,
  verdictValue,
} from "../policy/rows.ts";

const hasCompiler = (process.env.PATH ?? "").split(":").some((path) => existsSync(join(path, "clang-14")));
// The script installs it, which takes root.
const skip = !hasCompiler && process.getuid?.() !== 0 && "there is no clang-14, and no root to install it";

test("the programs that are shipped are what their sources compile to", { skip }, (t) => {
  const again = temporaryDirectory(t);
  execFileSync(join(import.meta.dirname, "../../../scripts/programs.sh"), [again]);
  const objects = readdirSync(again);
  assert.deepEqual(objects.sort(), ["forward.o", "guard.o", "policy.o"]);
  for (const object of objects)
    assert.ok(
      readFileSync(join(again, object)).equals(readFileSync(join(import.meta.dirname, object))),
      `${object}: run scripts/programs.sh`,
    );
});

test("the maps of policies are those that the rows are made for", () => {
  const { maps } = readBpfObject(join(import.meta.dirname, "policy.o"));
  const row = { port: 0, length: 0, verdict: { isAllowed: true, rule: 1n, logged: 0n } };
  const port = portValue({ groups: { ingress: 1n, egress: 1n }, epoch: 0, view: 0 });
  const rows: Readonly<Record<string, readonly [Uint8Array, Uint8Array]>> = {
    ports: [indexKey(1), port],
    peers: [addressKey(ip("10.0.0.1")), identifierOctets(1n)],
    lists: [listKey(1n, 1n), identifierOctets(1n)],
    verdicts: [verdictKey(1n, row), verdictValue(row)],
    rules: [identifierOctets(1n), nothingCounted],
    denied: [indexKey(1), nothingDenied],
  };
  for (const [name, [key, value]] of Object.entries(rows)) {
    const { keySize, valueSize } = maps.get(name) ?? {};
    assert.deepEqual([keySize, valueSize], [key.length, value.length], name);
  }
});
