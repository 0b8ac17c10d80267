import assert from "node:assert/strict";
import { it } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { milliseconds } from "../base/duration.ts";
import { type DataplaneEvent, Problems } from "./report.ts";

it("tries what fails ever less often, whoever asks, and tells failure and recovery once", async () => {
  const clock = new ManualClock();
  const events: DataplaneEvent[] = [];
  const problems = new Problems((event) => events.push(event), clock);
  let works = false;
  const attempts: number[] = [];
  const attempt = (): Promise<boolean> => {
    problems.beginPass();
    return problems.attempt({ kind: "table" }, async () => {
      attempts.push(clock.monotonic());
      if (!works) throw new Error("no room");
    });
  };
  // Something asks every 10 ms.
  for (let time = 0; time < 2_000; time += 10) {
    assert.equal(await attempt(), false);
    clock.advance(milliseconds(10));
  }
  assert.deepEqual(attempts, [0, 100, 300, 700, 1_500]);
  assert.equal(problems.nextRetry, 1_100);
  assert.deepEqual(
    problems.list().map(({ since, attempts }) => [since, attempts]),
    [[0, 5]],
  );
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["failed"],
  );
  // What is desired changes.
  works = true;
  assert.equal(await attempt(), false);
  problems.retryAll();
  assert.equal(await attempt(), true);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["failed", "recovered"],
  );
  assert.equal(problems.nextRetry, undefined);
});

it("does not hurry for what depends on something else", () => {
  const clock = new ManualClock();
  const problems = new Problems(() => {}, clock);
  problems.failed({ kind: "nobody tries this" }, new Error("…"));
  clock.advance(milliseconds(1_000));
  problems.beginPass();
  assert.equal(problems.nextRetry, 15_000);
});

it("comes back at once to what became due while a pass went by it", () => {
  const clock = new ManualClock();
  const problems = new Problems(() => {}, clock);
  problems.failed({ kind: "link" }, new Error("busy"));
  clock.advance(milliseconds(99));
  problems.beginPass();
  clock.advance(milliseconds(5));
  assert.ok(problems.isWaiting({ kind: "link" }));
  assert.equal(problems.nextRetry, 0);
});
