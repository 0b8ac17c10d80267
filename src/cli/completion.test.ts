import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { completionScript, shells } from "./completion.ts";
import { createProgram } from "./program.ts";

/** What bash offers for the words, the last of which is being written. */
function completeInBash(...words: readonly string[]): string[] {
  const script = [
    completionScript("bash", createProgram()),
    `COMP_WORDS=(weft ${words.map((word) => `'${word}'`).join(" ")})`,
    `COMP_CWORD=${words.length}`,
    "_weft",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell reads it
    'printf "%s\\n" "${COMPREPLY[@]}"',
  ].join("\n");
  const { stdout, stderr, status } = spawnSync("bash", ["--norc", "-c", script], { encoding: "utf8" });
  assert.equal(stderr, "");
  assert.equal(status, 0);
  return stdout.split("\n").filter((line) => line !== "");
}

test("bash completes commands, subcommands, options and their values", () => {
  assert.deepEqual(completeInBash("ten"), ["tenant"]);
  assert.deepEqual(completeInBash("network", ""), ["create", "list", "show", "set", "delete", "--help"]);
  assert.deepEqual(completeInBash("network", "create", "web", "--sub"), ["--subnet"]);
  assert.deepEqual(completeInBash("network", "list", "-o", ""), ["table", "json", "yaml"]);
  assert.deepEqual(completeInBash("network", "create", "web", "--flood", "h"), ["head-end"]);
  assert.deepEqual(completeInBash("completion", "z"), ["zsh"]);
});

test("the value of an option is no command", () => {
  assert.deepEqual(completeInBash("endpoint", "list", "--network", "list", "--no"), ["--node"]);
});

for (const shell of shells)
  test(`the script for ${shell} names every command`, () => {
    const script = completionScript(shell, createProgram());
    for (const command of createProgram().commands) assert.ok(script.includes(command.name()), command.name());
  });
