import assert from "node:assert/strict";
import { appendFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { EventHistory } from "./event-history.ts";
import { type AgentEvent, EventLog } from "./event-log.ts";

const event = (message: string): AgentEvent => ({
  time: 1,
  level: "info",
  kind: "repaired",
  object: { kind: "test" },
  message,
});

test("who starts again has the events of before, and whoever reads them", async (t) => {
  const directory = temporaryDirectory(t);
  const first = new EventHistory(directory);
  const log = new EventLog(new ManualClock(), first);
  for (const message of ["one", "two"]) log.add(event(message));
  first.close();
  const second = new EventHistory(directory);
  const again = new EventLog(new ManualClock(), second);
  again.add(event("three"));
  second.close();
  const messages = [];
  for await (const { message } of again.read(false, new AbortController().signal)) messages.push(message);
  assert.deepEqual(messages, ["one", "two", "three"]);
});

test("a line that was broken off, or is none, hides no other", (t) => {
  const directory = temporaryDirectory(t);
  const history = new EventHistory(directory);
  history.add(event("one"));
  appendFileSync(join(directory, "events.jsonl"), '{"time": 1, "lev\n{"time": "x"}\n');
  history.add(event("two"));
  history.close();
  assert.deepEqual(
    new EventHistory(directory).read(10).map(({ message }) => message),
    ["one", "two"],
  );
});

test("files have a bounded size, and the newest events are those that stay", (t) => {
  const directory = temporaryDirectory(t);
  const history = new EventHistory(directory);
  const long = "x".repeat(10_000);
  for (let count = 0; count < 1_000; count++) history.add(event(`${count} ${long}`));
  history.close();
  const sizes = readdirSync(directory).map((name) => statSync(join(directory, name)).size);
  assert.equal(sizes.length, 2);
  assert.ok(Math.max(...sizes) <= 2 * 1024 * 1024, `${sizes}`);
  const last = new EventHistory(directory).read(3).map(({ message }) => message.split(" ")[0]);
  assert.deepEqual(last, ["997", "998", "999"]);
});
