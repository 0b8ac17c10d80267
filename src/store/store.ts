import type { WeftError } from "../base/errors.ts";

/**
 * What the control server keeps its state in: an ordered map from keys to values with one revision for each
 * committed transaction, in the manner of etcd v3. All implementations pass the same contract suite.
 *
 * A key is any text that is not empty and has no lone surrogate; keys are ordered by their UTF-8 bytes.
 * Whatever a store cannot do it reports by throwing a WeftError; after `close` that is all that it does.
 */
export interface Store {
  /** The revision of the last commit; 0 when nothing was ever written. */
  readonly revision: number;
  /** Why nothing can be written any more until the process is restarted; undefined: nothing is known against it. */
  readonly failure?: WeftError | undefined;
  /** The entries whose keys start with `prefix`, ordered by key, as of one revision; all of them, or one page. */
  range(prefix: string, page?: Page): Promise<RangeResult>;
  /** The entry of one key. */
  get(key: string): Promise<Entry | undefined>;
  /**
   * Applies all operations at one new revision if every condition holds, and none of them otherwise.
   * When the promise resolves with `committed`, the change survives a power cut.
   * Transactions are linearizable: they take effect in the order in which they were submitted.
   * A transaction that changes nothing takes no new revision and commits at the store's present one.
   * A promise that rejects leaves open whether the change took place (the store's answer may have been lost);
   * it took place whole or not at all. Values are copied before `transact` returns.
   */
  transact(transaction: Transaction): Promise<TransactionResult>;
  /**
   * The changes under `prefix` with a revision greater than `afterRevision`, first those retained, then new
   * ones as they are committed; a commit is never split over two batches. The batches reach the revision at which the
   * watch began, if need be with an empty one; later ones are not empty. Throws
   * {@link CompactedError} when changes after `afterRevision` are retained no more, be it at the start or because
   * the reader was slow, and when the store is not yet at `afterRevision` (it was restored from an older copy):
   * the watcher reads the state anew by `range`. Ends when `signal` is aborted.
   */
  watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch>;
  /** Forgets changes up to and including `revision`, which is not beyond the store's own; entries stay. */
  compact(revision: number): Promise<void>;
  /** Completes the transactions submitted so far, then lets go of everything. Running watches throw. */
  close(): Promise<void>;
}

export interface Entry {
  readonly key: string;
  /** Not to be modified: the store may hand the same bytes to others. */
  readonly value: Uint8Array;
  /** The revision that last changed the entry. */
  readonly revision: number;
}

/** The first entries of a range whose keys come after `after`; the empty text comes before all. Fewer than `limit`, from 1 on: there are no more. */
export interface Page {
  readonly after: string;
  readonly limit: number;
}

export interface RangeResult {
  readonly entries: readonly Entry[];
  /** The revision at which this was the state. */
  readonly revision: number;
}

export interface Transaction {
  readonly conditions: readonly Condition[];
  readonly operations: readonly Operation[];
}

/** The key is at exactly this revision; 0: it does not exist. */
export interface Condition {
  readonly key: string;
  readonly revision: number;
}

/** Each key at most once in a transaction. Deleting a key that does not exist changes nothing. */
export type Operation =
  | { readonly kind: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: string };

export type TransactionResult =
  | { readonly committed: true; readonly revision: number }
  /** The first condition that did not hold, and the revision that its key has. */
  | { readonly committed: false; readonly failed: Condition; readonly actualRevision: number };

export interface WatchBatch {
  /** Ordered by revision, then by key. */
  readonly changes: readonly Change[];
  /** All changes up to and including this revision have been delivered. */
  readonly revision: number;
}

export interface Change {
  readonly key: string;
  /** Absent: the key was deleted. */
  readonly value?: Uint8Array;
  readonly revision: number;
}

/** The changes asked for cannot be had: read the state anew by `range` and watch from its revision. */
export class CompactedError extends Error {
  override readonly name = "CompactedError";
  /** Changes after this revision can still be watched. */
  readonly compactedRevision: number;

  constructor(compactedRevision: number) {
    super(`only changes after revision ${compactedRevision} can be watched`);
    this.compactedRevision = compactedRevision;
  }
}
