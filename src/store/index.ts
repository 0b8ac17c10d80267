export { MemoryStore } from "./memory/memory-store.ts";
export { SqliteStore } from "./sqlite/sqlite-store.ts";
export * from "./store.ts";
