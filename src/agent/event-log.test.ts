import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { EventLog } from "./event-log.ts";

function add(log: EventLog, first: number, last: number): void {
  for (let number = first; number <= last; number++)
    log.add({ level: "info", kind: "failed", object: { kind: "test" }, message: `${number}` });
}

test("whoever follows reads what was and what comes, each event once, until he leaves", async () => {
  const log = new EventLog(new ManualClock());
  const leave = new AbortController();
  const reader = log.read(true, leave.signal);
  add(log, 1, 2);
  const read = async () => (await reader.next()).value?.message;
  assert.deepEqual([await read(), await read()], ["1", "2"]);
  const next = read();
  add(log, 3, 3);
  assert.equal(await next, "3");
  const end = read();
  leave.abort();
  assert.equal(await end, undefined);
});

test("of a reader who is too slow no more is kept than of the past, and he is told so", async () => {
  const log = new EventLog(new ManualClock());
  add(log, 1, 1);
  const reader = log.read(true, new AbortController().signal);
  assert.equal((await reader.next()).value?.message, "1");
  add(log, 2, 5_001);
  const messages = [];
  for (let count = 0; count < 1_001; count++) messages.push((await reader.next()).value?.message);
  assert.match(`${messages[0]}`, /^4000 are left out/);
  assert.deepEqual([messages[1], messages.at(-1)], ["4002", "5001"]);
});
