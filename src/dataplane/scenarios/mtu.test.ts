/** An MTU that grows or shrinks by phases: what devices let pass, what endpoints send, and in which order both change. */
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { cidrContains, prefixLengthOf } from "../../base/cidr.ts";
import { type IpAddress, ip } from "../../base/ip.ts";
import { networkSettings, placeIn } from "../../testing/desired.ts";
import { Links } from "../../testing/kernel/links.ts";
import { Routes } from "../../testing/kernel/routes.ts";
import { endpointId, localInBlocks, plainScenarios, setOwnBlocks, setSubnets } from "../../testing/scenarios.ts";
import { Scene } from "../../testing/scene.ts";
import type { NetworkSettings } from "../desired.ts";

type Sizes = Pick<NetworkSettings, "mtu" | "deviceMtu">;

function mtuOf(scene: Scene, namespace: string, device: RegExp): number | undefined {
  return scene.machine.namespace(namespace).links.devices.find(({ name }) => device.test(name))?.mtu;
}

/** Octets of the largest packet that the container sends to the address; `undefined`: it has no way there. */
function sends(scene: Scene, to: IpAddress): number | undefined {
  const { links, routes } = scene.machine.namespace("c1");
  const [best] = [...routes.all]
    .filter(({ destination }) => cidrContains(destination, to))
    .sort((a, b) => prefixLengthOf(b.destination) - prefixLengthOf(a.destination));
  return best && (best.mtu ?? links.get(best.nexthops[0]?.index ?? 0)?.mtu);
}

/** `bridge 1300, tunnel 1400, port 1400, container 1400, sent 1300` */
function sizes(scene: Scene, to: readonly IpAddress[]): string {
  const devices = [
    ["bridge", "weft-blue", /^br/],
    ["tunnel", "weft-blue", /^vx/],
    ["port", "weft-blue", /^ve/],
    ["container", "c1", /^eth0$/],
  ] as const;
  const passed = devices.map(([what, namespace, device]) => `${what} ${mtuOf(scene, namespace, device)}`);
  return `${passed.join(", ")}, sent ${[...new Set(to.map((address) => sends(scene, address)))].join("/")}`;
}

/** Looks at the machine after whatever is asked of devices and routes. */
function afterEach(t: TestContext, look: () => void): void {
  for (const { prototype } of [Links, Routes]) {
    const handle = prototype.handle as (...args: unknown[]) => unknown;
    t.mock.method(prototype, "handle", function (this: unknown, ...args: unknown[]) {
      const answer = handle.apply(this, args);
      look();
      return answer;
    });
  }
}

const phases: readonly (readonly [phase: string, settings: Sizes, largestSent: number])[] = [
  ["growing: receive", { mtu: 1300, deviceMtu: 1400 }, 1300],
  ["growing: send", { mtu: 1400 }, 1400],
  ["shrinking: receive", { mtu: 1350, deviceMtu: 1400 }, 1400],
  ["shrinking: over", { mtu: 1350 }, 1350],
];

async function throughPhases(
  t: TestContext,
  scene: Scene,
  to: readonly IpAddress[],
  expected: readonly string[],
): Promise<void> {
  const network = scene.dataplane.networks.get("blue-net");
  assert.ok(network !== undefined);
  let largest = 1300;
  const broken: string[] = [];
  afterEach(t, () => {
    const device = mtuOf(scene, "c1", /^eth0$/) ?? 0;
    for (const address of to) {
      const sent = sends(scene, address) ?? 0;
      if (sent > largest || device < sent) broken.push(`${sent} of ${largest} is sent to ${address}, ${device} passes`);
    }
  });
  const settled = async (): Promise<void> => {
    await scene.dataplane.changed();
    await scene.settle();
  };
  const seen: string[] = [];
  for (const [phase, settings, largestSent] of phases) {
    largest = largestSent;
    const { deviceMtu: _, ...rest } = network.settings;
    network.setSettings({ ...rest, ...settings });
    await settled();
    // One that comes meanwhile is no other.
    const endpoint = network.local(endpointId(1));
    assert.ok(endpoint !== undefined);
    network.removeLocal(endpoint.id);
    await settled();
    network.putLocal(endpoint);
    await settled();
    seen.push(`${phase}: ${sizes(scene, to)}`);
  }
  assert.deepEqual(seen, expected);
  assert.deepEqual(broken, []);
  assert.deepEqual(
    scene.events.filter(({ kind }) => kind === "failed" || kind === "repaired"),
    [],
  );
}

it("in a layer-2 network: the bridge, which sends as a gateway and switches whatever its own MTU is, is an endpoint", async (t) => {
  const scene = await Scene.settled((dataplane) => {
    plainScenarios[0]?.first(dataplane);
    dataplane.putNetwork(networkSettings({ mtu: 1300 }));
  });
  t.after(() => scene.dataplane.close());
  await throughPhases(
    t,
    scene,
    [ip("10.0.0.11"), ip("10.0.0.200"), ip("fd00::11")],
    [
      "growing: receive: bridge 1300, tunnel 1400, port 1400, container 1400, sent 1300",
      "growing: send: bridge 1400, tunnel 1400, port 1400, container 1400, sent 1400",
      "shrinking: receive: bridge 1350, tunnel 1400, port 1400, container 1400, sent 1350",
      "shrinking: over: bridge 1350, tunnel 1350, port 1350, container 1350, sent 1350",
    ],
  );
});

it("in a layer-3 network: what comes by tunnels leaves by the bridge, which lets it pass", async (t) => {
  const scene = await Scene.settled((dataplane) => {
    const network = dataplane.putNetwork(networkSettings({ mode: "l3", mtu: 1300 }));
    setSubnets(network, "10.8.0.0/16", "fd08::/48");
    setOwnBlocks(network, "10.8.0.0/26", "fd08::/64");
    network.putLocal({ ...localInBlocks(network, 1), place: placeIn("/run/netns/c1") });
  });
  t.after(() => scene.dataplane.close());
  const near = [ip("10.8.0.2"), ip("fd08::2")];
  const far = [ip("10.8.9.9"), ip("fd08:0:0:9::9"), ip("203.0.113.1")];
  await throughPhases(
    t,
    scene,
    [...near, ...far],
    [
      "growing: receive: bridge 1400, tunnel 1400, port 1400, container 1400, sent 1300",
      "growing: send: bridge 1400, tunnel 1400, port 1400, container 1400, sent 1400",
      "shrinking: receive: bridge 1400, tunnel 1400, port 1400, container 1400, sent 1350",
      "shrinking: over: bridge 1350, tunnel 1350, port 1350, container 1350, sent 1350",
    ],
  );
});
