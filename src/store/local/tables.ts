import type { WeftError } from "../../base/errors.ts";
import type { Change, Entry, Page, WatchBatch } from "../store.ts";

/**
 * Where a {@link LocalStore} keeps its state: entries, retained changes, and two revisions. Every method runs to
 * its end before anything else does, so each sees the state after some commit. Keys and prefixes are valid.
 */
export interface Tables {
  /** The revision of the last commit; 0 at first. */
  readonly revision: number;
  /** Changes up to and including this revision are forgotten; 0 at first. */
  readonly compactedRevision: number;
  /** As {@link Store.failure}. */
  readonly loss?: WeftError | undefined;
  get(key: string): Entry | undefined;
  /** The revision that last changed the key; 0: the key does not exist. */
  revisionOf(key: string): number;
  /** The entries under `prefix`, ordered by key. */
  range(prefix: string, page?: Page): Entry[];
  /**
   * The retained changes under `prefix` after `afterRevision`: all of them, or, when there are more than `limit`,
   * those of as many whole commits as it takes to reach `limit`.
   */
  changesAfter(prefix: string, afterRevision: number, limit: number): WatchBatch;
  /**
   * Takes over the changes, ordered by revision and key, the last of them at `revision`. Durable when it returns;
   * when it throws, nothing has changed.
   */
  commit(changes: readonly Change[], revision: number): void;
  /** Forgets changes up to and including `revision`, which is greater than `compactedRevision`. */
  compact(revision: number): void;
  close(): void;
}
