import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import {
  CompactedError,
  type RangeResult,
  type Store,
  type Transaction,
  type TransactionResult,
  type WatchBatch,
} from "../store/store.ts";
import { Fanout } from "./fanout.ts";
import { Readiness } from "./readiness.ts";
import { plainRecords, records } from "./records.ts";
import { Repetition } from "./repetition.ts";
import { State, type StateChange } from "./state.ts";

/** Revisions whose changes the store keeps, for watchers that resume after the server was restarted. */
const retainedRevisions = 100_000;
/** Entries read at a time when the server starts. */
const pageLimit = 1_000;
/** How often the store is told to forget what is older. */
const compactionInterval = seconds(60);
/** How often a plan is made anew when others changed what it rests on. */
const attemptLimit = 10;

/** Of other changes the state remembers nothing. */
const remembered = [records.endpoint.prefix, plainRecords["floating-address"].prefix] as const;

/**
 * The store together with the state in memory that follows it and the watchers that are told. All changes, also
 * one's own, come in by the store's watch: in the order of their commits, and the same with one server or several.
 */
export class Ledger {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly state: State;
  readonly fanout: Fanout;
  readonly readiness: Readiness;
  /** Called when the store fails under the watch; nothing can be served any more. */
  onFailure: (error: unknown) => void = () => {};
  /** Transactions committed by this process. */
  commits = 0;
  /** The store keeps no changes up to and including this revision. */
  compactedRevision = 0;
  readonly #stop = new AbortController();
  #waiters: { readonly revision: number; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] =
    [];
  #failure: unknown;
  #following: Promise<void> = Promise.resolve();
  readonly #compaction: Repetition;

  private constructor(store: Store, clock: Clock, logger: Logger) {
    this.store = store;
    this.clock = clock;
    this.logger = logger;
    this.state = new State(clock);
    this.fanout = new Fanout(this.state, clock);
    this.readiness = new Readiness(this.state, this.fanout, clock);
    this.#compaction = new Repetition(this, compactionInterval, "compact the store", () => this.#compact());
  }

  /** Reads the state and follows the store from there. The caller closes the store, after the ledger. */
  static async open(options: {
    readonly store: Store;
    readonly clock: Clock;
    readonly logger: Logger;
  }): Promise<Ledger> {
    const ledger = new Ledger(options.store, options.clock, options.logger);
    await ledger.#load();
    ledger.readiness.begin();
    return ledger;
  }

  /** Resolves when all commits up to `revision` are in the state and have been told to the watchers. */
  async reached(revision: number): Promise<void> {
    if (this.state.revision >= revision) return;
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve, reject) => this.#waiters.push({ revision, resolve, reject }));
  }

  /** Submits one transaction; when the promise resolves, the state is at least as new as the answer. */
  async submit(transaction: Transaction): Promise<TransactionResult> {
    const result = await this.store.transact(transaction);
    if (result.committed) this.commits++;
    await this.reached(result.committed ? result.revision : this.store.revision);
    return result;
  }

  /**
   * Commits what `plan` makes of the state, making it anew when others were faster; no operations: nothing to do.
   * Answers the revision at which the change is in the state.
   */
  async commit(attempted: string, plan: () => Transaction | Promise<Transaction>): Promise<number> {
    for (let attempt = 0; attempt < attemptLimit; attempt++) {
      const transaction = await plan();
      if (transaction.operations.length === 0) return this.state.revision;
      const result = await this.submit(transaction);
      if (result.committed) return result.revision;
    }
    throw contended(attempted);
  }

  async close(): Promise<void> {
    await this.#compaction.stop();
    this.fanout.closeAll();
    this.#stop.abort();
    await this.#following;
  }

  async #load(): Promise<void> {
    const from = await this.#retainedFrom();
    this.compactedRevision = from;
    // What was changed while it was read is applied again, to no effect where it is in.
    const base = await this.state.load(this.#pages(), from);
    for (const prefix of from < base ? remembered : [])
      for await (const { changes, revision } of this.store.watch(prefix, from, this.#stop.signal)) {
        for (const change of changes) if (change.revision <= base) this.state.remember(change);
        if (revision >= base) break;
      }
    this.state.settle(base, () => {});
    this.#following = this.#follow(base).catch((error: unknown) => {
      if (this.#stop.signal.aborted) return;
      this.logger.error({ error: messageOf(error) }, "the store failed; the server cannot go on");
      this.#failure = error;
      for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
      this.onFailure(error);
    });
  }

  /** The revision after which the store has all changes, not earlier than those that are of use. */
  async #retainedFrom(): Promise<number> {
    const from = Math.max(0, this.store.revision - retainedRevisions);
    if (from === this.store.revision) return from;
    try {
      for await (const _ of this.store.watch(remembered[0], from, this.#stop.signal)) break;
      return from;
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error;
      return error.compactedRevision;
    }
  }

  /** All that the state is made of, with few entries in memory at a time. */
  async *#pages(): AsyncGenerator<RangeResult> {
    for (const { prefix } of Object.values(records))
      for (let after: string | undefined = ""; after !== undefined; ) {
        const page = await this.store.range(prefix, { after, limit: pageLimit });
        yield page;
        after = page.entries.length < pageLimit ? undefined : page.entries.at(-1)?.key;
      }
  }

  async #follow(after: number): Promise<void> {
    for await (const batch of this.store.watch("", after, this.#stop.signal)) this.#take(batch);
    if (!this.#stop.signal.aborted) throw new Error("the store ended the watch");
  }

  #take({ changes, revision }: WatchBatch): void {
    const emit = (change: StateChange): void => {
      this.fanout.notice(change);
      this.readiness.notice(change);
    };
    for (const change of changes) this.state.apply(change, emit);
    this.state.settle(revision, emit);
    this.fanout.settle(revision);
    this.readiness.settle(revision);
    this.#waiters = this.#waiters.filter((waiter) => {
      if (waiter.revision > revision) return true;
      waiter.resolve();
      return false;
    });
  }

  async #compact(): Promise<void> {
    const revision = this.store.revision - retainedRevisions;
    if (revision <= this.compactedRevision) return;
    await this.store.compact(revision);
    this.compactedRevision = revision;
  }
}

/** Others changed the same again and again. */
export function contended(attempted: string): WeftError {
  return new WeftError({
    code: "unavailable",
    attempted,
    reason: `others changed the same ${attemptLimit} times meanwhile`,
    hint: "try again",
  });
}
