import { setImmediate as nextTurn } from "node:timers/promises";
import { WeftError } from "../../base/errors.ts";
import { checkKey, checkPage, checkPrefix, checkTransaction } from "../keys.ts";
import {
  CompactedError,
  type Entry,
  type Page,
  type RangeResult,
  type Store,
  type Transaction,
  type TransactionResult,
  type WatchBatch,
} from "../store.ts";
import { evaluate } from "./evaluate.ts";
import type { Tables } from "./tables.ts";
import { WaitingList } from "./waiting-list.ts";

/**
 * A group commit ends with the transaction that reaches this many conditions and operations: some 10 ms of work in
 * SQLite, so that the event loop is not held, and enough to make the cost of the sync to disk small.
 */
const groupLimit = 250;

/** A batch of a watch ends with the commit that reaches this many changes. */
const pageLimit = 1_000;

/** Compaction forgets this many revisions at a time; other work of the event loop comes in between. */
const compactionStep = 5_000;

interface Submitted {
  readonly transaction: Transaction;
  readonly resolve: (result: TransactionResult) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A store whose state lies in this process alone (memory, a file that nobody else may open).
 *
 * Group commit: the transactions submitted in one turn of the event loop are written together, with one sync to
 * disk, and acknowledged together. Each is judged on the effects of those before it. If the write fails, all of
 * the group are rejected, since the verdict on each may rest on the others.
 *
 * Watchers that keep up get the last group from memory; others read the retained changes page by page. So a
 * watcher never holds more than the batch that it works on.
 */
export class LocalStore implements Store {
  readonly #tables: Tables;
  readonly #waiting = new WaitingList();
  #queue: Submitted[] = [];
  #closed = false;
  /** The changes of the last group, all those after `afterRevision`. */
  #lastGroup: WatchBatch & { readonly afterRevision: number };

  constructor(tables: Tables) {
    this.#tables = tables;
    this.#lastGroup = { afterRevision: tables.revision, revision: tables.revision, changes: [] };
  }

  get revision(): number {
    return this.#tables.revision;
  }

  get failure(): WeftError | undefined {
    return this.#tables.loss;
  }

  async range(prefix: string, page?: Page): Promise<RangeResult> {
    this.#checkOpen(`read the entries under ${JSON.stringify(prefix)}`);
    checkPrefix(prefix, "read the entries under a prefix");
    if (page !== undefined) checkPage(page, "read some of the entries under a prefix");
    return { entries: this.#tables.range(prefix, page), revision: this.#tables.revision };
  }

  async get(key: string): Promise<Entry | undefined> {
    this.#checkOpen(`read the entry ${JSON.stringify(key)}`);
    checkKey(key, "read an entry");
    return this.#tables.get(key);
  }

  async transact(transaction: Transaction): Promise<TransactionResult> {
    this.#checkOpen("submit a transaction");
    checkTransaction(transaction);
    const own = copyOf(transaction);
    return new Promise((resolve, reject) => {
      this.#queue.push({ transaction: own, resolve, reject });
      if (this.#queue.length === 1) this.#scheduleGroup();
    });
  }

  async *watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncGenerator<WatchBatch, void, void> {
    checkPrefix(prefix, "watch a prefix");
    let delivered = afterRevision;
    const begin = this.#tables.revision;
    while (!signal.aborted) {
      this.#checkOpen(`watch ${JSON.stringify(prefix)} after revision ${delivered}`);
      if (delivered < this.#tables.compactedRevision) throw new CompactedError(this.#tables.compactedRevision);
      if (delivered > this.#tables.revision) throw new CompactedError(this.#tables.revision);
      if (delivered === this.#tables.revision) {
        await this.#waiting.wait(signal);
        continue;
      }
      const batch = this.#changesAfter(prefix, delivered);
      const isOfBegin = delivered < begin;
      delivered = batch.revision;
      if (batch.changes.length > 0 || isOfBegin) yield batch;
    }
  }

  async compact(revision: number): Promise<void> {
    const attempted = `compact the store up to revision ${revision}`;
    this.#checkOpen(attempted);
    if (!Number.isSafeInteger(revision) || revision < 0 || revision > this.#tables.revision)
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `a revision from 0 to ${this.#tables.revision} was expected`,
      });
    while (this.#tables.compactedRevision < revision) {
      this.#checkOpen(attempted);
      this.#tables.compact(Math.min(this.#tables.compactedRevision + compactionStep, revision));
      await nextTurn();
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#queue.length > 0) this.#commitGroup();
    this.#waiting.wakeAll();
    this.#tables.close();
  }

  #checkOpen(attempted: string): void {
    if (this.#closed) throw new WeftError({ code: "unavailable", attempted, reason: "the store is closed" });
  }

  /** Not a microtask: what other events of this turn submit shall share the sync to disk. */
  #scheduleGroup(): void {
    setImmediate(() => {
      if (this.#queue.length === 0) return;
      this.#commitGroup();
      if (this.#queue.length > 0) this.#scheduleGroup();
    });
  }

  #commitGroup(): void {
    const group = this.#takeGroup();
    const tables = this.#tables;
    const afterRevision = tables.revision;
    try {
      const { results, changes, revision } = evaluate(
        group.map((submitted) => submitted.transaction),
        afterRevision,
        (key) => tables.revisionOf(key),
      );
      if (changes.length > 0) {
        tables.commit(changes, revision);
        this.#lastGroup = { afterRevision, revision, changes };
        this.#waiting.wakeAll();
      }
      for (const [index, submitted] of group.entries()) submitted.resolve(results[index] as TransactionResult);
    } catch (error) {
      for (const submitted of group) submitted.reject(error);
    }
  }

  #takeGroup(): Submitted[] {
    let size = 0;
    let count = 0;
    for (const { transaction } of this.#queue) {
      count++;
      size += Math.max(1, transaction.conditions.length + transaction.operations.length);
      if (size >= groupLimit) break;
    }
    return this.#queue.splice(0, count);
  }

  #changesAfter(prefix: string, revision: number): WatchBatch {
    const group = this.#lastGroup;
    if (revision < group.afterRevision) return this.#tables.changesAfter(prefix, revision, pageLimit);
    return {
      changes: group.changes.filter((change) => change.revision > revision && change.key.startsWith(prefix)),
      revision: group.revision,
    };
  }
}

/** The caller may reuse its buffers while the transaction waits. */
function copyOf(transaction: Transaction): Transaction {
  return {
    conditions: transaction.conditions.map((condition) => ({ ...condition })),
    operations: transaction.operations.map((operation) =>
      operation.kind === "put" ? { ...operation, value: new Uint8Array(operation.value) } : { ...operation },
    ),
  };
}
