import { LocalStore } from "../local/local-store.ts";
import { SqliteTables } from "./sqlite-tables.ts";

/**
 * A store in one SQLite file: the embedded default of the server. Commits survive a power cut.
 *
 * SQLite runs on the calling thread: a commit costs one sync of the write-ahead log. While the store is open the
 * file `<file>-wal` belongs to it, and nothing else in this process may open `file`: closing any descriptor of a
 * file gives up the process's locks on it (fcntl(2), "Advisory record locking").
 */
export class SqliteStore extends LocalStore {
  /**
   * Opens the store in `file` and makes it, readable by the owner alone, when there is none; the directory must
   * exist. Throws a WeftError when another process has it open, when it is not a store, or of a newer weft.
   */
  constructor(file: string) {
    super(new SqliteTables(file));
  }
}
