import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { lastRun, type Run, rememberRun } from "./run.ts";

const run: Run = {
  process: 4711,
  node: "h1",
  instance: "weft",
  server: "https://192.0.2.1:7400",
  dataDirectory: "/var/lib/weft/agent",
  underlay: [
    { kind: "address", address: ip("192.0.2.1") },
    { kind: "prefix", prefix: cidr("2001:db8::/64") },
  ],
};

test("what an agent was started with is found again, and what the last one was", (t) => {
  const directory = temporaryDirectory(t);
  assert.equal(lastRun(directory), undefined);
  rememberRun(directory, { ...run, node: "h0" });
  rememberRun(directory, run);
  assert.deepEqual(lastRun(directory), run);
});

test("a file that a full disk has cut off, or that another version wrote, is none", (t) => {
  const directory = temporaryDirectory(t);
  for (const text of ["", '{"node": "h', '{"node": "h1"}', '{"process": 1, "underlay": "nowhere!"}']) {
    writeFileSync(join(directory, "agent.json"), text, { mode: 0o600 });
    assert.equal(lastRun(directory), undefined, text);
  }
});
