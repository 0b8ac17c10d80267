import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ErrorCode, WeftError } from "../../base/errors.ts";
import { temporaryFile } from "../../testing/temporary-directory.ts";
import type { Operation } from "../store.ts";
import { SqliteStore } from "./sqlite-store.ts";

// What the tests make by other means than the store's is private, too: the store would refuse it otherwise.
process.umask(0o077);

const put: Operation = { kind: "put", key: "a", value: new Uint8Array(3_000) };

test("a reopened store has its entries, revision, history and compaction", async (context) => {
  const file = temporaryFile(context);
  const store = new SqliteStore(file);
  for (let n = 0; n < 4; n++) await store.transact({ conditions: [], operations: [put] });
  await store.transact({ conditions: [], operations: [{ kind: "delete", key: "a" }] });
  await store.compact(5);
  await store.close();
  const reopened = new SqliteStore(file);
  assert.equal(reopened.revision, 5);
  assert.deepEqual(await reopened.transact({ conditions: [], operations: [put] }), { committed: true, revision: 6 });
  const first = (after: number) =>
    reopened.watch("", after, AbortSignal.timeout(120_000))[Symbol.asyncIterator]().next();
  await assert.rejects(first(4), { name: "CompactedError", compactedRevision: 5 });
  assert.deepEqual((await first(5)).value, { changes: [{ key: "a", value: put.value, revision: 6 }], revision: 6 });
  await reopened.close();
});

test("the file and its log are for their owner alone", async (context) => {
  const file = temporaryFile(context);
  const store = new SqliteStore(file);
  await store.transact({ conditions: [], operations: [put] });
  for (const name of [file, `${file}-wal`]) assert.equal(statSync(name).mode & 0o777, 0o600, name);
  await store.close();
});

test("a second process is refused until the first has ended; a symbolic link is never followed", async (context) => {
  const file = temporaryFile(context);
  const writer = fileURLToPath(new URL("../../testing/store-writer.ts", import.meta.url));
  const child = spawn(process.execPath, [writer, file, "0"], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  symlinkSync(file, `${file}.link`);
  refuses(file, "failed-precondition", /another process has it open/, /stop the other server/);
  refuses(`${file}.link`, "failed-precondition", /symbolic link/, /the file itself/);
  const closed = once(child, "close");
  child.stdout.resume();
  child.kill("SIGKILL");
  await closed;
  await new SqliteStore(file).close();
});

test("a second store in this process is refused and does not disturb the first", async (context) => {
  const file = temporaryFile(context);
  const store = new SqliteStore(file);
  refuses(file, "failed-precondition", /another process has it open/);
  refuses(file, "failed-precondition", /another process has it open/);
  assert.deepEqual(await store.transact({ conditions: [], operations: [put] }), { committed: true, revision: 1 });
  await store.close();
});

test("a file of a newer weft is refused and left as it is", async (context) => {
  const file = temporaryFile(context);
  await new SqliteStore(file).close();
  alter(file, "PRAGMA user_version = 2");
  const before = readFileSync(file);
  refuses(file, "failed-precondition", /schema version 2; this weft knows version 1/, /newer/);
  assert.deepEqual(readFileSync(file), before);
});

test("a database of another program is refused and left as it is", (context) => {
  const file = temporaryFile(context);
  alter(file, "CREATE TABLE theirs (a)");
  const before = readFileSync(file);
  refuses(file, "failed-precondition", /another program/);
  assert.deepEqual(readFileSync(file), before);
});

test("a file that is no database is refused and left as it is", (context) => {
  const file = temporaryFile(context);
  const content = "not a database\n".repeat(500);
  writeFileSync(file, content);
  refuses(file, "failed-precondition", /file is not a database/, /restore it/);
  assert.equal(readFileSync(file, "utf8"), content);
});

test("a damaged file is reported by what reads it", async (context) => {
  const file = temporaryFile(context);
  const store = new SqliteStore(file);
  for (let n = 0; n < 100; n++)
    await store.transact({ conditions: [], operations: [{ ...put, key: `k${n}` } as Operation] });
  await store.close();
  const size = statSync(file).size;
  truncateSync(file, 20_480);
  truncateSync(file, size);
  const damaged = new SqliteStore(file);
  await assert.rejects(damaged.range(""), {
    name: "WeftError",
    code: "failed-precondition",
    attempted: `read the entries of the store ${file}`,
    reason: "database disk image is malformed",
  });
  await damaged.close();
});

test("a missing directory, and a directory in place of the file, are named", (context) => {
  const file = temporaryFile(context);
  refuses(join(file, "none", "store.db"), "failed-precondition", /ENOENT/, /directory exists/);
  mkdirSync(file);
  refuses(file, "failed-precondition", /no regular file/);
});

const root = process.getuid?.() === 0;
test("a file that this user may not write is named", {
  skip: !root && "becoming another user needs root",
}, async (context) => {
  const file = temporaryFile(context);
  await new SqliteStore(file).close();
  chmodSync(dirname(file), 0o755);
  process.seteuid?.("nobody");
  try {
    refuses(file, "failed-precondition", /belongs to user 0/, /chown/);
    refuses(`${file}.new`, "failed-precondition", /EACCES/, /this user may write/);
  } finally {
    process.seteuid?.(0);
  }
});

function refuses(file: string, code: ErrorCode, reason: RegExp, hint = /./): void {
  assert.throws(
    () => new SqliteStore(file),
    (error) => {
      assert.ok(error instanceof WeftError);
      assert.equal(error.code, code);
      assert.equal(error.attempted, `open the store ${file}`);
      assert.match(error.reason, reason);
      assert.match(error.hint ?? "", hint);
      return true;
    },
  );
}

function alter(file: string, sql: string): void {
  const database = new DatabaseSync(file);
  database.exec(sql);
  database.close();
}
