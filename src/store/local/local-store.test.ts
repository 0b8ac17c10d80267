import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { MemoryTables } from "../memory/memory-tables.ts";
import type { Change, TransactionResult, WatchBatch } from "../store.ts";
import { LocalStore } from "./local-store.ts";

/** Counts what a store asks of its tables; commits fail while `failure` is set. */
class ObservedTables extends MemoryTables {
  /** The number of changes in each commit. */
  readonly commits: number[] = [];
  pagesRead = 0;
  failure: Error | undefined;

  override commit(changes: readonly Change[], revision: number): void {
    if (this.failure !== undefined) throw this.failure;
    super.commit(changes, revision);
    this.commits.push(changes.length);
  }

  override changesAfter(prefix: string, afterRevision: number, limit: number): WatchBatch {
    this.pagesRead++;
    return super.changesAfter(prefix, afterRevision, limit);
  }
}

function write(store: LocalStore, key: string, expectedRevision?: number): Promise<TransactionResult> {
  return store.transact({
    conditions: expectedRevision === undefined ? [] : [{ key, revision: expectedRevision }],
    operations: [{ kind: "put", key, value: new Uint8Array() }],
  });
}

test("transactions of one turn of the event loop are one commit", async () => {
  const tables = new ObservedTables();
  const store = new LocalStore(tables);
  const later = Promise.resolve().then(() => write(store, "b"));
  await Promise.all([write(store, "a"), write(store, "a"), later]);
  await write(store, "c");
  assert.deepEqual(tables.commits, [3, 1]);
});

test("a group is bounded, and transactions that are refused cost no commit", async () => {
  const tables = new ObservedTables();
  const store = new LocalStore(tables);
  await Promise.all(Array.from({ length: 600 }, () => write(store, "a")));
  assert.deepEqual(tables.commits, [250, 250, 100]);
  await write(store, "a", 1);
  assert.equal(tables.commits.length, 3);
});

test("the next group waits for the next turn of the event loop", async () => {
  const store = new LocalStore(new ObservedTables());
  const [first, ...others] = Array.from({ length: 251 }, () => write(store, "a"));
  await first;
  assert.equal(store.revision, 250);
  await Promise.all(others);
  assert.equal(store.revision, 251);
});

test("a commit that fails rejects its whole group and changes nothing; the next one is unaffected", async () => {
  const tables = new ObservedTables();
  const store = new LocalStore(tables);
  await write(store, "a");
  tables.failure = new Error("no space");
  const settled = await Promise.allSettled([write(store, "a"), write(store, "a", 9), write(store, "b")]);
  assert.deepEqual(
    settled,
    settled.map(() => ({ status: "rejected", reason: tables.failure })),
  );
  assert.equal(store.revision, 1);
  tables.failure = undefined;
  assert.deepEqual(await write(store, "a", 1), { committed: true, revision: 2 });
  assert.equal((await store.range("")).entries.length, 1);
});

test("a watcher that keeps up reads nothing from the tables; one that does not reads pages", async () => {
  const tables = new ObservedTables();
  const store = new LocalStore(tables);
  const abort = new AbortController();
  const quick = (async () => {
    let changes = 0;
    for await (const batch of store.watch("a", 0, abort.signal)) changes += batch.changes.length;
    return changes;
  })();
  for (let n = 0; n < 2_500; n++) await write(store, "a");
  assert.equal(tables.pagesRead, 0);
  const slow: number[] = [];
  for await (const batch of store.watch("a", 0, abort.signal)) {
    slow.push(batch.changes.length);
    if (batch.revision === store.revision) break;
  }
  assert.deepEqual(slow, [1_000, 1_000, 500]);
  assert.equal(tables.pagesRead, 3);
  abort.abort();
  assert.equal(await quick, 2_500);
});

test("a watch leaves nothing on its signal", async () => {
  const store = new LocalStore(new ObservedTables());
  const abort = new AbortController();
  const done = (async () => {
    for await (const batch of store.watch("a", 0, abort.signal)) if (batch.revision >= 50) return;
  })();
  for (let n = 0; n < 49; n++) await write(store, "a");
  await nextTurn();
  assert.equal(getEventListeners(abort.signal, "abort").length, 1);
  await write(store, "a");
  await done;
  assert.equal(getEventListeners(abort.signal, "abort").length, 0);
});

test("compaction in steps lets transactions come in between", async () => {
  const store = new LocalStore(new ObservedTables());
  await Promise.all(Array.from({ length: 12_000 }, () => write(store, "a")));
  const compacted = store.compact(12_000).then(() => store.revision);
  await write(store, "b");
  assert.equal(await compacted, 12_001);
});
