/**
 * What the control server keeps its state in: an ordered map from keys to values with one revision for each
 * committed transaction, in the manner of etcd v3. All implementations pass the same contract suite.
 */
export interface Store {
  /** The revision of the last commit; 0 when nothing was ever written. */
  readonly revision: number;
  /** The entries whose keys start with `prefix`, ordered by key, as of one revision. */
  range(prefix: string): Promise<RangeResult>;
  /** The entry of one key. */
  get(key: string): Promise<Entry | undefined>;
  /**
   * Applies all operations at one new revision if every condition holds, and none of them otherwise.
   * When the promise resolves with `committed`, the change survives a power cut.
   * Transactions are linearizable: they take effect in the order in which they were submitted.
   */
  transact(transaction: Transaction): Promise<TransactionResult>;
  /**
   * The changes under `prefix` with a revision greater than `afterRevision`, first those retained, then new
   * ones as they are committed; a commit is never split over two batches. Throws {@link CompactedError}
   * when changes after `afterRevision` are retained no more: the watcher reads the state anew by `range`.
   */
  watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch>;
  /** Forgets changes up to and including `revision`; entries stay. */
  compact(revision: number): Promise<void>;
  close(): Promise<void>;
}

export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  /** The revision that last changed the entry. */
  readonly revision: number;
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

/** The changes asked for are retained no more. */
export class CompactedError extends Error {
  override readonly name = "CompactedError";
  /** Changes after this revision can still be watched. */
  readonly compactedRevision: number;

  constructor(compactedRevision: number) {
    super(`changes up to revision ${compactedRevision} have been compacted`);
    this.compactedRevision = compactedRevision;
  }
}
