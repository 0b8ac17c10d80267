import type { Failure } from "./marks.ts";

/**
 * Objects of the kernel that are made in several steps, each of which needs the answer to the one before: devices, ports,
 * filters. Like a table, they are data to the reconciler: they remember nothing of what was changed, damaged or failed.
 */
export interface Objects<Key> {
  /** The keys of all that are wanted. */
  keys(): Iterable<Key>;
  /** Lower ones are made first. Default: in the order in which they were marked. */
  rankOf?(key: Key): number;
  isWanted(key: Key): boolean;
  /**
   * Makes the object as it shall be, with as little change as possible. `isDamaged`: somebody else changed it, and what is
   * done is to be told as a repair.
   */
  ensure(key: Key, isDamaged: boolean): Promise<void>;
  /**
   * Takes away what can go of several at once; what cannot is left to {@link remove}, which is called for each. Those that failed before are
   * not among them. Default: nothing.
   */
  removeTogether?(keys: readonly Key[]): Promise<void>;
  /** Takes it away; there may be none. */
  remove(key: Key): Promise<void>;
  /** Told of each attempt, and if it failed how. */
  onAttempt(key: Key, failure: Failure<Key> | undefined): void;
}
