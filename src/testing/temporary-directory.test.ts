import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "./temporary-directory.ts";

test("what a killed run has left goes with the next one, and what a live one uses stays", async (t) => {
  const { pid: dead } = spawnSync("true");
  const living = spawn("sleep", ["600"]);
  await once(living, "spawn");
  t.after(() => living.kill());
  const [left, used] = [dead, living.pid].map((pid) => mkdtempSync(join(tmpdir(), `weft-test-${pid}-`)));
  assert.ok(left !== undefined && used !== undefined);
  t.after(() => rmSync(used, { recursive: true }));
  const own = temporaryDirectory(t);
  const another = temporaryDirectory(t);
  assert.deepEqual([left, used, own, another].map(existsSync), [false, true, true, true]);
});
