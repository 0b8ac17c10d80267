import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../src/testing/temporary-directory.ts";
import { begins } from "./queue.ts";
import { longestFirst, needsQuickProcesses } from "./slow-kernel.ts";

test("a file needs quick processes if all of its tests do", () => {
  for (const [text, needed] of [
    ['await fileRequires("quick processes");\n', true],
    ['import {} from "";\nawait fileRequires("quick processes", "nft-inet");\ntest();\n', true],
    ['await fileRequires(\n  "nft-inet",\n  "quick processes",\n);\n', true],
    ['await fileRequires("nft-inet");\ntest("", requires("quick processes"), () => {});\n', false],
    ['test("", requires("quick processes"), () => {});\n', false],
    ["", false],
  ] as const)
    assert.equal(needsQuickProcesses(text), needed, text);
});

test("each kernel test that waits for quick processes as a whole is recognized", () => {
  const texts = globSync("test/kernel/**/*.test.ts").map((file) => readFileSync(file, "utf8"));
  const asWhole = texts.filter((text) => /fileRequires\([^)]*quick processes/.test(text));
  assert.ok(asWhole.length > 0);
  for (const text of asWhole) assert.ok(needsQuickProcesses(text), text.slice(0, 200));
});

test("the files that take the longest there are first, and all of these exist", () => {
  const files = globSync("test/kernel/**/*.test.ts").sort();
  const ordered = longestFirst(files);
  assert.deepEqual(ordered.toSorted(), files);
  const first = ordered.slice(0, 5).map((file) => file.replace(/^.*\//, ""));
  assert.deepEqual(
    first,
    ["nodes", "uplink", "encapsulations", "network-changes", "distributed-gateway"].map((name) => `${name}.test.ts`),
  );
});

test("each file of a queue is begun once, whoever asks", (t) => {
  const queue = join(temporaryDirectory(t), "begun");
  const asked = ["a/b.test.ts", "c.test.ts", "a/b.test.ts", "c.test.ts", "a/d.test.ts"];
  assert.deepEqual(
    asked.map((file) => begins(queue, file)),
    [true, true, false, false, true],
  );
});
