import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import type { TunnelTransport } from "../../model/encapsulation.ts";
import type { Vni } from "../../model/index.ts";
import { changesOf } from "../../testing/changes.ts";
import { networkSettings, placeIn } from "../../testing/desired.ts";
import { localInBlocks, plainScenarios, putBlock, setOwnBlocks, setSubnets } from "../../testing/scenarios.ts";
import { difference, Scene } from "../../testing/scene.ts";
import type { DesiredNetwork, NetworkSettings } from "../desired.ts";
import type { NodeDataplane } from "../node-dataplane.ts";

/** Puts all of a network into one that has nothing yet. */
function fill(copy: DesiredNetwork, network: DesiredNetwork): void {
  copy.setListed([...network.listed]);
  for (const vtep of network.routers) copy.setRouter(vtep, true);
  copy.setLocalBlocks([...network.localBlocks.values()]);
  for (const block of network.blocks.values()) copy.putBlock(block);
  for (const remote of network.remotes.values()) copy.putRemote(remote);
  for (const local of network.locals.values()) copy.putLocal(local);
}

/** Desires what is desired of the networks by now, and nothing that was before. */
function like(networks: ReadonlyMap<string, DesiredNetwork>): (dataplane: NodeDataplane) => void {
  return (dataplane) => {
    for (const network of networks.values()) fill(dataplane.putNetwork(network.settings), network);
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
  await fresh.dataplane.close();
  // First: two agents that differ on one machine would undo each other's work.
  assert.deepEqual(difference(text, fresh.machine.text()), [], when);
  const next = await Scene.settled(desire, scene.machine);
  await next.dataplane.close();
  assert.deepEqual(difference(scene.machine.text(), text), [], `${when}: the next run leaves it as it is`);
  assert.equal(next.dataplane.writes, 0, `${when}: the next run writes nothing`);
  const troubles = [scene, fresh, next]
    .flatMap(({ events }) => events)
    .filter(({ kind }) => kind === "failed" || kind === "repaired");
  assert.deepEqual(troubles, [], when);
}

/** What is desired changes between one agent and the next. */
async function restartWith(scene: Scene, change: (networks: Map<string, DesiredNetwork>) => void): Promise<void> {
  const networks = new Map(scene.dataplane.networks);
  await scene.dataplane.close();
  change(networks);
  await scene.restart(like(networks));
}

const isAll = process.env.WEFT_WALK === "all";
/** Each encapsulation in each mode, over IPv4 or IPv6; over both takes half a minute: `npm run test:long`. */
const scenarios = plainScenarios.filter((_scenario, index) => isAll || index % 4 === 0 || index % 4 === 3);

describe("after each single change the machine is as if it had never been otherwise", () => {
  for (const scenario of scenarios)
    it(scenario.name, async (t) => {
      const scene = await Scene.settled(scenario.first);
      t.after(() => scene.dataplane.close());
      const network = scene.dataplane.networks.get("blue-net") as DesiredNetwork;
      for (const [name, change] of Object.entries(changesOf(scenario, isAll))) {
        change(network);
        await assertAsIfNew(scene, name);
      }
    });
});

describe("each single change is made while no agent is there, and the next one sees to it", () => {
  const names = ["vxlan l3 over IPv6", "direct l3 over IPv6"];
  for (const scenario of scenarios.filter(({ name }) => isAll || names.includes(name)))
    it(scenario.name, async (t) => {
      const scene = await Scene.settled(scenario.first);
      t.after(() => scene.dataplane.close());
      for (const [name, change] of Object.entries(changesOf(scenario, isAll))) {
        await restartWith(scene, (networks) => change(networks.get("blue-net") as DesiredNetwork));
        await assertAsIfNew(scene, name);
      }
    });
});

async function anotherOfItsName(t: TestContext): Promise<void> {
  const scene = await Scene.settled(() => {});
  t.after(() => scene.dataplane.close());
  // Forwarding of an IP version stays on until the last uplink goes (host-forwarding.ts): no two follow each other that need one each.
  for (const { name, first } of plainScenarios.toSorted((a, b) => a.family - b.family)) {
    scene.dataplane.removeNetwork("blue-net");
    first(scene.dataplane);
    await assertAsIfNew(scene, name);
  }
}

async function anotherVniOrTenant(t: TestContext): Promise<void> {
  for (const { name, first } of scenarios) {
    const scene = await Scene.settled(first);
    t.after(() => scene.dataplane.close());
    for (const changes of [{ vni: 200 as Vni }, { tenant: "red" }]) {
      const network = scene.dataplane.networks.get("blue-net") as DesiredNetwork;
      fill(scene.dataplane.putNetwork({ ...network.settings, ...changes }), network);
      await assertAsIfNew(scene, `${name}, ${JSON.stringify(changes)}`);
    }
  }
}

it("a network leaves and another of its name comes at once: nothing of the first is left", anotherOfItsName);
it("a network with another VNI or tenant is another network", anotherVniOrTenant);

describe("another network in place of one, on a machine so busy that others run while its messages are on their way", () => {
  for (const count of [3, 8])
    it(`after each ${count}`, async (t) => {
      const start = performance.now();
      let calls = 0;
      // A netlink socket lets others run when some milliseconds have passed.
      t.mock.method(performance, "now", () => start + 5 * Math.floor(++calls / count));
      await anotherVniOrTenant(t);
    });
});

/** A layer-3 network that the outside and the host have to do with, with a block and an endpoint here. */
function routed(dataplane: NodeDataplane, number: number, changes: Partial<NetworkSettings>): void {
  const settings = networkSettings({ mode: "l3", vni: number as Vni, egress: true, hostAccess: true, ...changes });
  const network = dataplane.putNetwork(settings);
  setSubnets(network, `10.${number}.0.0/16`, `fd0${number}::/48`);
  setOwnBlocks(network, `10.${number}.0.0/26`, `fd0${number}::/64`);
  putBlock(network, `10.${number}.0.64/26`, 2);
  putBlock(network, `fd0${number}:0:0:2::/64`, number);
  const netns = "/run/netns/c2";
  network.putLocal({ ...localInBlocks(network, number), place: placeIn(netns, `eth${number}`, number) });
}

describe("networks of one tenant and of another are beside each other: one leaves as if it had never been", () => {
  const geneve: TunnelTransport = { encapsulation: "geneve", port: 6081 };
  const networks: Readonly<Record<string, (dataplane: NodeDataplane) => void>> = {
    "blue-net": (dataplane) => plainScenarios[0]?.first(dataplane),
    "blue-too": (dataplane) => routed(dataplane, 7, { name: "blue-too" }),
    "blue-mesh": (dataplane) => routed(dataplane, 6, { name: "blue-mesh", transport: geneve }),
    red: (dataplane) => routed(dataplane, 5, { name: "red", tenant: "red" }),
    "red-mesh": (dataplane) => routed(dataplane, 4, { name: "red-mesh", tenant: "red", transport: geneve }),
    green: (dataplane) => routed(dataplane, 3, { name: "green", tenant: "green" }),
  };
  for (const leaving of Object.keys(networks))
    it(leaving, async (t) => {
      const scene = await Scene.settled((dataplane) => {
        for (const put of Object.values(networks)) put(dataplane);
      });
      t.after(() => scene.dataplane.close());
      scene.dataplane.removeNetwork(leaving);
      await assertAsIfNew(scene, "left");
      networks[leaving]?.(scene.dataplane);
      await assertAsIfNew(scene, "came again");
      await restartWith(scene, (present) => present.delete(leaving));
      await assertAsIfNew(scene, "left while no agent was there");
    });
});
