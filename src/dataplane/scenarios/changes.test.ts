import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { changesOf } from "../../testing/changes.ts";
import { plainScenarios } from "../../testing/scenarios.ts";
import { difference, Scene } from "../../testing/scene.ts";
import type { DesiredNetwork } from "../desired.ts";
import type { NodeDataplane } from "../node-dataplane.ts";

/** Desires what is desired of the networks by now, and nothing that was before. */
function like(networks: ReadonlyMap<string, DesiredNetwork>): (dataplane: NodeDataplane) => void {
  return (dataplane) => {
    for (const network of networks.values()) {
      const copy = dataplane.putNetwork(network.settings);
      copy.setListed([...network.listed]);
      copy.setLocalBlocks([...network.localBlocks.values()]);
      for (const block of network.blocks.values()) copy.putBlock(block);
      for (const remote of network.remotes.values()) copy.putRemote(remote);
      for (const local of network.locals.values()) copy.putLocal(local);
    }
  };
}

/** The machine is as one that was never otherwise, nothing is left to do, and the next run of the agent finds it so. */
async function assertAsIfNew(scene: Scene, when: string): Promise<void> {
  await scene.dataplane.changed();
  await scene.turns();
  assert.ok(scene.dataplane.inSync, `${when}: in sync without time to pass`);
  const text = scene.machine.text();
  const desire = like(scene.dataplane.networks);
  const fresh = await Scene.settled(desire);
  const next = await Scene.settled(desire, scene.machine);
  for (const { dataplane } of [fresh, next]) await dataplane.close();
  assert.deepEqual(difference(text, fresh.machine.text()), [], when);
  assert.deepEqual(difference(scene.machine.text(), text), [], `${when}: the next run leaves it as it is`);
  assert.equal(next.dataplane.writes, 0, `${when}: the next run writes nothing`);
  const troubles = [scene, fresh, next]
    .flatMap(({ events }) => events)
    .filter(({ kind }) => kind === "failed" || kind === "repaired");
  assert.deepEqual(troubles, [], when);
}

describe("after each single change the machine is as if it had never been otherwise", () => {
  for (const scenario of plainScenarios)
    it(scenario.name, async (t) => {
      const scene = await Scene.settled(scenario.first);
      t.after(() => scene.dataplane.close());
      const network = scene.dataplane.networks.get("blue-net") as DesiredNetwork;
      for (const [name, change] of Object.entries(changesOf(scenario))) {
        change(network);
        await assertAsIfNew(scene, name);
      }
    });
});
