import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import { runDelegate } from "./delegate.ts";

const shutUp = "trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.1; done";

/** What runs a plugin of these lines of shell, which begin in an empty folder. */
function plugin(t: TestContext, lines: string) {
  const folder = temporaryDirectory(t);
  writeFileSync(join(folder, "foreign"), `#!/bin/sh\ncd ${folder}\n${lines}\n`, { mode: 0o755 });
  const clock = new ManualClock();
  const output = runDelegate({
    type: "foreign",
    command: "ADD",
    parameters: { path: [folder], environment: { CNI_CONTAINERID: "a" } },
    configuration: "{}",
    clock,
  });
  const pid = async (): Promise<number> => {
    while (!existsSync(join(folder, "pid"))) await sleep(5);
    return Number(readFileSync(join(folder, "pid"), "utf8"));
  };
  return { output, pid, clock };
}

/** Resolves when the process has ended, which is a child of this one or of the init process. */
async function ended(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}`)) await sleep(5);
}

test("a plugin gets variables and configuration, and what it prints is all handed on", async (t) => {
  const { output } = plugin(t, 'echo "$CNI_COMMAND $CNI_CONTAINERID $(cat)"; head -c 900000 /dev/zero | tr "\\0" x');
  assert.equal(await output, `ADD a {}\n${"x".repeat(900_000)}`);
});

test("what a plugin says of its failure is handed on with its own code", async (t) => {
  const { output } = plugin(t, `echo '{"code": 117, "msg": "none is left"}'; exit 1`);
  await assert.rejects(output, { name: "CniError", code: 117, message: "none is left" });
  await assert.rejects(plugin(t, "exit 3").output, { code: 104, message: /ended with 3 and told no reason/ });
});

test("a plugin that hangs is killed when its time is over, whatever it does about signals", async (t) => {
  const { output, pid, clock } = plugin(t, shutUp);
  const process = await pid();
  clock.advance(seconds(25));
  await assert.rejects(output, { code: 104, message: /run IPAM plugin foreign: it did not end within 25 s/ });
  await ended(process);
});

test("what a plugin leaves running does not hold up its answer", async (t) => {
  const { output, pid } = plugin(t, "sleep 1000 & echo $! > pid.new; mv pid.new pid; echo said");
  const left = await pid();
  t.after(() => process.kill(left));
  assert.equal(await output, "said\n");
});
