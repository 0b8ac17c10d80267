/**
 * A process to be killed: `store-writer.ts FILE FIRST` writes transactions without end, eight under
 * way at any time, and prints `s N` before it submits transaction N and `a N REVISION` once it is acknowledged.
 */
import { writeSync } from "node:fs";
import { argv } from "node:process";
import { SqliteStore } from "../store/sqlite/sqlite-store.ts";

const [file, first] = argv.slice(2);
const store = new SqliteStore(file as string);
let next = Number(first);

async function writeForever(): Promise<never> {
  for (;;) {
    const number = next++;
    const value = new TextEncoder().encode(`value of ${number}`);
    // Synchronous: a line stands in the file before the next instruction runs.
    writeSync(1, `s ${number}\n`);
    const result = await store.transact({
      conditions: [{ key: `left/${number}`, revision: 0 }],
      operations: [
        { kind: "put", key: `left/${number}`, value },
        { kind: "put", key: `right/${number}`, value },
      ],
    });
    if (!result.committed) throw new Error(`transaction ${number} found its key taken`);
    writeSync(1, `a ${number} ${result.revision}\n`);
  }
}

await Promise.all(Array.from({ length: 8 }, writeForever));
