import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { atMoment, longestTimer, ManualClock, systemClock } from "./clock.ts";
import { hours, milliseconds, minutes, seconds } from "./duration.ts";

test("what is due by the wall clock comes at its moment, or within a minute after the clock jumped over it", () => {
  for (const jump of [0, 1]) {
    const clock = new ManualClock();
    let calls = 0;
    atMoment(clock, clock.now() + hours(30 * 24), () => calls++);
    clock.advance(minutes(5));
    if (jump === 1) clock.jump(hours(40 * 24));
    else clock.advance(hours(30 * 24));
    clock.advance(seconds(60));
    assert.equal(calls, 1);
    clock.advance(hours(1));
    assert.equal(calls, 1);
  }
});

test("it does not come while the wall clock, set back, has not reached it; nor after it was cancelled", () => {
  const clock = new ManualClock();
  let calls = 0;
  const cancel = atMoment(clock, clock.now() + hours(1), () => calls++);
  clock.jump(hours(-24));
  clock.advance(hours(23));
  assert.equal(calls, 0);
  cancel();
  clock.advance(hours(23));
  assert.equal(calls, 0);
});

test("what is due in more time than a timer of Node.js can hold does not come at once", (t) => {
  t.after(() => mock.timers.reset());
  mock.timers.enable({ apis: ["setTimeout"] });
  let calls = 0;
  const delay = hours(30 * 24);
  const cancel = systemClock.after(delay, () => calls++);
  systemClock.after(delay, () => calls++);
  mock.timers.tick(longestTimer);
  assert.equal(calls, 0);
  cancel();
  mock.timers.tick(delay - longestTimer - 1);
  assert.equal(calls, 0);
  mock.timers.tick(milliseconds(1));
  assert.equal(calls, 1);
});
