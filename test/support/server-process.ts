/** The control server as a process of its own, for tests that kill it: `server-process.ts LISTEN DATA-DIR`. */
import { runServer } from "../../src/server/main.ts";

const [listen = "", dataDir = ""] = process.argv.slice(2);
process.exitCode = await runServer({ listen, dataDir });
