import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import { languages, lessonFile, readLesson } from "./lessons.ts";
import { faults } from "./registry.ts";

const names = faults.map(({ name }) => name);

test("names of faults are words with hyphens between, and each is there once", () => {
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z0-9]+(-[a-z0-9]+)*$/);
});

test("there are more than forty faults, and each names what shall be found of it", () => {
  assert.ok(faults.length > 40);
  for (const { name, expected } of faults) assert.ok(expected.length > 0, name);
});

/** What somebody types, in the order of the text. */
function commandsOf(text: string): string[] {
  return text.split("\n").filter((line) => line.startsWith("$ "));
}

for (const language of languages)
  test(`every fault has a lesson in ${language}, and no lesson is without a fault`, () => {
    const files = readdirSync(dirname(lessonFile("any", language)));
    assert.deepEqual(files.sort(), names.map((name) => `${name}.md`).sort());
    for (const { name, expected } of faults) {
      const text = readLesson(name, language);
      assert.match(text, /^# .+\n/, name);
      assert.equal(text.match(/^## /gm)?.length, 4, `${name}: symptom, plain tools, weft, cure`);
      assert.ok(commandsOf(text).length >= 2, name);
      for (const { code } of expected) assert.ok(text.includes(`\`${code}\``), `${name} says ${code}`);
    }
  });

test("a lesson has the same commands in every language", () => {
  for (const name of names)
    assert.deepEqual(commandsOf(readLesson(name, "zh")), commandsOf(readLesson(name, "en")), name);
});

test("a lesson of no fault is refused", () => {
  assert.throws(() => readLesson("../../architecture", "en"), { code: "not-found" });
});
