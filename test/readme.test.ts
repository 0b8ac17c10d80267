/** README.md and its Chinese form say the same: what both must have in common is compared. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const read = (name: string): string => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
const [english, chinese] = ["README.md", "README.zh.md"].map(read);
/** What of a text is the same in any language, in its order. */
const parts: Readonly<Record<string, (text: string) => readonly string[]>> = {
  "commands and what they print": (text) => text.match(/^```\n[\s\S]*?^```$/gm) ?? [],
  "headings, by their depth": (text) => withoutBlocks(text).match(/^#+ /gm) ?? [],
  "rows of tables, by what is in code there": (text) =>
    (withoutBlocks(text).match(/^\|.*\|$/gm) ?? []).map((row) => (row.match(/`[^`]+`/g) ?? []).join(" ")),
  links: (text) =>
    Array.from(text.matchAll(/\]\(([^)]+)\)/g), ([, target]) => target ?? "")
      .filter((target) => !/^README/.test(target))
      .sort(),
};

function withoutBlocks(text: string): string {
  return text.replace(/^```\n[\s\S]*?^```$/gm, "");
}

for (const [what, partsOf] of Object.entries(parts))
  test(`README.zh.md has the ${what} of README.md`, () => {
    assert.deepEqual(partsOf(chinese ?? ""), partsOf(english ?? ""));
  });
