import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { needsQuickProcesses } from "./slow-kernel.ts";

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
