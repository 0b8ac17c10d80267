import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { temporaryFile } from "../../testing/temporary-directory.ts";
import { SqliteStore } from "./sqlite-store.ts";

const writer = fileURLToPath(new URL("../../testing/store-writer.ts", import.meta.url));
const cycles = 30;

test("kill -9 at any moment loses no acknowledged transaction, halves none and invents none", async (context) => {
  const file = temporaryFile(context);
  /** Transaction number → its revision. */
  const acknowledged = new Map<number, number>();
  const submitted = new Set<number>();
  for (let cycle = 0; cycle < cycles; cycle++) {
    const before = acknowledged.size;
    for (const line of await runAndKill(file, submitted.size)) {
      const [kind, number, revision] = line.split(" ");
      if (kind === "s") submitted.add(Number(number));
      else acknowledged.set(Number(number), Number(revision));
    }
    assert.ok(acknowledged.size > before, "the writer must have written for this test to mean something");
    const store = new SqliteStore(file);
    await verify(store, acknowledged, submitted);
    await store.close();
  }
});

/** The lines that a writer printed before it was killed, some moment after its first acknowledgement. */
async function runAndKill(file: string, first: number): Promise<string[]> {
  // A file takes what is written at once; a pipe whose reader gets no processor refuses it.
  const path = `${file}.lines`;
  const lines = openSync(path, "w");
  const child = spawn(process.execPath, [writer, file, String(first)], { stdio: ["ignore", lines, "inherit"] });
  closeSync(lines);
  const closed = once(child, "close");
  while (!readFileSync(path, "utf8").includes("\na ") && child.exitCode === null) await delay(1);
  await delay(Math.random() * 30);
  child.kill("SIGKILL");
  assert.deepEqual(await closed, [null, "SIGKILL"]);
  return readFileSync(path, "utf8").split("\n").slice(0, -1);
}

async function verify(store: SqliteStore, acknowledged: Map<number, number>, submitted: Set<number>): Promise<void> {
  const left = await numbered(store, "left/");
  const right = await numbered(store, "right/");
  assert.deepEqual(left, right, "each transaction is there whole or not at all");
  for (const [number, revision] of acknowledged)
    assert.equal(left.get(number), revision, `transaction ${number} is lost`);
  for (const number of left.keys()) assert.ok(submitted.has(number), `transaction ${number} was never submitted`);
  assert.deepEqual(
    [...left.values()].sort((a, b) => a - b),
    Array.from({ length: store.revision }, (_, index) => index + 1),
    "each revision belongs to one transaction",
  );
}

/** Transaction number → revision of the entries under a prefix; their values are checked. */
async function numbered(store: SqliteStore, prefix: string): Promise<Map<number, number>> {
  const { entries } = await store.range(prefix);
  return new Map(
    entries.map(({ key, value, revision }) => {
      const number = Number(key.slice(prefix.length));
      assert.equal(new TextDecoder().decode(value), `value of ${number}`);
      return [number, revision];
    }),
  );
}
