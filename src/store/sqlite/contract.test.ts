import { storeContract } from "../contract.ts";
import { SqliteStore } from "./sqlite-store.ts";
import { temporaryFile } from "./testing.ts";

storeContract("SqliteStore", async (context) => new SqliteStore(temporaryFile(context)));
