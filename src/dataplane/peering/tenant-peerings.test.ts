import assert from "node:assert/strict";
import { it } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { deleteRoute, NetlinkSocket, type Request, replaceRoute } from "../../netlink/index.ts";
import { specialScenarios } from "../../testing/scenarios.ts";
import { difference, Scene } from "../../testing/scene.ts";
import { peeringDevice, weftProtocol } from "../kernel-names.ts";
import type { NodeDataplane } from "../node-dataplane.ts";

const { first, later } = specialScenarios.find(({ name }) => name === "peers of other tenants") ?? assert.fail();
const both = (dataplane: NodeDataplane): void => {
  first(dataplane);
  later(dataplane);
};
const problemsOf = (scene: Scene): string[] =>
  scene.dataplane.problems
    .list()
    .map(({ object: { kind, tenant, key }, error }) => `${kind} ${tenant} ${key}: ${error.message}`);

it("a pair of devices, a next hop and routes to the subnets of peers lead to each other tenant", async () => {
  const scene = await Scene.settled(first);
  const lines = scene.machine.text().split("\n");
  const [toRed, toBlue] = [peeringDevice("red"), peeringDevice("blue")];
  const ofBlue = lines.slice(lines.indexOf("[weft-blue]"), lines.indexOf("[weft-red]"));
  assert.match(
    ofBlue.find((line) => line.startsWith(`link ${toRed} `)) ?? "",
    new RegExp(`peer ${toBlue} in weft-red`),
  );
  const hop = "fe80::[0-9a-f:]+";
  assert.deepEqual(
    ofBlue
      .filter((line) => /^(neigh|route)/.test(line) && line.includes(toRed))
      .map((line) => line.replace(new RegExp(hop), "HOP").replace(/lladdr \S+/, "lladdr MAC")),
    [
      `neigh HOP dev ${toRed} lladdr MAC extern_learn permanent`,
      `route 10.20.0.0/24 via HOP dev ${toRed} table 254 proto 119`,
      `route fd20::/64 via HOP dev ${toRed} table 254 proto 119 metric 1024`,
    ],
  );
  await scene.dataplane.close();
});

it("what ended and began while nobody was there is so at the next start", async () => {
  const scene = await Scene.settled(first);
  await scene.restart(both);
  await scene.settle();
  const wanted = await Scene.settled(both);
  assert.deepEqual(difference(scene.machine.text(), wanted.machine.text()), []);
  const repaired = scene.events.filter(({ kind }) => kind === "repaired");
  assert.deepEqual(repaired, []);
  for (const each of [scene, wanted]) await each.dataplane.close();
});

it("somebody else's device of the name is told, and waited for to go", async () => {
  const scene = await Scene.settled(first);
  const text = scene.machine.text();
  const { links } = scene.machine.namespace("weft-red");
  const end = links.find(peeringDevice("blue"));
  assert.ok(end !== undefined);
  links.remove(end);
  const foreign = links.add({ name: peeringDevice("blue"), kind: "bridge" });
  await scene.turns();
  assert.ok(!scene.dataplane.inSync);
  const [problem = ""] = problemsOf(scene);
  assert.match(
    problem,
    /^peering (red blue|blue red): create the link pr\w+ of a peering of tenant \w+: a bridge device of this name/,
  );
  links.remove(foreign);
  await scene.settle();
  assert.deepEqual(difference(scene.machine.text(), text), []);
  await scene.dataplane.close();
});

it("a tenant whose namespace is not there yet is waited for", async () => {
  const scene = await Scene.make();
  scene.machine.createNamed("weft-red");
  const { links } = scene.machine.namespace("weft-red");
  const foreign = links.add({ name: "br0", kind: "bridge" });
  await scene.start(first);
  await scene.turns();
  assert.ok(!scene.dataplane.inSync);
  assert.deepEqual(
    scene.dataplane.problems.list().map(({ object: { kind, tenant } }) => `${kind} ${tenant}`),
    ["tenant red"],
  );
  links.remove(foreign);
  await scene.settle();
  const wanted = await Scene.settled(first);
  assert.deepEqual(difference(scene.machine.text(), wanted.machine.text()), []);
  for (const each of [scene, wanted]) await each.dataplane.close();
});

it("an end that somebody takes down, or away, is repaired", async () => {
  const scene = await Scene.settled(first);
  const text = scene.machine.text();
  const { links } = scene.machine.namespace("weft-blue");
  const end = links.find(peeringDevice("red"));
  assert.ok(end !== undefined);
  for (const damage of [() => links.setUp(end, false), () => links.remove(end)]) {
    scene.events.length = 0;
    damage();
    await scene.settle();
    assert.deepEqual(difference(scene.machine.text(), text), []);
    assert.ok(scene.events.some(({ kind, object }) => kind === "repaired" && object.kind === "peering"));
  }
  await scene.dataplane.close();
});

it("a route that somebody deletes, turns away or adds is repaired, and what leads elsewhere is nobody's business here", async () => {
  const scene = await Scene.settled(first);
  const text = scene.machine.text();
  const namespace = scene.machine.namespace("weft-blue");
  const index = namespace.links.find(peeringDevice("red"))?.index ?? assert.fail();
  const [route] = [...namespace.routes.all].filter(
    ({ protocol, nexthops: [hop] }) => protocol === weftProtocol && hop?.index === index,
  );
  assert.ok(route !== undefined);
  const stranger = { destination: cidr("10.99.0.0/24"), protocol: weftProtocol, nexthops: route.nexthops };
  using opened = namespace.open("weft-blue");
  using socket = new NetlinkSocket({ channel: opened.openChannel({}) });
  const isRepaired = async (request: Request): Promise<boolean> => {
    scene.events.length = 0;
    await socket.execute(request);
    await scene.settle();
    return scene.events.some(({ kind, object }) => kind === "repaired" && object.kind === "peering");
  };
  for (const damage of [
    deleteRoute(route),
    replaceRoute({ ...route, nexthops: [{ index, gateway: ip("fe80::99") }] }),
    replaceRoute(stranger),
  ]) {
    assert.ok(await isRepaired(damage), damage.describe());
    assert.deepEqual(difference(scene.machine.text(), text), []);
  }
  const elsewhere = namespace.links.devices.find(({ kind }) => kind === "bridge")?.index ?? assert.fail();
  const other = { destination: cidr("10.98.0.0/24"), protocol: 4, nexthops: [{ index: elsewhere }] };
  for (const request of [replaceRoute(other), deleteRoute(other)])
    assert.ok(!(await isRepaired(request)), request.describe());
  await scene.dataplane.close();
});
