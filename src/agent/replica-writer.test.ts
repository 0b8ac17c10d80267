import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { Problems } from "../dataplane/index.ts";
import type { ReplicaChange } from "./replica.ts";
import { ReplicaWriter } from "./replica-writer.ts";

test("what a full disk refuses, however much, is written a little later with what came meanwhile", () => {
  const clock = new ManualClock();
  const problems = new Problems(() => {}, clock);
  const written: { readonly count: number; readonly revision: number }[] = [];
  let isFull = true;
  const apply = (changes: Iterable<ReplicaChange>, revision: number): void => {
    if (isFull) throw new Error("disk is full");
    written.push({ count: [...changes].length, revision });
  };
  const writer = new ReplicaWriter({ revision: 3, apply, forgetPartial: () => {} }, problems, clock);
  // More than a call has arguments.
  writer.save(
    Array.from({ length: 200_000 }, (_, number) => ({ kind: "endpoint-removed", network: "blue", id: `${number}` })),
    4,
  );
  writer.save([{ kind: "network-removed", name: "blue" }], 5);
  assert.equal(problems.size, 1);
  assert.equal(writer.revision, 5);
  isFull = false;
  clock.advance(seconds(5));
  clock.advance(seconds(60));
  assert.deepEqual(written, [{ count: 200_001, revision: 5 }]);
  assert.equal(problems.size, 0);
});

test("what changes while a disk is full is kept once for each object, in the order that ends right, and tried with time", () => {
  const clock = new ManualClock();
  let attempts = 0;
  let isFull = true;
  let written: readonly ReplicaChange[] = [];
  const apply = (changes: Iterable<ReplicaChange>): void => {
    attempts++;
    if (isFull) throw new Error("disk is full");
    written = [...changes];
  };
  const writer = new ReplicaWriter(
    { revision: 0, apply, forgetPartial: () => {} },
    new Problems(() => {}, clock),
    clock,
  );
  const gone: ReplicaChange = { kind: "endpoint-removed", network: "blue", id: "e1" };
  const noNetwork: ReplicaChange = { kind: "network-removed", name: "blue" };
  const noNode: ReplicaChange = { kind: "node-removed", name: "h2" };
  for (let revision = 1; revision <= 1_000; revision++) writer.save([gone, noNode], revision);
  writer.save([noNetwork], 1_001);
  writer.save([gone], 1_002);
  assert.equal(attempts, 1);
  isFull = false;
  clock.advance(seconds(5));
  assert.deepEqual(written, [noNode, noNetwork, gone]);
  writer.save([gone], 1_003);
  assert.deepEqual([attempts, written], [3, [gone]]);
});

test("policies that come back after all of their tenant went are written after that", () => {
  const clock = new ManualClock();
  let written: readonly ReplicaChange[] = [];
  let isFull = true;
  const apply = (changes: Iterable<ReplicaChange>): void => {
    if (isFull) throw new Error("disk is full");
    written = [...changes];
  };
  const options = { revision: 0, apply, forgetPartial: () => {} };
  const writer = new ReplicaWriter(options, new Problems(() => {}, clock), clock);
  const member = (id: string): ReplicaChange => ({
    kind: "policy-member",
    member: { id, tenant: "acme", network: "web", ips: [], labels: {} },
  });
  const none: ReplicaChange = { kind: "policies-removed", tenant: "acme" };
  writer.save([member("e1"), member("e2")], 1);
  writer.save([none, member("e1")], 2);
  isFull = false;
  clock.advance(seconds(5));
  assert.deepEqual(written, [member("e2"), none, member("e1")]);
});

test("what shall survive a power cut does so also when it is written later, with what need not", () => {
  const clock = new ManualClock();
  let isFull = true;
  const durable: (boolean | undefined)[] = [];
  const apply = (_changes: Iterable<ReplicaChange>, _revision: number, isDurable?: boolean): void => {
    if (isFull) throw new Error("disk is full");
    durable.push(isDurable);
  };
  const writer = new ReplicaWriter(
    { revision: 0, apply, forgetPartial: () => {} },
    new Problems(() => {}, clock),
    clock,
  );
  const change: ReplicaChange = { kind: "endpoint-removed", network: "blue", id: "e1" };
  writer.save([change], 1, true);
  writer.save([change], 2, false);
  isFull = false;
  clock.advance(seconds(5));
  writer.save([change], 3, false);
  assert.deepEqual(durable, [true, false]);
});
