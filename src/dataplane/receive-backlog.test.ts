import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ReceiveBacklog } from "./receive-backlog.ts";
import type { DataplaneEvent } from "./report.ts";

function setting(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "weft-backlog-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, "netdev_max_backlog");
}

test("a bridge with many ports has the backlog raised, once, and never lowered", (t) => {
  const path = setting(t);
  const events: DataplaneEvent[] = [];
  const backlog = new ReceiveBacklog("web", (event) => events.push(event), path);
  writeFileSync(path, "1000\n");
  backlog.ensure(249);
  assert.equal(readFileSync(path, "utf8"), "1000\n");
  backlog.ensure(250);
  backlog.ensure(251);
  assert.equal(readFileSync(path, "utf8"), "4096");
  assert.deepEqual(
    events.map(({ level }) => level),
    ["info"],
  );
  writeFileSync(path, "8192\n");
  backlog.ensure(1_020);
  assert.equal(readFileSync(path, "utf8"), "8192\n");
});

test("where it cannot be raised, that is told once, with what to do", (t) => {
  const events: DataplaneEvent[] = [];
  const backlog = new ReceiveBacklog("web", (event) => events.push(event), setting(t));
  backlog.ensure(300);
  backlog.ensure(301);
  assert.equal(events.length, 1);
  assert.equal(events[0]?.level, "warning");
  assert.match(
    events[0]?.message ?? "",
    /could not be raised to 4096 \(ENOENT.*sysctl -w net\.core\.netdev_max_backlog=4096/,
  );
});
