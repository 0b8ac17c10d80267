import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { WeftError } from "../base/errors.ts";
import { compareKeys } from "../store/keys.ts";
import { CompactedError, type Operation, type Store, type TransactionResult, type WatchBatch } from "../store/store.ts";

/** Milliseconds that a test of a store takes at most: for what never comes. */
const patience = 120_000;

/**
 * The tests that every {@link Store} passes. `open` gives an empty store for each test; `context.after` is the
 * place to remove what it made. The suite closes the store.
 */
export function storeContract(name: string, open: (context: TestContext) => Promise<Store>): void {
  const test = (what: string, body: (store: Store) => Promise<void>): void => {
    it(what, { timeout: patience }, async (context) => {
      const store = await open(context);
      context.after(() => store.close());
      await body(store);
    });
  };

  describe(`${name} keeps the contract of a store`, () => {
    test("starts empty, at revision 0", async (store) => {
      assert.equal(store.revision, 0);
      assert.deepEqual(await store.range(""), { entries: [], revision: 0 });
      assert.equal(await store.get("a"), undefined);
    });

    test("gives each commit one new revision and each entry the revision of its last change", async (store) => {
      assert.deepEqual(await change(store, put("a", "1"), put("b", "1")), { committed: true, revision: 1 });
      assert.deepEqual(await change(store, put("a", "2")), { committed: true, revision: 2 });
      assert.equal(store.revision, 2);
      assert.deepEqual(await store.get("a"), { key: "a", value: bytes("2"), revision: 2 });
      assert.deepEqual(await store.get("b"), { key: "b", value: bytes("1"), revision: 1 });
      assert.deepEqual(await change(store, remove("a")), { committed: true, revision: 3 });
      assert.equal(await store.get("a"), undefined);
    });

    test("takes no revision for a transaction that changes nothing", async (store) => {
      await change(store, put("a", "1"));
      assert.deepEqual(await change(store), { committed: true, revision: 1 });
      assert.deepEqual(await change(store, remove("none")), { committed: true, revision: 1 });
      assert.deepEqual(await change(store, put("a", "1")), { committed: true, revision: 2 });
      assert.equal(store.revision, 2);
    });

    test("applies all operations when the conditions hold and none otherwise", async (store) => {
      await change(store, put("a", "1"));
      const refused = await store.transact({
        conditions: [
          { key: "a", revision: 1 },
          { key: "b", revision: 7 },
          { key: "c", revision: 8 },
        ],
        operations: [put("a", "2"), put("x", "2")],
      });
      assert.deepEqual(refused, { committed: false, failed: { key: "b", revision: 7 }, actualRevision: 0 });
      const stale = await store.transact({ conditions: [{ key: "a", revision: 0 }], operations: [remove("a")] });
      assert.deepEqual(stale, { committed: false, failed: { key: "a", revision: 0 }, actualRevision: 1 });
      assert.deepEqual(await state(store), { a: "1" });
      assert.equal(store.revision, 1);
      const granted = await store.transact({
        conditions: [
          { key: "a", revision: 1 },
          { key: "b", revision: 0 },
        ],
        operations: [put("b", "2"), remove("a")],
      });
      assert.deepEqual(granted, { committed: true, revision: 2 });
      assert.deepEqual(await state(store), { b: "2" });
    });

    test("takes transactions in the order of their submission, each seeing those before it", async (store) => {
      const results = await Promise.all([
        create(store, "a", "first"),
        create(store, "a", "second"),
        store.transact({ conditions: [{ key: "a", revision: 1 }], operations: [remove("a")] }),
        create(store, "a", "third"),
      ]);
      assert.deepEqual(results, [
        { committed: true, revision: 1 },
        { committed: false, failed: { key: "a", revision: 0 }, actualRevision: 1 },
        { committed: true, revision: 2 },
        { committed: true, revision: 3 },
      ]);
      assert.deepEqual(await state(store), { a: "third" });
    });

    test("lets no increment of a counter be lost among concurrent writers", async (store) => {
      const increment = async (): Promise<void> => {
        for (;;) {
          const entry = await store.get("counter");
          const next = String(Number(entry === undefined ? 0 : text(entry.value)) + 1);
          const condition = { key: "counter", revision: entry?.revision ?? 0 };
          const result = await store.transact({ conditions: [condition], operations: [put("counter", next)] });
          if (result.committed) return;
        }
      };
      await Promise.all(Array.from({ length: 20 }, increment));
      assert.deepEqual(await state(store), { counter: "20" });
    });

    test("acknowledges more transactions than fit one group, in order", async (store) => {
      const results = await Promise.all(Array.from({ length: 700 }, (_, n) => change(store, put(`k${n % 9}`, `${n}`))));
      assert.deepEqual(
        results.map((result) => result.committed && result.revision),
        Array.from({ length: 700 }, (_, n) => n + 1),
      );
    });

    test("copies values at submission", async (store) => {
      const value = bytes("before");
      const result = store.transact({ conditions: [], operations: [{ kind: "put", key: "a", value }] });
      value.fill(0);
      await result;
      assert.deepEqual(await state(store), { a: "before" });
    });

    test("keeps values of any bytes, the empty one among them", async (store) => {
      const every = Uint8Array.from({ length: 256 }, (_, octet) => octet);
      const operations: Operation[] = [
        { kind: "put", key: "empty", value: new Uint8Array() },
        { kind: "put", key: "every", value: every },
      ];
      await store.transact({ conditions: [], operations });
      assert.deepEqual((await store.get("empty"))?.value, new Uint8Array());
      assert.deepEqual((await store.get("every"))?.value, every);
      assert.deepEqual((await take(store.watch("", 0, AbortSignal.timeout(patience)), 1))[0]?.changes, [
        { key: "empty", value: new Uint8Array(), revision: 1 },
        { key: "every", value: every, revision: 1 },
      ]);
    });

    test("orders keys by their UTF-8 bytes, whatever characters they have", async (store) => {
      await change(store, ...[...oddKeys].reverse().map((key) => put(key, key)));
      assert.deepEqual(
        (await store.range("")).entries.map((entry) => entry.key),
        oddKeys,
      );
      for (const key of oddKeys) assert.equal(text((await store.get(key))?.value), key);
      const [batch] = await take(store.watch("", 0, AbortSignal.timeout(patience)), 1);
      assert.deepEqual(
        batch?.changes.map((each) => each.key),
        oddKeys,
      );
    });

    test("ranges over exactly the keys that start with the prefix", async (store) => {
      await change(store, ...oddKeys.map((key) => put(key, "")));
      for (const prefix of ["a", "a/", "a/\u007f", "a/é", "\u0000", "\u{10ffff}", "\u{d7ff}", "\uffff", "none"])
        assert.deepEqual(
          (await store.range(prefix)).entries.map((entry) => entry.key),
          oddKeys.filter((key) => key.startsWith(prefix)),
          JSON.stringify(prefix),
        );
    });

    test("gives a range page by page", async (store) => {
      await change(store, ...oddKeys.map((key) => put(key, "")));
      const keysOf = async (prefix: string, after: string, limit: number): Promise<string[]> =>
        (await store.range(prefix, { after, limit })).entries.map((entry) => entry.key);
      for (const prefix of ["", "a", "a/", "\uffff", "none"])
        for (const limit of [1, 2, 1000]) {
          const all = oddKeys.filter((key) => key.startsWith(prefix));
          for (const after of ["", ...oddKeys, "a0", "zz"])
            assert.deepEqual(
              await keysOf(prefix, after, limit),
              all.filter((key) => compareKeys(key, after) > 0).slice(0, limit),
              JSON.stringify({ prefix, after, limit }),
            );
        }
      for (const limit of [0, -1, 1.5]) await assert.rejects(store.range("a", { after: "", limit }), invalid);
      await assert.rejects(store.range("a", { after: "\ud800", limit: 1 }), invalid);
    });

    test("refuses what is no key, and two operations on one key", async (store) => {
      for (const key of ["", "\ud800", "a\udfff"]) {
        await assert.rejects(change(store, put(key, "")), invalid, JSON.stringify(key));
        await assert.rejects(store.transact({ conditions: [{ key, revision: 0 }], operations: [] }), invalid);
        await assert.rejects(store.get(key), invalid);
      }
      await assert.rejects(store.range("\ud800"), invalid);
      await assert.rejects(take(store.watch("\ud800", 0, AbortSignal.timeout(patience)), 1), invalid);
      await assert.rejects(change(store, put("a", "1"), remove("a")), invalid);
      assert.equal(store.revision, 0);
    });

    test("gives a range as of one revision", async (store) => {
      const writes: Promise<TransactionResult>[] = [];
      for (let n = 1; n <= 300; n++) {
        writes.push(change(store, put("a", `${n}`), put("z", `${n}`)));
        if (n % 10 !== 0) continue;
        const { entries, revision } = await store.range("");
        assert.deepEqual(
          new Set(entries.map((entry) => text(entry.value))),
          new Set(revision === 0 ? [] : [`${revision}`]),
        );
      }
      await Promise.all(writes);
    });

    test("watches from any revision: first what is retained, then what comes", async (store) => {
      for (let n = 1; n <= 5; n++) await change(store, put(`k/${n}`, `${n}`));
      for (let after = 0; after <= 5; after++) {
        const seen = collect(store, "k/", after, store.revision + 1);
        await change(store, put("k/1", "new"));
        const expected = [1, 2, 3, 4, 5].slice(after).map((n) => `${n} k/${n}=${n}`);
        for (let revision = Math.max(after, 5) + 1; revision <= store.revision; revision++)
          expected.push(`${revision} k/1=new`);
        assert.deepEqual(await seen, expected);
      }
    });

    test("watches from between commits that were submitted together", async (store) => {
      await Promise.all([1, 2, 3, 4].map((n) => change(store, put("k", `${n}`))));
      assert.deepEqual(await collect(store, "k", 2, 4), ["3 k=3", "4 k=4"]);
    });

    test("resumes after the revision of the last batch without a gap or a repetition", async (store) => {
      for (let n = 1; n <= 20; n++) await change(store, put(`k${n % 3}`, `${n}`));
      const seen: number[] = [];
      let after = 0;
      while (after < 20) {
        const writing = change(store, put("other", "x"));
        const [batch] = await take(store.watch("k", after, AbortSignal.timeout(patience)), 1);
        await writing;
        assert.ok(batch !== undefined);
        seen.push(...batch.changes.map((each) => each.revision));
        after = batch.revision;
      }
      assert.deepEqual(
        seen,
        Array.from({ length: 20 }, (_, n) => n + 1),
      );
    });

    test("tells watchers of deletions, and of nothing outside their prefix", async (store) => {
      const seen = collect(store, "a/", 0, 4);
      await change(store, put("a/1", "x"), put("b/1", "x"));
      await change(store, put("b/2", "x"), put("a", "x"));
      await change(store, remove("a/2"), remove("b/1"));
      await change(store, remove("a/1"), put("a/0", "y"));
      assert.deepEqual(await seen, ["1 a/1=x", "4 a/0=y", "4 a/1 deleted"]);
    });

    test("tells a watcher that nothing of its prefix is retained, and later nothing of what is not its", async (store) => {
      await change(store, put("b/1", "x"));
      await change(store, put("b/2", "x"));
      const watch = store.watch("a/", 0, AbortSignal.timeout(patience))[Symbol.asyncIterator]();
      assert.deepEqual(await watch.next(), { done: false, value: { changes: [], revision: 2 } });
      await change(store, put("b/3", "x"));
      await change(store, put("a/1", "x"));
      const { changes, revision } = (await watch.next()).value as WatchBatch;
      assert.deepEqual([changes.map(({ key }) => key), revision], [["a/1"], 4]);
    });

    test("delivers a commit to a waiting watcher without another one", async (store) => {
      const waiting = take(store.watch("a", 0, AbortSignal.timeout(patience)), 1);
      await change(store, put("a", "1"));
      assert.deepEqual(await waiting, [{ changes: [{ key: "a", value: bytes("1"), revision: 1 }], revision: 1 }]);
    });

    test("never splits a commit over two batches, neither in history nor live", async (store) => {
      const abort = new AbortController();
      const live = collectBatches(store.watch("k", 0, abort.signal));
      const commits = 9;
      const size = 400;
      for (let n = 1; n <= commits; n++) {
        const operations = Array.from({ length: size }, (_, index) =>
          put(`k${String(index).padStart(4, "0")}`, `${n}`),
        );
        await Promise.all([change(store, ...operations), change(store, put("other", `${n}`))]);
      }
      const past = await untilRevision(store.watch("k", 0, AbortSignal.timeout(patience)), commits * 2 - 1);
      abort.abort();
      assert.ok(past.length > 1, "the history must need several batches for this test to mean something");
      for (const batches of [past, await live]) {
        const perBatch = batches.map((batch) => Map.groupBy(batch.changes, (each) => each.revision));
        const revisions = perBatch.flatMap((groups) => [...groups.keys()]);
        assert.deepEqual(
          revisions,
          Array.from({ length: commits }, (_, n) => n * 2 + 1),
        );
        for (const groups of perBatch) for (const changes of groups.values()) assert.equal(changes.length, size);
      }
    });

    test("lets a slow watcher catch up from history, whole and in order", async (store) => {
      const abort = new AbortController();
      const watch = store.watch("k", 0, abort.signal)[Symbol.asyncIterator]();
      await change(store, put("k", "1"));
      const revisions = (await watch.next()).value?.changes.map((each: { revision: number }) => each.revision);
      for (let n = 2; n <= 3_000; n += 500)
        await Promise.all(Array.from({ length: 500 }, (_, index) => change(store, put("k", `${n + index}`))));
      while (revisions.at(-1) < store.revision)
        revisions.push(...(await watch.next()).value.changes.map((each: { revision: number }) => each.revision));
      abort.abort();
      assert.deepEqual(
        revisions,
        Array.from({ length: 3_001 }, (_, n) => n + 1),
      );
    });

    test("ends a watch that is aborted: before, while waiting, and between batches", async (store) => {
      assert.deepEqual(await collectBatches(store.watch("a", 0, AbortSignal.abort())), []);
      const waiting = new AbortController();
      const idle = collectBatches(store.watch("a", 0, waiting.signal));
      setImmediate(() => waiting.abort());
      assert.deepEqual(await idle, []);
      await change(store, put("a", "1"));
      const between = new AbortController();
      let batches = 0;
      for await (const _ of store.watch("a", 0, between.signal)) {
        batches++;
        between.abort();
      }
      assert.equal(batches, 1);
    });

    test("serves many watchers with one signal", async (store) => {
      const abort = new AbortController();
      const all = Array.from({ length: 200 }, () => collectAndTell(store.watch("a", 0, abort.signal), 2));
      await change(store, put("a", "1"));
      await change(store, put("a", "2"));
      await Promise.all(all.map(({ reached }) => reached));
      abort.abort();
      for (const batches of await Promise.all(all.map(({ ended }) => ended)))
        assert.deepEqual(
          batches.flatMap((batch) => batch.changes.map((each) => each.revision)),
          [1, 2],
        );
    });

    test("forgets compacted changes, keeps entries, and says where watching can begin", async (store) => {
      for (let n = 1; n <= 6; n++) await change(store, put(`k${n}`, `${n}`));
      await store.compact(4);
      assert.equal((await store.range("")).entries.length, 6);
      assert.equal(store.revision, 6);
      for (const after of [0, 3])
        await assert.rejects(
          take(store.watch("k", after, AbortSignal.timeout(patience)), 1),
          (error) => error instanceof CompactedError && error.compactedRevision === 4,
        );
      assert.deepEqual(await collect(store, "k", 4, 6), ["5 k5=5", "6 k6=6"]);
    });

    test("does not compact twice, nor beyond its own revision", async (store) => {
      for (let n = 1; n <= 4; n++) await change(store, put("k", `${n}`));
      await store.compact(3);
      await store.compact(2);
      assert.deepEqual(await collect(store, "k", 3, 4), ["4 k=4"]);
      for (const revision of [5, -1, 1.5, Number.NaN]) await assert.rejects(store.compact(revision), invalid);
      assert.deepEqual(await collect(store, "k", 3, 4), ["4 k=4"]);
    });

    test("compaction spares a watcher that has kept up and stops one that has not", async (store) => {
      const abort = new AbortController();
      const idle = collectAndTell(store.watch("quiet", 0, abort.signal), 5);
      const slow = store.watch("k", 0, abort.signal)[Symbol.asyncIterator]();
      await change(store, put("k", "1"));
      await slow.next();
      for (let n = 2; n <= 4; n++) await change(store, put("k", `${n}`));
      await store.compact(4);
      await assert.rejects(slow.next(), CompactedError);
      await change(store, put("quiet", "5"));
      await idle.reached;
      abort.abort();
      assert.deepEqual(await idle.ended, [
        { changes: [{ key: "quiet", value: bytes("5"), revision: 5 }], revision: 5 },
      ]);
    });

    test("sends a watcher that knows a later revision than the store back to range", async (store) => {
      await change(store, put("k", "1"));
      await assert.rejects(
        take(store.watch("k", 9, AbortSignal.timeout(patience)), 1),
        (error) => error instanceof CompactedError && error.compactedRevision === 1,
      );
    });

    test("closing completes what was submitted, stops watchers, and refuses the rest", async (store) => {
      const watching = collectBatches(store.watch("none", 0, AbortSignal.timeout(patience)));
      const stopped = assert.rejects(watching, unavailable);
      await change(store, put("a", "0"));
      const submitted = Array.from({ length: 600 }, (_, n) => change(store, put("a", `${n}`)));
      await store.close();
      for (const [index, result] of (await Promise.all(submitted)).entries())
        assert.deepEqual(result, { committed: true, revision: index + 2 });
      await stopped;
      await store.close();
      await assert.rejects(store.get("a"), unavailable);
      await assert.rejects(store.range(""), unavailable);
      await assert.rejects(change(store, put("a", "2")), unavailable);
      await assert.rejects(store.compact(0), unavailable);
      await assert.rejects(take(store.watch("", 0, AbortSignal.timeout(patience)), 1), unavailable);
    });
  });
}

/** In the order of their UTF-8 bytes, which differs from JavaScript's order of strings after U+D7FF. */
const oddKeys = [
  "\u0000",
  "\u0000\u0000",
  "\u0001",
  " ",
  "%",
  "a",
  "a\u0000b",
  "a/",
  "a/\u007f",
  "a/\u007f\u0000",
  "a/\u0080",
  "a/é",
  "a/é/1",
  "a0",
  "aá",
  "\u007f",
  "\u0080",
  "ÿ",
  "\ud7ff",
  "\ue000",
  "\ufffd",
  "\uffff",
  "\uffff\uffff",
  "\u{10000}",
  "\u{10ffff}",
  "\u{10ffff}\u{10ffff}",
];

const bytes = (content: string): Uint8Array => new TextEncoder().encode(content);
const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);
const put = (key: string, value: string): Operation => ({ kind: "put", key, value: bytes(value) });
const remove = (key: string): Operation => ({ kind: "delete", key });

const invalid = (error: unknown): boolean => error instanceof WeftError && error.code === "invalid-argument";
const unavailable = (error: unknown): boolean => error instanceof WeftError && error.code === "unavailable";

function change(store: Store, ...operations: Operation[]): Promise<TransactionResult> {
  return store.transact({ conditions: [], operations });
}

function create(store: Store, key: string, value: string): Promise<TransactionResult> {
  return store.transact({ conditions: [{ key, revision: 0 }], operations: [put(key, value)] });
}

async function state(store: Store): Promise<Record<string, string>> {
  return Object.fromEntries((await store.range("")).entries.map((entry) => [entry.key, text(entry.value)]));
}

async function take(batches: AsyncIterable<WatchBatch>, count: number): Promise<WatchBatch[]> {
  const taken: WatchBatch[] = [];
  for await (const batch of batches) {
    taken.push(batch);
    if (taken.length === count) break;
  }
  return taken;
}

async function untilRevision(batches: AsyncIterable<WatchBatch>, revision: number): Promise<WatchBatch[]> {
  const taken: WatchBatch[] = [];
  for await (const batch of batches) {
    taken.push(batch);
    if (batch.revision >= revision) break;
  }
  return taken;
}

/** All batches until the watch ends. */
function collectBatches(batches: AsyncIterable<WatchBatch>): Promise<WatchBatch[]> {
  return take(batches, Number.POSITIVE_INFINITY);
}

/** All batches until the watch ends, and when it has come to a revision. */
function collectAndTell(
  batches: AsyncIterable<WatchBatch>,
  revision: number,
): { readonly reached: Promise<void>; readonly ended: Promise<WatchBatch[]> } {
  const { promise: reached, resolve } = Promise.withResolvers<void>();
  async function* telling(): AsyncGenerator<WatchBatch> {
    for await (const batch of batches) {
      if (batch.revision >= revision) resolve();
      yield batch;
    }
  }
  return { reached, ended: collectBatches(telling()) };
}

/** The changes up to a revision, one line each. */
async function collect(store: Store, prefix: string, after: number, until: number): Promise<string[]> {
  const batches = await untilRevision(store.watch(prefix, after, AbortSignal.timeout(patience)), until);
  return batches.flatMap((batch) =>
    batch.changes.map((each) => {
      const outcome = each.value === undefined ? " deleted" : `=${text(each.value)}`;
      return `${each.revision} ${each.key}${outcome}`;
    }),
  );
}
