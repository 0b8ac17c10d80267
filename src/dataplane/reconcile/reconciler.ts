import type { Clock } from "../../base/clock.ts";
import type { NetlinkSocket, Request } from "../../netlink/index.ts";
import { ReconciledTable } from "./reconciled-table.ts";
import type { Table } from "./table.ts";

// biome-ignore lint/suspicious/noExplicitAny: tables of any rows; each knows its own.
type AnyTable = ReconciledTable<any, any>;

export interface ReconcilerOptions {
  readonly socket: NetlinkSocket;
  readonly clock: Clock;
  /** A row that somebody else had changed or removed is as it should be again. */
  readonly onRepaired: (kind: string, name: string) => void;
}

/**
 * Makes the rows of several tables of one namespace as they shall be. Tables are in the order in which they come up: what
 * is wanted is made in that order, what is not wanted any more is taken away in the reverse, after all has been made.
 * No packet meets half of what it needs, and nothing is broken before its successor is there.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #tables: AnyTable[] = [];

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** A table that comes up after those before. */
  add<Key, Row>(table: Table<Key, Row>): ReconciledTable<Key, Row> {
    const reconciled = new ReconciledTable(table);
    this.#tables.push(reconciled);
    return reconciled;
  }

  distrust(): void {
    for (const table of this.#tables) table.distrust();
  }

  get hasWork(): boolean {
    const now = this.#options.clock.monotonic();
    return this.#tables.some((table) => table.hasWork(now));
  }

  /**
   * Compares what is not known, then writes what differs, many rows to a send. What is refused stays marked and is tried
   * again with time; it does not stop the rest. Returns the first refusal that stands. Rejects when it is not known what
   * the kernel did: then everything is compared at the next pass.
   */
  async pass(): Promise<Error | undefined> {
    const { socket, clock, onRepaired } = this.#options;
    let unreadable: Error | undefined;
    for (const table of this.#tables)
      try {
        await table.compare(socket);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        unreadable ??= error;
      }
    const now = clock.monotonic();
    const working = this.#tables.filter((table) => table.isKnown && table.hasWork(now));
    if (working.length > 0)
      try {
        const removals: (readonly Request[])[] = [];
        for (const table of working.toReversed()) removals.push(await table.removals(now));
        const { failures } = await socket.batch(inOrder(working, removals, now));
        for (const table of working)
          for (const key of table.answered(failures, now)) onRepaired(table.table.kind, table.table.nameOf(key));
      } catch (error) {
        for (const table of working) table.unanswered();
        throw error;
      }
    return unreadable ?? this.#firstRefusal();
  }

  #firstRefusal(): Error | undefined {
    for (const table of this.#tables) for (const { error } of table.failures) return error;
    return undefined;
  }
}

function* inOrder(
  tables: readonly AnyTable[],
  removals: readonly (readonly Request[])[],
  now: number,
): Generator<Request> {
  for (const table of tables) yield* table.puts(now);
  for (const requests of removals) yield* requests;
}
