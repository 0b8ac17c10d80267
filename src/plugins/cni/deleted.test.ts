import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, type TestContext, test } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { silentLogger } from "../../base/logger.ts";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import { DeletedMeanwhile } from "./deleted.ts";

let clock: ManualClock;
/** Containers that calls have begun about, in this order. */
let begun: string[];
/** How they end; others do at once, well. */
let ends: Map<string, Promise<unknown>>;
let folder: string;

beforeEach(() => {
  clock = new ManualClock();
  begun = [];
  ends = new Map();
});

function deleted(t: TestContext): DeletedMeanwhile {
  const runDirectory = temporaryDirectory(t);
  folder = join(runDirectory, "cni-deleted");
  mkdirSync(folder);
  writeFileSync(join(folder, "0000000000000000.new"), "half of");
  return new DeletedMeanwhile({
    runDirectory,
    begin: ({ environment: { CNI_CONTAINERID: key = "" } }) => {
      if (key === "") throw new Error("no container");
      begun.push(key);
      return { key, done: ends.get(key) ?? Promise.resolve() };
    },
    clock,
    logger: silentLogger,
  });
}

/** As plugin.c writes it. */
function write(container: string): string {
  const path = join(folder, Buffer.from(container).toString("hex").padStart(16, "0"));
  writeFileSync(path, container === "" ? "CNI_\0\0{}" : `CNI_CONTAINERID=${container}\0\0{}`);
  return path;
}

async function gone(path: string): Promise<void> {
  while (existsSync(path)) await new Promise(setImmediate);
}

test("what is written down is done once and removed, and what is half written removed", async (t) => {
  const them = deleted(t);
  const path = write("a");
  them.catchUp();
  them.catchUp();
  await gone(path);
  assert.deepEqual(begun, ["a"]);
  assert.deepEqual(readdirSync(folder), []);
});

test("what fails stays, and is tried again with time until it is done", async (t) => {
  const them = deleted(t);
  ends.set("a", Promise.reject(new Error("its plugin is not there")));
  const path = write("a");
  them.catchUp();
  await new Promise(setImmediate);
  them.catchUp();
  assert.deepEqual(begun, ["a"], "not with each call");
  clock.advance(seconds(30));
  await new Promise(setImmediate);
  assert.deepEqual(begun, ["a", "a"]);
  assert.ok(existsSync(path));
  ends.delete("a");
  clock.advance(seconds(30));
  await gone(path);
});

test("what hangs holds up no other", async (t) => {
  const them = deleted(t);
  ends.set("a", new Promise(() => {}));
  const [hangs, other] = [write("a"), write("b")];
  them.catchUp();
  assert.equal(await them.obstacle("c"), undefined);
  await gone(other);
  assert.ok(existsSync(hangs));
});

test("what cannot be read is dropped", async (t) => {
  const them = deleted(t);
  write("");
  writeFileSync(join(folder, "00000000000000ff"), "no zero octets");
  them.catchUp();
  assert.deepEqual(readdirSync(folder), []);
});

test("an attachment is made again only when what was written down of it is done, which is tried then", async (t) => {
  const them = deleted(t);
  const { promise, reject } = Promise.withResolvers<never>();
  ends.set("a", promise);
  const path = write("a");
  them.catchUp();
  const obstacle = them.obstacle("a");
  reject(new Error("no answer"));
  const error = await obstacle;
  assert.equal(error?.code, 11);
  assert.match(error.message, /could not be done yet: no answer/);
  assert.match(error.details, new RegExp(`rm ${path}`));
  ends.delete("a");
  assert.equal(await them.obstacle("a"), undefined);
  assert.deepEqual(begun, ["a", "a"]);
  assert.ok(!existsSync(path));
});

test("what cannot be read for now stays", async (t) => {
  const them = deleted(t);
  ends.set("a", Promise.reject(new Error("no answer")));
  const path = write("a");
  them.catchUp();
  await new Promise(setImmediate);
  rmSync(path);
  mkdirSync(path);
  assert.match((await them.obstacle("a"))?.message ?? "", /no answer/);
  rmSync(path, { recursive: true });
  write("a");
  ends.delete("a");
  clock.advance(seconds(30));
  await gone(path);
  assert.deepEqual(begun, ["a", "a"]);
});

test("what somebody took away is not done", async (t) => {
  const them = deleted(t);
  ends.set("a", Promise.reject(new Error("no answer")));
  const path = write("a");
  them.catchUp();
  await new Promise(setImmediate);
  rmSync(path);
  assert.equal(await them.obstacle("a"), undefined);
  clock.advance(seconds(30));
  assert.deepEqual(begun, ["a"]);
});
