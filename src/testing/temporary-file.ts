import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** The name of a file in a directory of its own, which is removed after the test. */
export function temporaryFile(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "weft-store-"));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, "store.db");
}
