import type { Query, Request } from "../../netlink/index.ts";

/** The row is wanted, and what it leads through is not there yet. It stays marked and is looked at in each pass. */
export const notYet = Symbol("not yet");

/**
 * One kind of rows that the kernel holds: what is wanted, and how they are seen and changed. A table is data to the
 * {@link Reconciler}; it remembers nothing of the kernel and knows no loops.
 */
export interface Table<Key, Row> {
  /** What one row is called in events and problems: `route`. */
  readonly kind: string;
  /** The keys of all rows that are wanted, each once. */
  keys(): Iterable<Key>;
  /** The row as it shall be; `undefined`: none shall be. A look-up into desired state, not a copy of it. */
  wanted(key: Key): Row | typeof notYet | undefined;
  keyOf(row: Row): Key;
  /** What shows all rows, others' among them. A query that several tables give is asked once for all of them. */
  list(): readonly Query<Row>[];
  /**
   * What shows one row as it shall be, should a listing have missed it or an event be old. Absent: listings miss none, and
   * one is asked for after each event that tells of damage.
   */
  get?(row: Row): readonly Query<Row>[];
  /** Entries of the kernel that make one row, told one by one. Default 1. */
  readonly parts?: number;
  /** Which of its {@link parts} an entry is, from 0 on. */
  partOf?(row: Row): number;
  /** Whether weft wrote the row, by its mark and its place. Others' are neither judged surplus nor taken away. */
  isOwn(row: Row): boolean;
  /** Whether what the kernel has is, for its part, what is wanted. */
  same(wanted: Row, actual: Row): boolean;
  /** Makes the row, or makes the one that is there so. */
  put(row: Row): Request;
  /** Whether a refusal of {@link put} says that the row is there, which a listing is to confirm. Default: none does. */
  isDone?(error: Error): boolean;
  /**
   * Takes away what somebody else has put in the place of the row where a refusal of {@link put} says that the kernel will not make the
   * one of the other; `undefined`: it says something else. Default: there is no such thing.
   */
  clear?(row: Row, error: Error): Request | undefined;
  remove(row: Row): Request;
  /** Rows that the kernel may still hold of a key that is wanted no more: known, or to be asked for. */
  left(key: Key): readonly Row[] | Promise<readonly Row[]>;
  /** Rows stay when the devices of the network go: they are taken away by themselves. Default: they go. */
  readonly outlivesDevices?: boolean;
  /** Called when the kernel has what is wanted of a key that was marked, be it nothing. */
  onDone?(key: Key): void;
  /** Called when a row that somebody else had changed or removed is as it should be again. */
  onRepaired?(key: Key): void;
  /** The key as people know it: `10.8.0.64/26`. */
  nameOf(key: Key): string;
}
