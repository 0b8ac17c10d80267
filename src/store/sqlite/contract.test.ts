import { storeContract } from "../../testing/store-contract.ts";
import { temporaryFile } from "../../testing/temporary-directory.ts";
import { SqliteStore } from "./sqlite-store.ts";

storeContract("SqliteStore", async (context) => new SqliteStore(temporaryFile(context)));
