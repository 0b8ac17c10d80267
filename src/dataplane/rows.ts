import type { FdbEntry, Neighbour, Query, Route } from "../netlink/index.ts";

/** What the kernel told of a table: an FDB entry, a neighbour or a route. */
export type Row = FdbEntry | Neighbour | Route;

/** The rows of one network in the kernel's tables, kept equal to the desired ones. */
export interface Rows {
  /**
   * Compares the kernel's tables with the desired ones and leaves only rows that differ marked. A row that a dump does
   * not show is looked up by itself before it counts as missing: dumps of a busy table lack entries.
   */
  compare(): Promise<void>;
  /** Writes the rows that are marked; those that fail stay marked, and the first failure is told. */
  program(): Promise<Error | undefined>;
  /** Takes away what does not go with the network's devices. */
  withdraw(): Promise<void>;
  /** A row of one of this network's devices went away. Tells whether there is something to restore. */
  onDeleted(row: Row): boolean;
  /** Somebody wrote a row. Tells whether it must be written again as it shall be. */
  onWritten(row: Row): boolean;
}

/** A dump whose rows are looked at as they come and not collected. */
export function consumed<Value>(query: Query<Value>, look: (value: Value) => void): Query<never> {
  return {
    ...query,
    read: (...message) => {
      const value = query.read(...message);
      if (value !== undefined) look(value);
      return undefined;
    },
  };
}
