import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { refusal } from "../../test/support/server.ts";
import { Replica } from "./replica.ts";

const owner = { node: "h1", authority: "AA:BB", instance: "weft" };

function temporaryDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "weft-replica-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("a database serves its node, installation and instance alone", (t) => {
  const directory = temporaryDirectory(t);
  const made = new Replica(directory);
  made.requireOwner(owner);
  made.close();
  const replica = new Replica(directory);
  t.after(() => replica.close());
  replica.requireOwner(owner);
  for (const [other, reason] of [
    [{ node: "h2" }, /state of node h1; this agent is node h2/],
    [{ authority: "CC" }, /another installation/],
    [{ instance: "lab" }, /that of instance weft/],
  ] as const)
    assert.throws(() => replica.requireOwner({ ...owner, ...other }), refusal("failed-precondition", reason));
});
