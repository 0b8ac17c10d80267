import { accessSync, closeSync, constants, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { WeftError } from "../../base/errors.ts";
import { requirePrivate } from "../../linux/private-files.ts";
import { failureOf } from "./failure.ts";

/** `PRAGMA application_id` of a weft store: "weft" in ASCII. */
const applicationId = 0x77656674;

/** `PRAGMA user_version`: the version of {@link schema}. */
const schemaVersion = 1;

/** Keys are their UTF-8 bytes, so that SQLite's order (memcmp) is the order of keys. */
const schema = `
  CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL,
    compacted_revision INTEGER NOT NULL
  ) STRICT;
  INSERT INTO state VALUES (1, 0, 0);
  CREATE TABLE entries (
    key BLOB PRIMARY KEY,
    value BLOB NOT NULL,
    revision INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  -- A NULL value: the key was deleted.
  CREATE TABLE changes (
    revision INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB,
    PRIMARY KEY (revision, key)
  ) STRICT, WITHOUT ROWID;
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`;

/** Opens the file for this process alone and makes the tables if it is new. Throws a WeftError. */
export function openDatabase(file: string): DatabaseSync {
  const attempted = `open the store ${file}`;
  let database: DatabaseSync | undefined;
  try {
    for (const part of ["", "-wal", "-shm", "-journal"]) requirePrivate(`${file}${part}`, attempted);
    createPrivately(file);
    // Asked first, since SQLite reports a file that it may not write as an I/O error.
    accessSync(file, constants.R_OK | constants.W_OK);
    database = new DatabaseSync(file);
    // Exclusive before WAL: the lock is then held from the first access on, and no shared memory file is needed.
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    const empty = isEmpty(database);
    if (!empty) checkIdentity(database, attempted);
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = FULL");
    if (empty) database.exec(`BEGIN; ${schema} COMMIT`);
    return database;
  } catch (error) {
    database?.close();
    throw failureOf(error, attempted);
  }
}

/**
 * Makes an empty file that only its owner may read; SQLite gives the log the same mode. An existing file is not
 * opened: closing it again would give up the locks of a store that this process has open.
 */
function createPrivately(file: string): void {
  try {
    closeSync(openSync(file, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

function isEmpty(database: DatabaseSync): boolean {
  return readNumber(database, "SELECT count(*) FROM sqlite_schema") === 0;
}

/** Throws, before anything is written, when the file is not a store or has another version. */
function checkIdentity(database: DatabaseSync, attempted: string): void {
  if (readNumber(database, "PRAGMA application_id") !== applicationId)
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: "the file is a database of another program",
      hint: "choose another data directory",
    });
  const version = readNumber(database, "PRAGMA user_version");
  if (version !== schemaVersion)
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `the file has schema version ${version}; this weft knows version ${schemaVersion}`,
      hint: "run the version of weft that wrote it, or a newer one",
    });
}

function readNumber(database: DatabaseSync, sql: string): number {
  return Object.values(database.prepare(sql).get() ?? {})[0] as number;
}
