import assert from "node:assert/strict";
import { it } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { ReportPace } from "./report-pace.ts";

const nodes = 5_000;

function names(count = nodes): string[] {
  return Array.from({ length: count }, (_, index) => `n${index}`);
}

it("where few report, no node waits, however many there are", () => {
  const clock = new ManualClock();
  const pace = new ReportPace(clock);
  clock.advance(seconds(60));
  for (const node of names(20)) assert.equal(pace.reported(node, nodes), 50);
  clock.advance(seconds(1));
  assert.equal(pace.reported("n0", nodes), 50);
});

it("nodes that have news all the time make 500 reports a second, each its share", () => {
  const clock = new ManualClock();
  const pace = new ReportPace(clock);
  const due = new Map(names().map((node) => [node, 0]));
  const counts = new Map<string, number>();
  let late = 0;
  for (let passed = 0; passed < 60_000; passed += 50) {
    for (const [node, at] of due) {
      if (at > clock.monotonic()) continue;
      due.set(node, clock.monotonic() + pace.reported(node, nodes));
      counts.set(node, (counts.get(node) ?? 0) + 1);
      if (passed >= 20_000) late++;
    }
    clock.advance(milliseconds(50));
  }
  assert.ok(late > 40 * 450 && late <= 40 * 510, `${late} reports in 40 s`);
  for (const [node, count] of counts) assert.ok(count >= 5 && count <= 9, `${node}: ${count}`);
});

it("reports that need not wait make no pause longer than all nodes' turns", () => {
  const clock = new ManualClock();
  const pace = new ReportPace(clock);
  for (let phase = 0; phase < 10; phase++) for (const node of names()) assert.ok(pace.reported(node, nodes) <= 10_000);
  clock.advance(seconds(11));
  assert.equal(pace.reported("n0", nodes), 50);
});

it("who waits hastens a node once for each report, and nodes no faster than 500 a second", () => {
  const clock = new ManualClock();
  const pace = new ReportPace(clock);
  for (const node of names()) pace.reported(node, nodes);
  const hasten = (): number => names().filter((node) => pace.mayHasten(node)).length;
  assert.equal(hasten(), 1_000);
  assert.equal(hasten(), 0);
  clock.advance(seconds(1));
  assert.equal(hasten(), 500);
  // One that waits no longer than a moment, that has begun anew, or never waited is left alone.
  clock.advance(seconds(8.9));
  pace.forget("n4999");
  assert.deepEqual(
    ["n4999", "n1", "nobody"].map((node) => pace.mayHasten(node)),
    [false, false, false],
  );
  pace.reported("n1", nodes);
  assert.equal(pace.reported("n2", nodes) < 200, true);
  assert.equal(pace.mayHasten("n2"), false);
});
