import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { Replica } from "./replica.ts";

test("attachments of an earlier version get route priorities, each its own", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "weft-test-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "agent.db");
  new Replica(directory).close();
  const earlier = new DatabaseSync(path);
  earlier.exec(`ALTER TABLE attachments DROP COLUMN routePriority; PRAGMA user_version = 2;
    INSERT INTO attachments VALUES ('b', 'web', '/run/netns/c', 'eth0', 'attached', 0);
    INSERT INTO attachments VALUES ('a', 'db', '/run/netns/c', 'eth1', 'attached', 0);`);
  earlier.close();
  const replica = new Replica(directory);
  t.after(() => replica.close());
  assert.deepEqual(
    replica.attachments().map(({ id, routePriority }) => `${id} ${routePriority}`),
    ["a 1", "b 2"],
  );
});
