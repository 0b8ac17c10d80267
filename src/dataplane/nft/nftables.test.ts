import assert from "node:assert/strict";
import { it } from "node:test";
import { milliseconds, minutes } from "../../base/duration.ts";
import { networkSettings } from "../../testing/desired.ts";
import type { FakeNft } from "../../testing/kernel/nft.ts";
import { putRemote } from "../../testing/scenarios.ts";
import { Scene } from "../../testing/scene.ts";
import type { NodeDataplane } from "../node-dataplane.ts";
import { nameOfObject } from "../objects.ts";

type Form = FakeNft["form"];

/** As a later version of nft may list them. */
const otherWords: Form = (rules) => JSON.parse(JSON.stringify(rules).replaceAll('"op":"=="', '"op":"eq"'));

/** Those of the tenant and of the host. */
const nfts = ({ machine }: Scene): FakeNft[] => [machine.host.nft, machine.namespace("weft-blue").nft];
const writes = (scene: Scene): number => nfts(scene).reduce((sum, { runs }) => sum + runs.writing, 0);
const tables = (scene: Scene): number => nfts(scene).reduce((sum, nft) => sum + nft.tables.size, 0);

const desired = (dataplane: NodeDataplane): void => putRemote(dataplane.putNetwork(networkSettings({})), 10, 2);

/** A scene whose nft lists in this form. */
async function sceneOf(form: Form): Promise<Scene> {
  const scene = await Scene.make();
  scene.machine.createNamed("weft-blue");
  for (const nft of nfts(scene)) nft.form = form;
  await scene.start(desired);
  return scene;
}

/** Many turns, in which time stands still. */
async function whileTimeStands(scene: Scene): Promise<void> {
  for (let turn = 0; turn < 300; turn++) await new Promise((resolve) => setImmediate(resolve));
  await scene.turns();
}

const repairs = ({ events }: Scene): string[] =>
  events.filter(({ kind }) => kind === "repaired").map(({ object }) => nameOfObject(object));

it("takes a form in which nft lists what weft wrote for what is wanted, and still sees damage", async () => {
  const scene = await sceneOf(otherWords);
  await scene.settle();
  await whileTimeStands(scene);
  // Written, and once more to see whether it was somebody's doing.
  assert.equal(writes(scene), 2 * tables(scene));
  scene.clock.advance(minutes(5));
  await scene.settle();
  assert.equal(writes(scene), 2 * tables(scene));
  assert.deepEqual(repairs(scene), []);
  const text = scene.machine.text();
  const { nft } = scene.machine.namespace("weft-blue");
  nft.apply([{ flush: { table: { family: "bridge", name: "weft" } } }]);
  await scene.settle();
  assert.equal(scene.machine.text(), text);
  assert.deepEqual(repairs(scene), ["nft table bridge weft of tenant blue"]);
  assert.equal(writes(scene), 2 * tables(scene) + 1);
  await scene.dataplane.close();
});

it("takes for a form only what has the same chains and as many rules", async () => {
  const scene = await sceneOf((rules) => rules);
  await scene.settle();
  const { nft } = scene.machine.namespace("weft-blue");
  // Somebody takes a rule out as soon as it was written.
  nft.form = (rules) => rules.filter(({ rule }) => !JSON.stringify(rule ?? {}).includes("@suppressed"));
  nft.apply([{ flush: { table: { family: "bridge", name: "weft" } } }]);
  await whileTimeStands(scene);
  assert.match(scene.dataplane.problems.list().map(({ error }) => error.message)[0] ?? "", /did not hold/);
  await scene.dataplane.close();
});

it("refuses what nft lists otherwise each time, as a problem that is tried again with time", async () => {
  let listings = 0;
  const scene = await sceneOf((rules) => {
    const op = `"op":"${++listings}"`;
    return JSON.parse(JSON.stringify(rules).replaceAll('"op":"=="', op));
  });
  await whileTimeStands(scene);
  const before = writes(scene);
  assert.ok(before <= 3 * 5, `${before} writes`);
  const problems = scene.dataplane.problems.list();
  assert.match(problems[0]?.error.message ?? "", /nft table .*: what was written did not hold/);
  await whileTimeStands(scene);
  assert.equal(writes(scene), before);
  for (let step = 0; step < 50; step++) {
    scene.clock.advance(milliseconds(100));
    await scene.turns();
  }
  // 5 s, at 0.1, 0.3, 0.7, 1.5 and 3.1 s.
  assert.ok(writes(scene) - before <= 5 * 2 * 5, `${writes(scene) - before} writes in 5 s`);
  assert.ok(writes(scene) > before);
  for (const nft of nfts(scene)) nft.form = (rules) => rules;
  await scene.settle();
  assert.deepEqual(scene.dataplane.problems.list(), []);
  await scene.dataplane.close();
});
