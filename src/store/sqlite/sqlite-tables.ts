import type { DatabaseSync, StatementSync } from "node:sqlite";
import { messageOf, WeftError } from "../../base/errors.ts";
import { FilesInPlace } from "../../linux/file-in-place.ts";
import type { Tables } from "../local/tables.ts";
import type { Change, Entry, Page, WatchBatch } from "../store.ts";
import { failureOf } from "./failure.ts";
import { openDatabase } from "./schema.ts";

export class SqliteTables implements Tables {
  #revision: number;
  #compactedRevision: number;
  readonly #file: string;
  readonly #database: DatabaseSync;
  readonly #statements: Statements;
  readonly #files: FilesInPlace;
  #loss: WeftError | undefined;

  constructor(file: string) {
    this.#file = file;
    this.#database = openDatabase(file);
    try {
      this.#statements = prepareStatements(this.#database);
      const state = this.#statements.state.get() as { revision: number; compacted_revision: number } | undefined;
      if (state === undefined) throw new Error("its table state has no row");
      this.#revision = state.revision;
      this.#compactedRevision = state.compacted_revision;
      this.#files = new FilesInPlace([file, `${file}-wal`]);
    } catch (error) {
      this.#database.close();
      throw failureOf(error, `open the store ${file}`);
    }
  }

  get revision(): number {
    return this.#revision;
  }

  get compactedRevision(): number {
    return this.#compactedRevision;
  }

  get loss(): WeftError | undefined {
    const lost = this.#loss === undefined ? this.#files.lost() : undefined;
    if (lost !== undefined) this.#loss = this.#explainLoss(lost);
    return this.#loss;
  }

  get(key: string): Entry | undefined {
    return this.#attempt("read an entry of", () => {
      const row = this.#statements.entry.get(bytesOf(key)) as { value: Uint8Array; revision: number } | undefined;
      return row && { key, value: row.value, revision: row.revision };
    });
  }

  revisionOf(key: string): number {
    return this.#attempt("read a revision of", () => {
      const row = this.#statements.revisionOf.get(bytesOf(key)) as { revision: number } | undefined;
      return row?.revision ?? 0;
    });
  }

  range(prefix: string, { after, limit }: Page = everything): Entry[] {
    return this.#attempt("read the entries of", () => {
      const first = [bytesOf(prefix), bytesOf(`${after}\0`)].reduce((a, b) => (Buffer.compare(a, b) > 0 ? a : b));
      const rows = this.#statements.range.all(first, upperBound(prefix), limit) as unknown as EntryRow[];
      return rows.map(([key, value, revision]) => ({ key, value, revision }));
    });
  }

  changesAfter(prefix: string, afterRevision: number, limit: number): WatchBatch {
    return this.#attempt("read the changes of", () => {
      const changes: Change[] = [];
      let last = afterRevision;
      for (const row of this.#statements.changes.iterate(afterRevision, bytesOf(prefix), upperBound(prefix))) {
        const [key, value, revision] = row as unknown as ChangeRow;
        if (changes.length >= limit && revision !== last) return { changes, revision: last };
        last = revision;
        changes.push({ key, ...(value !== null && { value }), revision });
      }
      return { changes, revision: this.#revision };
    });
  }

  commit(changes: readonly Change[], revision: number): void {
    const { put, remove, record, setRevision } = this.#statements;
    this.#write(`commit revision ${revision} to`, () => {
      for (const change of changes) {
        const key = bytesOf(change.key);
        if (change.value === undefined) remove.run(key);
        else put.run(key, change.value, change.revision);
        record.run(change.revision, key, change.value ?? null);
      }
      setRevision.run(revision);
    });
    this.#revision = revision;
  }

  compact(revision: number): void {
    this.#write(`forget changes up to revision ${revision} in`, () => {
      this.#statements.forget.run(revision);
      this.#statements.setCompacted.run(revision);
    });
    this.#compactedRevision = revision;
  }

  close(): void {
    this.#attempt("close", () => this.#database.close());
  }

  #write(doing: string, action: () => void): void {
    this.#attempt(doing, () => {
      this.#requireInPlace(doing);
      this.#statements.begin.run();
      try {
        action();
        this.#statements.commit.run();
      } catch (error) {
        // SQLite has rolled back by itself on some errors, a full disk among them.
        if (this.#database.isTransaction) this.#statements.rollback.run();
        throw error;
      }
      // What went into a file that nobody finds again must not be acknowledged.
      this.#requireInPlace(doing);
    });
  }

  #requireInPlace(doing: string): void {
    const { loss } = this;
    if (loss === undefined) return;
    const { code, reason, hint = "" } = loss;
    throw new WeftError({ code, attempted: `${doing} the store ${this.#file}`, reason, hint });
  }

  /** The state is still whole in the files that this process has open: it is saved beside them, once. */
  #explainLoss({ path, how }: { readonly path: string; readonly how: string }): WeftError {
    const rescued = `${this.#file}.rescued`;
    const before = process.umask(0o077);
    let hint = `what it held was saved as ${rescued}: stop the server, remove ${this.#file} and ${this.#file}-wal if they are there, move ${rescued} to ${this.#file}, and start the server again`;
    try {
      this.#database.prepare("VACUUM INTO ?").run(rescued);
    } catch (error) {
      hint = `save tenants and networks with weft export, stop the server, restore its data directory from a backup, and start it again (a copy could not be saved as ${rescued}: ${messageOf(error)})`;
    } finally {
      process.umask(before);
    }
    return new WeftError({
      code: "unavailable",
      attempted: `use the store ${this.#file}`,
      reason: `${path} was ${how} while the server ran; nothing is written any more`,
      hint,
    });
  }

  #attempt<Value>(doing: string, action: () => Value): Value {
    try {
      return action();
    } catch (error) {
      throw failureOf(error, `${doing} the store ${this.#file}`);
    }
  }
}

/** A negative limit is none. https://sqlite.org/lang_select.html#limitoffset */
const everything: Page = { after: "", limit: -1 };

type EntryRow = readonly [key: string, value: Uint8Array, revision: number];
type ChangeRow = readonly [key: string, value: Uint8Array | null, revision: number];

type Statements = Readonly<Record<keyof typeof sql, StatementSync>>;

const sql = {
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  rollback: "ROLLBACK",
  state: "SELECT revision, compacted_revision FROM state",
  setRevision: "UPDATE state SET revision = ?",
  setCompacted: "UPDATE state SET compacted_revision = ?",
  entry: "SELECT value, revision FROM entries WHERE key = ?",
  revisionOf: "SELECT revision FROM entries WHERE key = ?",
  range: "SELECT CAST(key AS TEXT), value, revision FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
  put: "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, revision = excluded.revision",
  remove: "DELETE FROM entries WHERE key = ?",
  record: "INSERT INTO changes (revision, key, value) VALUES (?, ?, ?)",
  changes:
    "SELECT CAST(key AS TEXT), value, revision FROM changes WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, key",
  forget: "DELETE FROM changes WHERE revision <= ?",
} as const;

function prepareStatements(database: DatabaseSync): Statements {
  const prepared = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)]);
  const statements = Object.fromEntries(prepared) as Statements;
  // For those that read many rows: twice as fast as objects.
  statements.range.setReturnArrays(true);
  statements.changes.setReturnArrays(true);
  return statements;
}

function bytesOf(key: string): Uint8Array {
  return Buffer.from(key, "utf8");
}

/** The least bytes greater than those of all keys that start with `prefix`: no octet of UTF-8 exceeds 0xf4. */
function upperBound(prefix: string): Uint8Array {
  if (prefix === "") return Uint8Array.of(0xff);
  const bytes = bytesOf(prefix);
  bytes[bytes.length - 1] = (bytes.at(-1) as number) + 1;
  return bytes;
}
