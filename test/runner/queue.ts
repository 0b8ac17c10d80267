/**
 * Runs test files one after the other, of those that no other process with the same queue has begun, and reports as `node --test` with
 * {@link reporter} does. On a kernel with one processor this runs once; several of these kernels share the files.
 *
 *     scripts/node.sh test/runner/queue.ts QUEUE REPORT FILE...
 *
 * QUEUE is a folder that all of them see.
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "node:test";
import type { TestEvent } from "node:test/reporters";
import { pathToFileURL } from "node:url";
import reporter from "./reporter.ts";

/** Whether nobody has begun this file: it is begun by whoever asks first. */
export function begins(queue: string, file: string): boolean {
  try {
    mkdirSync(queue, { recursive: true });
    mkdirSync(join(queue, encodeURIComponent(file)));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** What the tests of all these files tell, as of one run. */
async function* events(queue: string, files: readonly string[]): AsyncGenerator<TestEvent> {
  let end: TestEvent | undefined;
  for (const file of files) {
    if (!begins(queue, file)) continue;
    for await (const event of run({ files: [file], concurrency: 1 }) as AsyncIterable<TestEvent>)
      if (event.type === "test:summary" && event.data.file === undefined) end = event;
      else yield event;
  }
  // Where others were faster there was nothing to do, and nothing is missing.
  yield end ?? ({ type: "test:summary", data: {} } as TestEvent);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [queue = "", report = "", ...files] = process.argv.slice(2);
  for await (const line of reporter(events(queue, files))) appendFileSync(report, line);
}
