import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { WeftError } from "../../base/errors.ts";
import { makeTemporaryDirectory } from "../../testing/temporary-directory.ts";
import type { TransactionResult } from "../store.ts";
import { SqliteStore } from "./sqlite-store.ts";

const skip = process.getuid?.() === 0 ? false : "mounting a small file system needs root";

test("a full disk rejects what it cannot keep; the store goes on when space returns", { skip }, async (context) => {
  const directory = mountSmall(context);
  const ballast = join(directory, "ballast");
  const file = join(directory, "store.db");
  writeFileSync(ballast, new Uint8Array(256 * 1024));
  const store = new SqliteStore(file);

  const kept = new Map<string, number>();
  let rejected: readonly PromiseSettledResult<TransactionResult>[] = [];
  for (let round = 0; rejected.length === 0; round++) {
    assert.ok(round < 1_000, "the disk must become full for this test to mean something");
    const settled = await Promise.allSettled([0, 1, 2].map((index) => write(store, `${round}/${index}`)));
    if (settled.some(({ status }) => status === "rejected")) rejected = settled;
    else for (const [index, result] of settled.entries()) kept.set(`${round}/${index}`, revisionOf(result));
  }

  assert.equal(kept.size, store.revision, "the store is where the last acknowledged transaction left it");
  for (const result of rejected) {
    assert.ok(result.status === "rejected", "transactions of one group share its fate");
    assert.ok(result.reason instanceof WeftError);
    assert.equal(result.reason.code, "unavailable");
    assert.equal(
      result.reason.message,
      `commit revision ${kept.size + 3} to the store ${file}: database or disk is full`,
    );
    assert.match(result.reason.hint ?? "", /free space/);
  }
  assert.deepEqual(await revisions(store), kept);

  rmSync(ballast);
  kept.set("afterwards", revisionOf((await Promise.allSettled([write(store, "afterwards")]))[0]));
  assert.deepEqual(await revisions(store), kept);
  await store.close();
  const reopened = new SqliteStore(file);
  assert.deepEqual(await revisions(reopened), kept);
  assert.equal(reopened.revision, kept.size);
  await reopened.close();
});

test("a disk without room for a new store says so", { skip }, (context) => {
  const directory = mountSmall(context);
  assert.throws(() => writeFileSync(join(directory, "ballast"), new Uint8Array(2 * 1024 * 1024)), { code: "ENOSPC" });
  const file = join(directory, "store.db");
  assert.throws(() => new SqliteStore(file), {
    name: "WeftError",
    code: "unavailable",
    attempted: `open the store ${file}`,
    reason: "database or disk is full",
  });
});

test("a read-only file system is named as the reason", { skip }, async (context) => {
  const directory = mountSmall(context);
  const existing = join(directory, "store.db");
  await new SqliteStore(existing).close();
  execFileSync("mount", ["-o", "remount,ro", directory]);
  for (const file of [existing, join(directory, "new.db")])
    assert.throws(
      () => new SqliteStore(file),
      (error) =>
        error instanceof WeftError &&
        error.code === "failed-precondition" &&
        error.attempted === `open the store ${file}` &&
        /read-?only/.test(error.reason) &&
        /not read-only/.test(error.hint ?? ""),
    );
});

/** A file system of 1 MiB in memory, gone after the test. */
function mountSmall(context: TestContext): string {
  const directory = makeTemporaryDirectory();
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory]);
  context.after(() => {
    // Lazily: a store that a failed test left open would keep the file system busy.
    execFileSync("umount", ["--lazy", directory]);
    rmdirSync(directory);
  });
  return directory;
}

function write(store: SqliteStore, key: string): Promise<TransactionResult> {
  return store.transact({ conditions: [], operations: [{ kind: "put", key, value: new Uint8Array(1_000) }] });
}

function revisionOf(result: PromiseSettledResult<TransactionResult> | undefined): number {
  assert.ok(result?.status === "fulfilled" && result.value.committed);
  return result.value.revision;
}

async function revisions(store: SqliteStore): Promise<Map<string, number>> {
  return new Map((await store.range("")).entries.map(({ key, revision }) => [key, revision]));
}
