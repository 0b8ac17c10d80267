import { LocalStore } from "../local/local-store.ts";
import { MemoryTables } from "./memory-tables.ts";

/** A store that ends with the process: for tests and the lab. */
export class MemoryStore extends LocalStore {
  constructor() {
    super(new MemoryTables());
  }
}
