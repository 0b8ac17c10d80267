import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { plainScenarios, specialScenarios } from "../../testing/scenarios.ts";
import { difference, Scene } from "../../testing/scene.ts";

describe("on a kernel of its own", () => {
  for (const { name, first, later } of [...plainScenarios, ...specialScenarios])
    it(`${name}: comes up, is taken up by the next run without a write, changes, and leaves nothing`, async () => {
      const scene = await Scene.make();
      const before = scene.machine.text();
      await scene.start(first);
      await scene.settle();
      const up = scene.machine.text();
      assert.match(up, /^link ve0{11}1 /m);
      const trouble = () => scene.events.filter(({ kind }) => kind !== "adjusted");
      assert.deepEqual(trouble(), []);
      await scene.restart(first);
      await scene.settle();
      assert.equal(scene.dataplane.writes, 0);
      assert.deepEqual(difference(scene.machine.text(), up), []);
      later(scene.dataplane);
      await scene.dataplane.changed();
      await scene.settle();
      const changed = scene.machine.text();
      assert.notEqual(changed, up);
      // What it has become is what it would have been from the start.
      const other = await Scene.make();
      await other.start((dataplane) => {
        first(dataplane);
        later(dataplane);
      });
      await other.settle();
      assert.deepEqual(difference(changed, other.machine.text()), []);
      scene.dataplane.removeNetwork("blue-net");
      await scene.dataplane.changed();
      await scene.settle();
      assert.deepEqual(difference(scene.machine.text(), before), []);
      assert.deepEqual(trouble(), []);
      for (const each of [scene, other]) await each.dataplane.close();
    });
});
