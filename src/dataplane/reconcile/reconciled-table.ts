import { type BatchFailure, isGone, lookUp, type NetlinkSocket, type Request } from "../../netlink/index.ts";
import { type Failure, isDamaged, type Mark, Marks } from "./marks.ts";
import { notYet, type Table } from "./table.ts";

/** Up to this many rows that a listing did not show, or that an event told of, are looked up one by one before they are written. */
const confirmAtMost = 512;

/** A request that knows which row it is for, so that a refusal finds its row again. */
type RowRequest<Key> = Request & { key?: Key; owner?: object };

/** What a listing that is under way has shown. */
interface Comparison<Key, Row> {
  /** Marks that it can clear, because they were there before. */
  readonly before: ReadonlyMap<Key, Mark>;
  /** Which parts of each key are as wanted: 2 to the power of the part each. */
  readonly seen: Map<Key, number>;
  readonly surplus: Row[];
}

/** What is known of one {@link Table} in the kernel: which rows must be looked at, and which changes were refused. */
export class ReconciledTable<Key, Row> {
  readonly table: Table<Key, Row>;
  readonly #marks = new Marks<Key>();
  /** What the kernel holds is not known: all of it is compared before anything is written. */
  #isUnknown = true;
  /** What differs from now on was changed by somebody else. */
  #wasKnown = false;
  #comparison: Comparison<Key, Row> | undefined;
  /** Rows that are there, own by their marks, and wanted by nobody. */
  #surplus: Row[] = [];
  /** Marks of rows that are wanted no more, found while others were put. */
  #unwanted: (readonly [Key, Mark])[] = [];
  /** What the pass under way has asked of the kernel, with the marks that it answers. */
  readonly #attempted = new Map<Key, Mark | undefined>();

  constructor(table: Table<Key, Row>) {
    this.table = table;
  }

  /** The row of this key came, went or changed in the desired state, or what it leads through did. */
  mark(key: Key): void {
    this.#marks.mark(key);
  }

  markAll(): void {
    for (const key of this.table.keys()) this.#marks.mark(key);
  }

  /** Everything is compared with the kernel at the next pass. */
  distrust(): void {
    this.#isUnknown = true;
  }

  /** The kernel has none of the rows, because what held them is new: nothing need be compared. */
  beginEmpty(): void {
    this.#isUnknown = false;
    this.#wasKnown = true;
    this.#surplus = [];
    this.#marks.clear();
    this.markAll();
  }

  /** Whether a pass would do something at this moment of the clock that never goes back. */
  hasWork(now: number): boolean {
    if (this.#isUnknown || this.#surplus.some((row) => !this.#marks.isWaiting(this.table.keyOf(row), now))) return true;
    for (const [key] of this.#marks)
      if (!this.#marks.isWaiting(key, now) && this.table.wanted(key) !== notYet) return true;
    return false;
  }

  /** Whether the kernel has what is wanted and nothing else of weft's, as far as is known. */
  get isSettled(): boolean {
    return !this.#isUnknown && this.#marks.size === 0 && this.#surplus.length === 0;
  }

  get isKnown(): boolean {
    return !this.#isUnknown;
  }

  isPending(key: Key): boolean {
    return this.#marks.get(key) !== undefined;
  }

  /** Keys that are marked. */
  get pending(): readonly Key[] {
    return Array.from(this.#marks, ([key]) => key);
  }

  get failures(): Iterable<Failure<Key>> {
    return this.#marks.failures;
  }

  /** Whether what the kernel has of a key, entry by entry, is what is wanted of it. */
  isAsWanted(key: Key, actual: readonly (Row | undefined)[]): boolean {
    const { table } = this;
    const wanted = table.wanted(key);
    if (wanted === undefined || wanted === notYet) return false;
    const parts = new Set<number>();
    for (const row of actual) if (row !== undefined && table.same(wanted, row)) parts.add(table.partOf?.(row) ?? 0);
    return parts.size === (table.parts ?? 1);
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
    // What is not known yet may be what a former owner of the name leaves.
    if (this.#wasKnown) this.#marks.damage(key);
    else this.#marks.mark(key);
    // The event may be old. Where a row cannot be looked up by itself, a listing says so.
    if (table.get === undefined) this.#isUnknown = true;
    // The answer that is awaited may be older than what was told now: it is not to settle this.
    if (this.#attempted.has(key)) this.#marks.renew(key);
    return true;
  }

  /** A listing begins. Marks that are made meanwhile stay. */
  beginComparison(): void {
    this.#isUnknown = false;
    this.#comparison = { before: new Map(this.#marks), seen: new Map(), surplus: [] };
  }

  /** Takes a row of the listing. Rows are looked at as they are read, so that a large table is never held twice. */
  look(row: Row): void {
    const { table } = this;
    const key = table.keyOf(row);
    const wanted = table.wanted(key);
    if (wanted === notYet || this.#comparison === undefined) return;
    const { seen, surplus } = this.#comparison;
    if (wanted === undefined) {
      if (table.isOwn(row)) surplus.push(row);
    } else if (table.same(wanted, row)) seen.set(key, (seen.get(key) ?? 0) | (1 << (table.partOf?.(row) ?? 0)));
  }

  /** The listing is at its end: leaves those rows marked that differ. */
  async endComparison(socket: NetlinkSocket): Promise<void> {
    const { table } = this;
    const comparison = this.#comparison;
    if (comparison === undefined) return;
    this.#comparison = undefined;
    const { before, seen, surplus } = comparison;
    const missing: Key[] = [];
    const whole = (1 << (table.parts ?? 1)) - 1;
    for (const key of table.keys()) if (seen.get(key) !== whole) missing.push(key);
    const isConfirmed = table.get !== undefined && missing.length <= confirmAtMost;
    const differing = new Set<Key>();
    for (const key of missing) if (!isConfirmed || !(await this.#isThere(key, socket))) differing.add(key);
    const left = new Set(surplus.map((row) => table.keyOf(row)));
    // What is wanted no more is taken away without looking: a row may be own no more, once its place is another's.
    for (const [key, mark] of before)
      if (!differing.has(key) && !left.has(key) && table.wanted(key) !== undefined) this.#settle(key, mark);
    for (const key of differing)
      if (this.#wasKnown) this.#marks.damage(key);
      else if (!this.isPending(key)) this.#marks.mark(key);
    this.#surplus = surplus;
    this.#wasKnown = true;
  }

  /** The listing failed: nothing is known by it. */
  abandonComparison(): void {
    this.#comparison = undefined;
    this.#isUnknown = true;
  }

  /** Clears marks of rows that an event told of and that are as wanted by now. */
  async confirm(socket: NetlinkSocket): Promise<void> {
    if (this.table.get === undefined) return;
    const damaged: (readonly [Key, Mark])[] = [];
    for (const entry of this.#marks)
      if (isDamaged(entry[1]) && this.#isWanted(entry[0]) && damaged.push(entry) > confirmAtMost) return;
    for (const [key, mark] of damaged) if (await this.#isThere(key, socket)) this.#settle(key, mark);
  }

  /** Requests that make what is wanted, of marks that are due. To be read as the kernel works, not ahead of it. */
  *puts(now: number): Generator<Request> {
    this.#unwanted = [];
    for (const [key, mark] of this.#marks) {
      if (this.#marks.isWaiting(key, now)) continue;
      const row = this.table.wanted(key);
      if (row === undefined) this.#unwanted.push([key, mark]);
      else if (row !== notYet) {
        this.#attempted.set(key, mark);
        const failure = this.#marks.failureOf(key);
        const clearance = failure === undefined ? undefined : this.table.clear?.(row, failure.error);
        if (clearance !== undefined) yield this.#tagged(clearance, key);
        yield this.#tagged(this.table.put(row), key);
      }
    }
  }

  /** Requests that take away what is not wanted any more, after {@link puts}; settles what has nothing left. */
  async removals(now: number): Promise<readonly Request[]> {
    const { table } = this;
    const requests: Request[] = [];
    const take = (row: Row, key: Key, mark: Mark | undefined): void => {
      this.#attempted.set(key, mark);
      requests.push(this.#tagged(table.remove(row), key));
    };
    for (const row of this.#surplus) {
      const key = table.keyOf(row);
      if (table.wanted(key) === undefined && !this.#marks.isWaiting(key, now)) take(row, key, this.#marks.get(key));
    }
    for (const [key, mark] of this.#unwanted) {
      const rows = await table.left(key);
      // It may be wanted again by now.
      if (table.wanted(key) !== undefined) continue;
      if (rows.length === 0) this.#settle(key, mark);
      for (const row of rows) take(row, key, mark);
    }
    this.#unwanted = [];
    return requests;
  }

  /** Requests that take away all that weft may have of the table, for when it ends. */
  async *withdrawal(): AsyncGenerator<Request> {
    for (const key of new Set([...this.table.keys(), ...this.pending]))
      for (const row of await this.table.left(key)) yield this.table.remove(row);
    for (const row of this.#surplus) yield this.table.remove(row);
  }

  /**
   * The kernel has answered all that was asked of it. A mark is cleared by that alone, and only if it was not made again
   * meanwhile. Returns the keys whose damage was repaired.
   */
  answered(failures: readonly BatchFailure[], now: number): readonly Key[] {
    const refused = new Map<Key, Error>();
    for (const { request, error } of failures) {
      const { key, owner } = request as RowRequest<Key>;
      if (owner !== this || key === undefined || refused.has(key)) continue;
      if (isRemoval(request) ? isGone(error) : this.table.isDone?.(error) === true)
        this.#isUnknown ||= !isRemoval(request);
      else refused.set(key, error);
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
        this.#marks.refuse(key, error, now);
        continue;
      }
      if (mark !== undefined && isDamaged(mark)) repaired.push(key);
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
    const tagged: RowRequest<Key> = request;
    tagged.key = key;
    tagged.owner = this;
    return tagged;
  }

  #isWanted(key: Key): boolean {
    const wanted = this.table.wanted(key);
    return wanted !== undefined && wanted !== notYet;
  }

  #settle(key: Key, mark: Mark | undefined): void {
    if (this.#marks.settle(key, mark)) this.table.onDone?.(key);
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

/** Requests to delete carry no flags. */
function isRemoval(request: Request): boolean {
  return request.flags === 0;
}
