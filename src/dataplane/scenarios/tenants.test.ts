/** What fails, waits or is much of one tenant or network leaves the others alone. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { milliseconds } from "../../base/duration.ts";
import type { Vni } from "../../model/index.ts";
import { networkSettings, placeIn } from "../../testing/desired.ts";
import { Refusal } from "../../testing/kernel/request.ts";
import { local, putRemote } from "../../testing/scenarios.ts";
import { Scene } from "../../testing/scene.ts";
import type { NetworkSettings } from "../desired.ts";
import type { NodeDataplane } from "../node-dataplane.ts";

const geneve = { encapsulation: "geneve", port: 6081 } as const;

function put(dataplane: NodeDataplane, changes: Partial<NetworkSettings>): void {
  const network = dataplane.putNetwork(networkSettings(changes));
  putRemote(network, 10, 2);
}

/** Makes the kernel refuse to take a device away, until that is ended. */
function refuseRemoval(scene: Scene, name: string): { readonly attempts: () => number; readonly end: () => void } {
  const links = scene.machine.namespace("weft-blue")?.links;
  assert.ok(links !== undefined);
  const remove = links.remove.bind(links);
  let attempts = 0;
  links.remove = (device) => {
    if (device.name !== name) return remove(device);
    attempts++;
    throw new Refusal("EBUSY");
  };
  return {
    attempts: () => attempts,
    end: () => {
      links.remove = remove;
    },
  };
}

const problemsOf = ({ dataplane }: Scene): string[] =>
  dataplane.problems.list().map(({ object: { kind, network = "" } }) => `${kind} ${network}`);

const devices = (scene: Scene): string[] =>
  scene.machine.namespace("weft-blue")?.links.devices.map(({ name }) => name) ?? [];

it("a network that cannot leave holds back the one that takes its name, and both are seen through", async (t) => {
  const scene = await Scene.settled((dataplane) => {
    put(dataplane, { transport: geneve });
    dataplane.networks.get("blue-net")?.putLocal(local(1));
  });
  t.after(() => scene.dataplane.close());
  const removal = refuseRemoval(scene, "br100");
  scene.dataplane.removeNetwork("blue-net");
  put(scene.dataplane, { transport: geneve, vni: 200 as Vni });
  scene.dataplane.networks.get("blue-net")?.putLocal(local(1));
  await scene.dataplane.changed();
  await scene.turns();
  assert.deepEqual(
    [scene.dataplane.inSync, problemsOf(scene).sort()],
    [false, ["network blue-net", "removal blue-net"]],
  );
  assert.ok(!devices(scene).includes("br200") && devices(scene).includes("br100"));
  removal.end();
  await scene.settle();
  assert.ok(devices(scene).includes("br200") && !devices(scene).includes("br100"));
  assert.deepEqual(problemsOf(scene), []);
});

it("a network that cannot leave is not made again, and lets others leave and come", async (t) => {
  const scene = await Scene.settled((dataplane) => {
    put(dataplane, { transport: geneve });
    put(dataplane, { transport: geneve, name: "other", vni: 300 as Vni });
  });
  t.after(() => scene.dataplane.close());
  const removal = refuseRemoval(scene, "br100");
  for (const name of ["blue-net", "other"]) scene.dataplane.removeNetwork(name);
  put(scene.dataplane, { transport: geneve, name: "green", vni: 400 as Vni });
  await scene.dataplane.changed();
  const own = () => devices(scene).filter((name) => /^(br|g)/.test(name));
  const after = own();
  assert.ok(after.includes("br100") && after.includes("br400") && !after.includes("br300"));
  for (let passed = 0; passed < 5_000; passed += 100) {
    scene.clock.advance(milliseconds(100));
    await scene.turns();
  }
  assert.deepEqual(own(), after);
  assert.deepEqual(
    scene.events.filter(({ kind }) => kind === "repaired"),
    [],
  );
  // 100 ms, 200 ms, 400 ms …
  assert.ok(removal.attempts() < 8, `${removal.attempts()} attempts in 5 s`);
  removal.end();
  await scene.settle();
});

it("what failed of one tenant is not tried more often for another's changes, nor for what happens on the host", async (t) => {
  const scene = await Scene.settled((dataplane) => {
    put(dataplane, { transport: geneve });
    put(dataplane, { name: "kept", vni: 101 as Vni });
    put(dataplane, { tenant: "red", name: "red-net", vni: 200 as Vni });
  });
  t.after(() => scene.dataplane.close());
  const removal = refuseRemoval(scene, "br100");
  scene.dataplane.removeNetwork("blue-net");
  await scene.dataplane.changed();
  await scene.turns();
  const before = removal.attempts();
  for (let number = 20; number < 40; number++) {
    const red = scene.dataplane.networks.get("red-net");
    if (red !== undefined) putRemote(red, number, 3);
    await scene.dataplane.changed("red");
    scene.machine.host.routes.set({ destination: cidr("192.0.2.2/32"), protocol: 3, nexthops: [{ index: 2 }] });
    scene.machine.host.routes.set({
      destination: cidr("192.0.2.2/32"),
      protocol: 3,
      nexthops: [{ index: 2 }],
      priority: number,
    });
    await scene.turns();
  }
  assert.equal(removal.attempts(), before);
  removal.end();
});

it("a change of one tenant does not wait for another's rows, nor for what another takes away", async (t) => {
  const scene = await Scene.settled((dataplane) => {
    put(dataplane, { name: "blue-old", vni: 300 as Vni });
    put(dataplane, {});
    put(dataplane, { tenant: "red", name: "red-net", vni: 200 as Vni });
  });
  t.after(() => scene.dataplane.close());
  const { networks } = scene.dataplane;
  for (let number = 0; number < 5_000; number++) {
    const blue = networks.get("blue-net");
    const id = number.toString(16).padStart(4, "0");
    blue?.putRemote({
      id: `1234${id}`,
      mac: `02:01:00:00:${id.slice(0, 2)}:${id.slice(2)}` as never,
      ips: [`10.0.${number >> 8}.${number & 255}` as never],
      vtep: "192.0.2.2" as never,
      source: { name: "server", node: "h2" },
    });
  }
  scene.dataplane.removeNetwork("blue-old");
  let isBlueDone = false;
  const blue = scene.dataplane.changed("blue").then(() => {
    isBlueDone = true;
  });
  const red = networks.get("red-net");
  if (red !== undefined) putRemote(red, 20, 3);
  await scene.dataplane.changed("red");
  assert.equal(isBlueDone, false);
  await blue;
});

it("an event on the host costs the same however many tenants there are", async (t) => {
  const calls: number[] = [];
  for (const count of [1, 20]) {
    const scene = await Scene.settled((dataplane) => {
      for (let number = 0; number < count; number++)
        put(dataplane, { tenant: `t${number}`, name: `net${number}`, vni: (500 + number) as Vni });
    });
    t.after(() => scene.dataplane.close());
    const before = scene.machine.calls;
    scene.machine.host.routes.set({ destination: cidr("192.0.2.2/32"), protocol: 3, nexthops: [{ index: 2 }] });
    await scene.turns();
    calls.push(scene.machine.calls - before);
  }
  assert.equal(calls[0], calls[1]);
  assert.ok((calls[0] ?? 0) > 0);
});

it("a network waits, and says for what, until another tenant's network with its VNI has left", async (t) => {
  const scene = await Scene.settled((dataplane) => put(dataplane, {}));
  t.after(() => scene.dataplane.close());
  const removal = refuseRemoval(scene, "vx100");
  scene.dataplane.removeNetwork("blue-net");
  put(scene.dataplane, { tenant: "red", name: "red-net" });
  await scene.dataplane.changed();
  await scene.turns();
  assert.deepEqual(problemsOf(scene).sort(), ["network red-net", "removal blue-net"]);
  assert.match(
    scene.dataplane.problems.get({ kind: "network", tenant: "red", network: "red-net" })?.error.message ?? "",
    /blue-net of tenant blue, which has VNI 100, has not left yet/,
  );
  removal.end();
  await scene.settle();
  assert.deepEqual(problemsOf(scene), []);
  assert.ok(scene.machine.namespace("weft-red")?.links.find("vx100") !== undefined);
});

it("a port that is as it was is not told as restored because others' ports come meanwhile", async (t) => {
  const scene = await Scene.settled((dataplane) => {
    for (const tenant of ["blue", "red"])
      put(dataplane, { tenant, name: `${tenant}-net`, vni: (tenant === "blue" ? 100 : 200) as Vni });
    dataplane.networks.get("blue-net")?.putLocal(local(1));
  });
  t.after(() => scene.dataplane.close());
  const red = scene.dataplane.networks.get("red-net");
  for (let number = 2; number < 20; number++)
    red?.putLocal(local(number, { place: placeIn("/run/netns/c2", `eth${number}`) }));
  await scene.dataplane.audit();
  await scene.settle();
  assert.deepEqual(
    scene.events.filter(({ kind }) => kind === "repaired"),
    [],
  );
});
