import assert from "node:assert/strict";
import { test } from "node:test";
import { minutes } from "../base/duration.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { networkSettings, placeIn } from "../testing/desired.ts";
import { Scene } from "../testing/scene.ts";
import type { LocalEndpoint } from "./desired.ts";
import type { RemoteEndpoint } from "./remote-endpoints.ts";

const id = "000000000001";
const endpoint = { id, mac: mac("02:00:00:00:00:01") };
const elsewhere: RemoteEndpoint = {
  ...endpoint,
  ips: [ip("10.0.0.1")],
  vtep: ip("192.0.2.2"),
  source: { name: "server", node: "h2" },
};
const here: LocalEndpoint = {
  ...endpoint,
  addresses: [{ address: ip("10.0.0.1"), prefixLength: 24 }],
  place: placeIn("/run/netns/c1"),
};

for (const transport of [
  { encapsulation: "vxlan", port: 4789 },
  { encapsulation: "geneve", port: 6081 },
] as const)
  test(`over ${transport.encapsulation} the frames of an endpoint with a port here and a place elsewhere go elsewhere`, async () => {
    const scene = await Scene.make();
    await scene.start((dataplane) => dataplane.putNetwork(networkSettings({ transport })));
    const network = scene.dataplane.networks.get("blue-net");
    assert.ok(network !== undefined);
    /** The devices that the MAC is behind. */
    const places = async (): Promise<string> => {
      await scene.dataplane.changed();
      await scene.settle();
      const entries = scene.machine.text().matchAll(/^fdb 02:00:00:00:00:01 dev (\w+)/gm);
      return [...new Set([...entries].map(([, device]) => device))].join(" ");
    };
    network.putRemote(elsewhere);
    const tunnel = await places();
    assert.match(tunnel, /^(vx100|g2s)$/);
    network.putLocal(here);
    assert.equal(await places(), tunnel);
    // Nor does the audit find anything to repair.
    scene.clock.advance(minutes(6));
    assert.equal(await places(), tunnel);
    network.removeRemote(id);
    assert.equal(await places(), `ve${id}`);
    network.putRemote(elsewhere);
    assert.equal(await places(), tunnel);
    network.removeLocal(id);
    assert.equal(await places(), tunnel);
    assert.deepEqual(scene.events, []);
    await scene.dataplane.close();
  });
