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
      scene.removeNetworks();
      await scene.dataplane.changed();
      await scene.settle();
      assert.deepEqual(difference(scene.machine.text(), before), []);
      assert.deepEqual(trouble(), []);
      for (const each of [scene, other]) await each.dataplane.close();
    });
});

/** Rows of the tenant's namespace, without what the kernel makes by itself. */
async function rowsOf(name: string): Promise<string[]> {
  const scene = await Scene.make();
  await scene.start(plainScenarios.find((scenario) => scenario.name === name)?.first ?? (() => {}));
  await scene.settle();
  const text = scene.machine.text();
  await scene.dataplane.close();
  const lines = text.slice(text.indexOf("[weft-blue]")).split("\n");
  return lines.filter((line) => /^(fdb|neigh|route)/.test(line) && !/proto 2( |$)/.test(line));
}

it("an endpoint of another node is one FDB entry in two tables, and a neighbour for each address", async () => {
  const rows = await rowsOf("vxlan l2 over IPv4");
  assert.deepEqual(
    rows.filter((row) => /02:00:00:00:00:0c|192\.0\.2\.3 self/.test(row)),
    [
      "fdb 00:00:00:00:00:00 dev vx100 dst 192.0.2.3 self extern_learn",
      "fdb 02:00:00:00:00:0c dev vx100 master br100 extern_learn",
      "fdb 02:00:00:00:00:0c dev vx100 nh 192.0.2.3 self extern_learn",
      "neigh 10.0.0.12 dev br100 lladdr 02:00:00:00:00:0c extern_learn permanent",
      "neigh fd00::12 dev br100 lladdr 02:00:00:00:00:0c extern_learn permanent",
    ],
  );
});

it("a block of another node is a route, with a next hop and one FDB entry for all blocks of that node", async () => {
  const rows = await rowsOf("vxlan l3 over IPv4");
  assert.deepEqual(
    rows.filter((row) => !/dev (br100|ve)/.test(row)),
    [
      "fdb 9a:6b:29:36:39:db dev vx100 nh 192.0.2.2 self extern_learn",
      "fdb ee:cc:40:7a:75:ae dev vx100 nh 192.0.2.3 self extern_learn",
      "neigh 10.8.0.128 dev vx100 lladdr 9a:6b:29:36:39:db extern_learn permanent",
      "neigh 10.8.0.64 dev vx100 lladdr 9a:6b:29:36:39:db extern_learn permanent",
      "neigh fe80::986b:29ff:fe36:39db dev vx100 lladdr 9a:6b:29:36:39:db extern_learn permanent",
      "neigh fe80::eccc:40ff:fe7a:75ae dev vx100 lladdr ee:cc:40:7a:75:ae extern_learn permanent",
      "route 10.8.0.128/26 via 10.8.0.128 dev vx100 table 254 proto 119",
      "route 10.8.0.64/26 via 10.8.0.64 dev vx100 table 254 proto 119",
      "route fd08:0:0:2::/64 via fe80::986b:29ff:fe36:39db dev vx100 table 254 proto 119 metric 1024",
      "route fd08:0:0:3::/64 via fe80::eccc:40ff:fe7a:75ae dev vx100 table 254 proto 119 metric 1024",
      "route unreachable 10.8.0.0/16 table 254 proto 119",
      "route unreachable fd08::/48 dev lo table 254 proto 119 metric 1024",
    ],
  );
});
