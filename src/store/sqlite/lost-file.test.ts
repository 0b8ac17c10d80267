import assert from "node:assert/strict";
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { WeftError } from "../../base/errors.ts";
import { temporaryFile } from "../../testing/temporary-directory.ts";
import { SqliteStore } from "./sqlite-store.ts";

const put = (store: SqliteStore, key: string) =>
  store.transact({ conditions: [], operations: [{ kind: "put", key, value: Uint8Array.of(1) }] });

async function refused(store: SqliteStore, reason: RegExp, hint: RegExp): Promise<void> {
  await assert.rejects(put(store, "lost"), (error) => {
    assert.ok(error instanceof WeftError);
    assert.equal(error.code, "unavailable");
    assert.match(error.reason, reason);
    assert.match(error.hint ?? "", hint);
    return true;
  });
}

async function open(t: TestContext): Promise<{ file: string; store: SqliteStore }> {
  const file = temporaryFile(t);
  const store = new SqliteStore(file);
  t.after(() => store.close());
  await put(store, "kept");
  assert.equal(store.failure, undefined);
  return { file, store };
}

for (const [what, lose, reason] of [
  ["deleted", (file: string) => rmSync(file), /store\.db was deleted while the server ran/],
  ["without its log", (file: string) => rmSync(`${file}-wal`), /store\.db-wal was deleted/],
  [
    "replaced",
    (file: string) => {
      renameSync(file, `${file}.moved`);
      writeFileSync(file, "theirs");
    },
    /store\.db was replaced/,
  ],
] as const)
  test(`a store whose file is ${what} acknowledges nothing, can be read, and saves what it held`, async (t) => {
    const { file, store } = await open(t);
    lose(file);
    assert.match(store.failure?.reason ?? "", reason);
    await refused(store, reason, /was saved as .*store\.db\.rescued: stop the server/);
    await refused(store, reason, /was saved as/);
    assert.equal((await store.get("kept"))?.revision, 1);
    assert.equal(await store.get("lost"), undefined);
    if (what === "replaced") assert.equal(readFileSync(file, "utf8"), "theirs");
    assert.equal(statSync(`${file}.rescued`).mode & 0o777, 0o600);
    const rescued = new SqliteStore(`${file}.rescued`);
    assert.equal((await rescued.get("kept"))?.revision, 1);
    assert.equal(rescued.revision, 1);
    await rescued.close();
  });

test("a store whose directory is gone says what can be saved still", async (t) => {
  const { file, store } = await open(t);
  rmSync(file.replace(/\/[^/]*$/, ""), { recursive: true });
  await refused(store, /was deleted/, /save tenants and networks with weft export/);
});
