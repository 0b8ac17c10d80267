import assert from "node:assert/strict";
import { it } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { EventBudget } from "./event-budget.ts";

it("tells 50 events at once and one each second after; how many were left out is told with the next", () => {
  const clock = new ManualClock();
  const told: string[] = [];
  const budget = new EventBudget(clock, ({ message }) => told.push(message));
  const add = (message: string): void => budget.add({ level: "info", kind: "learned", object: { kind: "x" }, message });
  for (let number = 0; number < 60; number++) add(`event ${number}`);
  assert.equal(told.length, 50);
  clock.advance(seconds(0.9));
  add("event 60");
  assert.equal(told.length, 50);
  clock.advance(seconds(0.1));
  add("event 61");
  assert.equal(told.at(-1), "event 61 (11 events before were not told)");
  clock.advance(seconds(1_000));
  for (let number = 0; number < 60; number++) add("more");
  assert.equal(told.length, 101);
  assert.equal(told.at(-1), "more");
});
