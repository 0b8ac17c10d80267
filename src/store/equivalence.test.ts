import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { temporaryFile } from "../testing/temporary-directory.ts";
import { CompactedError, MemoryStore, type Page, SqliteStore, type Store, type Transaction } from "./index.ts";

type Step =
  | { readonly kind: "transact"; readonly group: readonly Transaction[] }
  | { readonly kind: "range"; readonly prefix: string; readonly page: Page | undefined }
  | { readonly kind: "watch"; readonly prefix: string; readonly behind: number }
  | { readonly kind: "compact"; readonly behind: number }
  | { readonly kind: "reopen" };

const key = fc.constantFrom("a", "a/1", "a/2", "b", "\uffff", "\u{10000}", "\u0000");
const prefix = fc.constantFrom("", "a", "a/", "\u{10000}", "none");
const page: fc.Arbitrary<Page | undefined> = fc.option(
  fc.record({ after: fc.oneof(fc.constant(""), key), limit: fc.integer({ min: 1, max: 3 }) }),
  { nil: undefined },
);
const behind = fc.nat(8);
const operation = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), key, value: fc.uint8Array({ maxLength: 3 }) }),
  fc.record({ kind: fc.constant("delete" as const), key }),
);
const transaction: fc.Arbitrary<Transaction> = fc.record({
  conditions: fc.array(fc.record({ key, revision: fc.nat(12) }), { maxLength: 1 }),
  operations: fc.uniqueArray(operation, { maxLength: 4, selector: (each) => each.key }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("transact" as const), group: fc.array(transaction, { maxLength: 4 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("range" as const), prefix, page }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("watch" as const), prefix, behind }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), behind }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
);

test("memory and SQLite give the same answers to any sequence of operations, reopened or not", async (context) => {
  let run = 0;
  const directory = temporaryFile(context);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const file = `${directory}.${run++}`;
      const memory = new MemoryStore();
      let sqlite = new SqliteStore(file);
      try {
        for (const each of steps) {
          if (each.kind === "reopen") {
            await sqlite.close();
            sqlite = new SqliteStore(file);
          } else assert.deepEqual(await answer(sqlite, each), await answer(memory, each));
          assert.equal(sqlite.revision, memory.revision);
        }
        assert.deepEqual(await sqlite.range(""), await memory.range(""));
        assert.deepEqual(await history(sqlite, "", 0), await history(memory, "", 0));
      } finally {
        await sqlite.close();
        await memory.close();
      }
    }),
    { numRuns: 100 },
  );
});

async function answer(store: Store, step: Exclude<Step, { readonly kind: "reopen" }>): Promise<unknown> {
  switch (step.kind) {
    case "transact":
      return Promise.all(step.group.map((each) => store.transact(each)));
    case "range":
      return store.range(step.prefix, step.page);
    case "watch":
      return history(store, step.prefix, Math.max(0, store.revision - step.behind));
    case "compact":
      return store.compact(Math.max(0, store.revision - step.behind));
  }
}

/** The retained changes after a revision, or from where they can be watched. */
async function history(store: Store, prefix: string, afterRevision: number): Promise<unknown> {
  const abort = new AbortController();
  const changes: unknown[] = [];
  setImmediate(() => abort.abort());
  try {
    for await (const batch of store.watch(prefix, afterRevision, abort.signal)) changes.push(...batch.changes);
    return changes;
  } catch (error) {
    if (error instanceof CompactedError) return error.compactedRevision;
    throw error;
  }
}
