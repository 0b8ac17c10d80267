import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { silentLogger } from "../../base/logger.ts";
import { Orphans } from "./orphans.ts";

let clock: ManualClock;
let present: Map<string, string>;
let withHost: Set<string>;
let released: string[];
let failure: Error | undefined;
let orphans: Orphans<string>;

beforeEach(() => {
  clock = new ManualClock();
  present = new Map([
    ["a", "endpoint a"],
    ["b", "endpoint b"],
  ]);
  withHost = new Set();
  released = [];
  failure = undefined;
  orphans = new Orphans({
    clock,
    logger: silentLogger,
    list: () => new Map(present),
    isWithHost: async (id) => {
      if (failure !== undefined) throw failure;
      return withHost.has(id);
    },
    release: async (endpoint) => {
      released.push(endpoint);
      present.delete(endpoint.slice(-1));
    },
  });
  orphans.begin();
});

async function pass(count: number): Promise<void> {
  for (let second = 0; second < count; second++) {
    clock.advance(seconds(1));
    await setImmediate();
  }
}

test("an endpoint whose interface stays with the host is released, and no other", async () => {
  withHost.add("a");
  await pass(60);
  assert.deepEqual(released, []);
  await pass(60);
  assert.deepEqual(released, ["endpoint a"]);
});

test("an interface that Docker takes, or has back for a moment, is in use", async () => {
  for (let round = 0; round < 5; round++) {
    withHost.add("a");
    await pass(40);
    withHost.delete("a");
    await pass(20);
  }
  assert.deepEqual(released, []);
});

test("a kernel that cannot be asked is asked again", async () => {
  withHost.add("b");
  failure = new Error("no");
  await pass(120);
  assert.deepEqual(released, []);
  failure = undefined;
  await pass(120);
  assert.deepEqual(released, ["endpoint b"]);
});

test("nothing is released after the end", async () => {
  withHost.add("a");
  await pass(50);
  orphans.close();
  await pass(300);
  assert.deepEqual(released, []);
});
