import type { Clock } from "../../base/clock.ts";
import { isGone, type NetlinkSocket, type Query, type Request } from "../../netlink/index.ts";
import { type Failure, Marks } from "./marks.ts";
import { ReconciledTable } from "./reconciled-table.ts";
import type { Table } from "./table.ts";

// biome-ignore lint/suspicious/noExplicitAny: tables of any rows; each knows its own.
type AnyTable = ReconciledTable<any, any>;

export interface ReconcilerOptions {
  readonly socket: NetlinkSocket;
  readonly clock: Clock;
  /** A row that somebody else had changed or removed is as it should be again: to be told by its name. */
  readonly onRepaired?: (kind: string, name: string) => void;
}

/**
 * Makes the rows of several tables of one namespace as they shall be. Tables are in the order in which they come up: what
 * is wanted is made in that order, what is not wanted any more is taken away in the reverse, after all has been made.
 * No packet meets half of what it needs, and nothing is broken before its successor is there.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #tables: AnyTable[] = [];
  /** Listings that failed. */
  readonly #listings = new Marks<AnyTable>();

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

  /** The kernel has none of the rows of all tables, because what held them is new. */
  beginEmpty(): void {
    for (const table of this.#tables) table.beginEmpty();
  }

  markAll(): void {
    for (const table of this.#tables) table.markAll();
  }

  /** Whether a pass would do something now. */
  get hasWork(): boolean {
    const now = this.#options.clock.monotonic();
    return this.#tables.some((table) => (table.isKnown ? table.hasWork(now) : !this.#listings.isWaiting(table, now)));
  }

  /** Whether the kernel has what is wanted, as far as is known: nothing is pending, refused or unknown. */
  get isSettled(): boolean {
    return this.#tables.every((table) => table.isSettled);
  }

  /** Changes that were refused and are not done yet: the first of them, with the moment at which one is tried again. */
  get refusal(): Pick<Failure<unknown>, "error" | "due"> | undefined {
    let refusal: Pick<Failure<unknown>, "error" | "due"> | undefined;
    for (const failures of [this.#listings.failures, ...this.#tables.map((table) => table.failures)])
      for (const { error, due } of failures)
        refusal = { error: refusal?.error ?? error, due: Math.min(refusal?.due ?? due, due) };
    return refusal;
  }

  /**
   * Compares what is not known, then writes what differs, many rows to a send. What is refused stays marked and is tried
   * again with time; it does not stop the rest. Returns the {@link refusal} that stands. Rejects when it is not known what
   * the kernel did: then everything is compared at the next pass.
   */
  async pass(): Promise<Reconciler["refusal"]> {
    const now = this.#options.clock.monotonic();
    await this.#compare(now);
    const working = this.#tables.filter((table) => table.isKnown && table.hasWork(now));
    if (working.length > 0)
      try {
        for (const table of working) await table.confirm(this.#options.socket);
        await this.#execute(working, inOrder(working, now), now);
        let removals: readonly Request[] = [];
        for (const table of working.toReversed()) removals = removals.concat(await table.removals(now));
        if (removals.length > 0) await this.#execute(working, removals, now);
      } catch (error) {
        for (const table of working) table.unanswered();
        throw error;
      }
    return this.refusal;
  }

  /** Takes away all rows that do not go with devices, the last table's first; what is gone already does not matter. */
  async withdraw(): Promise<void> {
    const requests: Request[] = [];
    for (const table of this.#tables.toReversed().filter((each) => each.table.outlivesDevices === true))
      for await (const request of table.withdrawal()) requests.push(request);
    const { failures } = await this.#options.socket.batch(requests);
    const failure = failures.find(({ error }) => !isGone(error));
    if (failure !== undefined) throw failure.error;
  }

  async #execute(tables: readonly AnyTable[], requests: Iterable<Request>, now: number): Promise<void> {
    const { socket, onRepaired } = this.#options;
    const { failures } = await socket.batch(requests);
    for (const each of tables)
      for (const key of each.answered(failures, now)) {
        each.table.onRepaired?.(key);
        onRepaired?.(each.table.kind, each.table.nameOf(key));
      }
  }

  /** Reads what is not known. A listing that fails leaves its tables unknown and the others alone. */
  async #compare(now: number): Promise<void> {
    const { socket } = this.#options;
    const unknown = this.#tables.filter((table) => !table.isKnown && !this.#listings.isWaiting(table, now));
    const tablesOf = new Map<Query<unknown>, AnyTable[]>();
    for (const table of unknown) {
      table.beginComparison();
      for (const query of table.table.list()) tablesOf.set(query, [...(tablesOf.get(query) ?? []), table]);
    }
    const attempt = async (tables: readonly AnyTable[], work: () => Promise<unknown>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        for (const table of tables) {
          table.abandonComparison();
          this.#listings.refuse(table, error, now);
        }
      }
    };
    for (const [query, tables] of tablesOf)
      await attempt(tables, () =>
        socket.dump(
          consumed(query, (row) => {
            for (const table of tables) table.look(row);
          }),
        ),
      );
    for (const table of unknown) {
      await attempt([table], () => table.endComparison(socket));
      if (table.isKnown) this.#listings.settle(table, undefined);
    }
  }
}

function* inOrder(tables: readonly AnyTable[], now: number): Generator<Request> {
  for (const table of tables) yield* table.puts(now);
}

/** A dump whose rows are looked at as they come and not collected. */
function consumed<Row>(query: Query<Row>, look: (row: Row) => void): Query<never> {
  return {
    ...query,
    read: (...message) => {
      const row = query.read(...message);
      if (row !== undefined) look(row);
      return undefined;
    },
  };
}
