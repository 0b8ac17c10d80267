/** Networks that leave together: their devices are deleted some at a time, whatever fails or ends meanwhile. */
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import type { Vni } from "../../model/index.ts";
import { networkSettings } from "../../testing/desired.ts";
import type { Links } from "../../testing/kernel/links.ts";
import { Refusal } from "../../testing/kernel/request.ts";
import { local, putRemote } from "../../testing/scenarios.ts";
import { difference, Scene } from "../../testing/scene.ts";
import { leavingGroup, weftGroup } from "../kernel-names.ts";
import type { NodeDataplane } from "../node-dataplane.ts";

/** linux/rtnetlink.h */
const RTM_DELLINK = 17;

const names = Array.from({ length: 20 }, (_, number) => `net${number}`);

/** Networks that leave, one that stays, and an endpoint in one of each. */
function desire(dataplane: NodeDataplane): void {
  for (const [number, name] of [...names, "kept"].entries()) {
    const network = dataplane.putNetwork(networkSettings({ name, vni: (100 + number) as Vni }));
    putRemote(network, 10, 2);
    if (name === "net3") network.putLocal(local(1));
    if (name === "kept") network.putLocal(local(2));
  }
}

async function settled(t: TestContext): Promise<{ readonly scene: Scene; readonly links: Links }> {
  const scene = await Scene.settled(desire);
  t.after(() => scene.dataplane.close());
  const links = scene.machine.namespace("weft-blue")?.links;
  assert.ok(links !== undefined);
  return { scene, links };
}

/** Notes requests to delete devices; `refuse`: for which the kernel does not do so. */
function watchDeletions(
  links: Links,
  refuse: (byGroup: boolean) => boolean = () => false,
): { readonly byGroup: boolean }[] {
  const seen: { readonly byGroup: boolean }[] = [];
  const handle = links.handle.bind(links);
  links.handle = (request) => {
    if (request.type === RTM_DELLINK) {
      // An index of 0 and no name: what is asked for by its group.
      const byGroup = new DataView(request.payload.buffer, request.payload.byteOffset).getInt32(4, true) === 0;
      seen.push({ byGroup });
      if (refuse(byGroup)) throw new Refusal("EBUSY");
    }
    return handle(request);
  };
  return seen;
}

const devicesOf = (links: Links): string[] =>
  links.devices
    .filter(({ name }) => name !== "lo")
    .map(({ name }) => name)
    .sort();

const leave = async ({ dataplane }: Scene): Promise<void> => {
  for (const name of names) dataplane.removeNetwork(name);
  await dataplane.changed();
};

const kept = ["br120", "ve000000000002", "vx120"];

it("they go in few requests, with no other device", async (t) => {
  const { scene, links } = await settled(t);
  links.add({ name: "foreign0", kind: "bridge" });
  const deletions = watchDeletions(links);
  await leave(scene);
  assert.deepEqual(devicesOf(links), [...kept, "foreign0"].sort());
  assert.deepEqual(deletions, Array(3).fill({ byGroup: true }));
  await scene.settle();
  assert.deepEqual([...scene.dataplane.problems.list()], []);
});

it("where the kernel refuses that, they go one by one, and nobody is told", async (t) => {
  const { scene, links } = await settled(t);
  const deletions = watchDeletions(links, (byGroup) => byGroup);
  await leave(scene);
  assert.deepEqual(devicesOf(links), kept);
  assert.equal(deletions.filter(({ byGroup }) => byGroup).length, 3);
  assert.deepEqual([...scene.dataplane.problems.list()], []);
});

for (const [what, wanted] of [
  ["are wanted again", [...names, "kept"]],
  ["are not wanted", ["kept"]],
] as const)
  it(`those that an earlier run was about to delete, and that ${what}, are as if it had not`, async (t) => {
    const { scene, links } = await settled(t);
    const whole = (dataplane: NodeDataplane): void => {
      desire(dataplane);
      for (const name of names) if (!(wanted as readonly string[]).includes(name)) dataplane.removeNetwork(name);
    };
    const undisturbed = await Scene.settled(whole);
    t.after(() => undisturbed.dataplane.close());
    // The agent ends after it has put some devices into the group: a port, a tunnel without its bridge, all of a network.
    for (const name of ["ve000000000001", "vx101", "vx102", "br102"]) {
      const device = links.find(name);
      assert.equal(device?.group, weftGroup);
      if (device !== undefined) device.group = leavingGroup;
    }
    await scene.restart(whole);
    await scene.settle();
    assert.deepEqual(difference(scene.machine.text(), undisturbed.machine.text()), []);
    assert.ok(links.devices.every(({ group }) => group !== leavingGroup));
  });
