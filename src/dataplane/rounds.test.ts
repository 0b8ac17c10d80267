import assert from "node:assert/strict";
import { it } from "node:test";
import { Rounds, Turns } from "./rounds.ts";

it("a round serves all who asked before it began, and one more those who asked during it", async () => {
  const ends: (() => void)[] = [];
  let begun = 0;
  const rounds = new Rounds(() => {
    begun++;
    return new Promise<void>((resolve) => ends.push(resolve));
  });
  const first = [rounds.run(), rounds.run()];
  await new Promise(setImmediate);
  assert.equal(begun, 1);
  const second = [rounds.run(), rounds.run()];
  let secondEnded = false;
  void Promise.all(second).then(() => {
    secondEnded = true;
  });
  ends[0]?.();
  await Promise.all(first);
  await new Promise(setImmediate);
  assert.equal(begun, 2);
  assert.equal(secondEnded, false);
  assert.equal(rounds.turns.isIdle, false);
  ends[1]?.();
  await Promise.all(second);
  await rounds.turns.ended();
  assert.equal(begun, 2);
  assert.equal(rounds.turns.isIdle, true);
});

it("turns follow each other also after one that fails, which whoever asked for it hears", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const fails = turns.take(async () => {
    await new Promise(setImmediate);
    order.push("fails");
    throw new Error("no");
  });
  const follows = turns.take(async () => order.push("follows"));
  await assert.rejects(fails, /no/);
  await follows;
  assert.deepEqual(order, ["fails", "follows"]);
});
