import { isErrno } from "../../linux/index.ts";
import type { BatchFailure, NetlinkSocket, Query, Request } from "../../netlink/index.ts";
import { consumed } from "../rows.ts";
import { notYet, type RowFailure, type Table } from "./table.ts";

/** Up to this many rows that a listing did not show are looked up one by one before they are written. */
const confirmAtMost = 512;
/** Milliseconds after which a refused change is tried again; then after twice that, up to the longest pause. */
const firstRetry = 100;
const longestRetry = 15_000;

/** A key that must be looked at. */
interface Mark {
  /** Somebody else changed the row: its repair is worth an event. */
  readonly isDamaged: boolean;
}

/** A request that knows which row it is for, so that a refusal finds its row again. */
type RowRequest<Key> = Request & { readonly key: Key; readonly owner: object };

/** What is known of one {@link Table} in the kernel: which rows must be looked at, and which changes were refused. */
export class ReconciledTable<Key, Row> {
  readonly table: Table<Key, Row>;
  readonly #marks = new Map<Key, Mark>();
  readonly #failures = new Map<Key, RowFailure<Key>>();
  /** What the kernel holds is not known: all of it is compared before anything is written. */
  #isUnknown = true;
  /** What differs from now on was changed by somebody else. */
  #wasKnown = false;
  /** Rows that are there, own by their marks, and wanted by nobody. */
  #surplus: Row[] = [];
  /** What the pass under way has asked of the kernel, with the marks that it answers. */
  readonly #attempted = new Map<Key, Mark | undefined>();

  constructor(table: Table<Key, Row>) {
    this.table = table;
  }

  /** The row of this key came, went or changed in the desired state, or what it leads through did. */
  mark(key: Key): void {
    this.#marks.set(key, { isDamaged: this.#marks.get(key)?.isDamaged === true });
    const failure = this.#failures.get(key);
    // What is wanted now may be accepted where what was wanted before was not.
    if (failure !== undefined) this.#failures.set(key, { ...failure, due: 0 });
  }

  markAll(): void {
    for (const key of this.table.keys()) this.mark(key);
  }

  /** Everything is compared with the kernel at the next pass. */
  distrust(): void {
    this.#isUnknown = true;
  }

  /** Whether a pass would do something at this moment of the clock that never goes back. */
  hasWork(now: number): boolean {
    if (this.#isUnknown || this.#surplus.some((row) => this.#isDue(this.table.keyOf(row), now))) return true;
    for (const key of this.#marks.keys()) if (this.#isDue(key, now)) return true;
    return false;
  }

  get isKnown(): boolean {
    return !this.#isUnknown;
  }

  isPending(key: Key): boolean {
    return this.#marks.has(key);
  }

  get failures(): Iterable<RowFailure<Key>> {
    return this.#failures.values();
  }

  /**
   * The kernel told that a row is now so (`isGone`: that it went). Tells whether it must be looked at, because somebody
   * else wrote it. What this table itself writes is told, too, and is as wanted.
   */
  observe(row: Row, isGone: boolean): boolean {
    const { table } = this;
    const key = table.keyOf(row);
    const wanted = table.wanted(key);
    if (wanted === notYet) return false;
    if (wanted === undefined) {
      if (isGone || !table.isOwn(row)) return false;
    } else if (!isGone && table.same(wanted, row)) return false;
    const mark = this.#marks.get(key);
    if (mark === undefined) this.#marks.set(key, { isDamaged: true });
    // The answer that is awaited may be older than what was told now: it is not to settle this.
    else if (this.#attempted.has(key)) this.#marks.set(key, { ...mark });
    return true;
  }

  /**
   * Compares all rows with what is wanted and leaves those marked that differ. Rows are looked at as they are read, so that
   * a large table is never held twice. Marks that are made meanwhile stay.
   */
  async compare(socket: NetlinkSocket): Promise<void> {
    if (!this.#isUnknown) return;
    const { table } = this;
    const parts = table.parts ?? 1;
    const before = new Map(this.#marks);
    this.#isUnknown = false;
    const seen = Array.from({ length: parts }, () => new Set<Key>());
    const surplus: Row[] = [];
    const look = (row: Row): void => {
      const wanted = table.wanted(table.keyOf(row));
      if (wanted === notYet) return;
      if (wanted === undefined || !table.same(wanted, row)) {
        if (wanted === undefined && table.isOwn(row)) surplus.push(row);
        return;
      }
      // The key of the desired state is there anyway; that of the row just read need not be kept.
      seen[table.partOf?.(row) ?? 0]?.add(table.keyOf(wanted));
    };
    try {
      for (const query of table.list()) await socket.dump(consumed(query, look));
    } catch (error) {
      this.#isUnknown = true;
      throw error;
    }
    const missing: Key[] = [];
    for (const key of table.keys()) if (!seen.every((part) => part.has(key))) missing.push(key);
    const isConfirmed = table.get !== undefined && missing.length <= confirmAtMost;
    const differing = new Set<Key>();
    for (const key of missing) if (!isConfirmed || !(await this.#isThere(key, socket))) differing.add(key);
    for (const [key, mark] of before)
      if (!differing.has(key) && this.#marks.get(key) === mark && this.#isWanted(key)) this.#settle(key, mark);
    for (const key of differing) if (!this.#marks.has(key)) this.#marks.set(key, { isDamaged: this.#wasKnown });
    this.#surplus = surplus;
    this.#wasKnown = true;
  }

  /** Requests that make what is wanted, of marks that are due. To be read as the kernel works, not ahead of it. */
  *puts(now: number): Generator<Request> {
    for (const [key, mark] of this.#marks) {
      if (!this.#isDue(key, now)) continue;
      const row = this.table.wanted(key);
      if (row === undefined || row === notYet) continue;
      this.#attempted.set(key, mark);
      yield this.#tagged(this.table.put(row), key);
    }
  }

  /** Requests that take away what is not wanted any more, of marks that are due; settles those with nothing left. */
  async removals(now: number): Promise<readonly Request[]> {
    const { table } = this;
    const requests: Request[] = [];
    const take = (row: Row, key: Key, mark: Mark | undefined): void => {
      this.#attempted.set(key, mark);
      requests.push(this.#tagged(table.remove(row), key));
    };
    for (const row of this.#surplus) {
      const key = table.keyOf(row);
      if (table.wanted(key) === undefined && this.#isDue(key, now)) take(row, key, this.#marks.get(key));
    }
    for (const [key, mark] of [...this.#marks]) {
      if (!this.#isDue(key, now) || table.wanted(key) !== undefined) continue;
      const rows = await table.left(key);
      if (rows.length === 0) this.#settle(key, mark);
      for (const row of rows) take(row, key, mark);
    }
    return requests;
  }

  /**
   * The kernel has answered all that was asked of it. A mark is cleared by that alone, and only if it was not made again
   * meanwhile. Returns the keys whose damage was repaired.
   */
  answered(failures: readonly BatchFailure[], now: number): readonly Key[] {
    const refused = new Map<Key, Error>();
    for (const { request, error } of failures) {
      const { key, owner } = request as RowRequest<Key>;
      if (owner !== this) continue;
      if (!refused.has(key) && !(isRemoval(request) && isGone(error))) refused.set(key, error);
    }
    // What was not asked for is wanted by now, or waits for its next attempt.
    this.#surplus = this.#surplus.filter((row) => {
      const key = this.table.keyOf(row);
      return refused.has(key) || (!this.#attempted.has(key) && this.table.wanted(key) === undefined);
    });
    const repaired: Key[] = [];
    for (const [key, mark] of this.#attempted) {
      const error = refused.get(key);
      if (error !== undefined) {
        this.#refuse(key, error, now);
        continue;
      }
      if (mark?.isDamaged === true) repaired.push(key);
      this.#settle(key, mark);
    }
    this.#attempted.clear();
    return repaired;
  }

  /** It is not known what the kernel did of what it was asked. */
  unanswered(): void {
    this.#attempted.clear();
    this.#isUnknown = true;
  }

  #tagged(request: Request, key: Key): RowRequest<Key> {
    return Object.assign(request, { key, owner: this });
  }

  #isDue(key: Key, now: number): boolean {
    const failure = this.#failures.get(key);
    return (failure === undefined || failure.due <= now) && this.table.wanted(key) !== notYet;
  }

  #isWanted(key: Key): boolean {
    const wanted = this.table.wanted(key);
    return wanted !== undefined && wanted !== notYet;
  }

  #settle(key: Key, mark: Mark | undefined): void {
    this.#failures.delete(key);
    if (mark === undefined || this.#marks.get(key) === mark) this.#marks.delete(key);
  }

  #refuse(key: Key, error: Error, now: number): void {
    const before = this.#failures.get(key);
    const attempts = (before?.attempts ?? 0) + 1;
    const pause = Math.min(firstRetry * 2 ** (attempts - 1), longestRetry);
    this.#failures.set(key, { key, error, since: before?.since ?? now, attempts, due: now + pause });
    if (!this.#marks.has(key)) this.#marks.set(key, { isDamaged: false });
  }

  async #isThere(key: Key, socket: NetlinkSocket): Promise<boolean> {
    const { table } = this;
    const wanted = table.wanted(key);
    if (wanted === undefined || wanted === notYet || table.get === undefined) return false;
    for (const query of table.get(wanted)) {
      const actual = await lookUp(socket, query);
      if (actual === undefined || !table.same(wanted, actual)) return false;
    }
    return true;
  }
}

async function lookUp<Row>(socket: NetlinkSocket, query: Query<Row>): Promise<Row | undefined> {
  try {
    return await socket.get(query);
  } catch (error) {
    if (error instanceof Error && isGone(error)) return undefined;
    throw error;
  }
}

/** What was to be taken away is gone already. */
function isGone(error: Error): boolean {
  return isErrno(error, "ENOENT") || isErrno(error, "ESRCH") || isErrno(error, "ENODEV");
}

/** Requests to delete carry no flags. */
function isRemoval(request: Request): boolean {
  return request.flags === 0;
}
