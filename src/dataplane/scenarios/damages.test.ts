import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { minutes } from "../../base/duration.ts";
import { ip } from "../../base/ip.ts";
import { mac, zeroMac } from "../../base/mac.ts";
import {
  addNftElements,
  changeBridgePort,
  changeLink,
  deleteAddress,
  deleteFdbEntry,
  deleteLink,
  deleteNeighbour,
  deleteNexthop,
  deleteNftElements,
  deleteProxyNeighbour,
  deleteRoute,
  NetlinkSocket,
  neighbourFlag,
  neighbourState,
  netlinkProtocol,
  nftField,
  packetNumber,
  type Request,
  replaceNeighbour,
  replaceNexthop,
  replaceRoute,
} from "../../netlink/index.ts";
import type { FakeNamespace } from "../../testing/kernel/namespace.ts";
import { plainScenarios, type Scenario, specialScenarios } from "../../testing/scenarios.ts";
import { difference, Scene } from "../../testing/scene.ts";
import { nameOfObject } from "../objects.ts";

/** What somebody else does to what weft made, and what the event of its repair names. */
interface Damage {
  readonly what: string;
  readonly scenario: string;
  readonly repaired: RegExp;
  readonly act: (scene: Scene) => Promise<void> | void;
}

const tenant = (scene: Scene): FakeNamespace => scene.machine.namespace("weft-blue");
const indexOf = (namespace: FakeNamespace, name: string): number => namespace.links.find(name)?.index ?? 0;

const firstNexthop = ({ machine }: Scene): number => Math.min(...machine.host.nexthops.all.map(({ id }) => id));

/** Requests of another program. */
async function request(namespace: FakeNamespace, ...requests: readonly Request[]): Promise<void> {
  using holder = namespace.open("of another program");
  using socket = new NetlinkSocket({ channel: holder.openChannel({}) });
  const { failures } = await socket.batch(requests);
  if (failures[0] !== undefined) throw failures[0].error;
}

/** Those of the source filter. */
const members = { name: "members4", key: [packetNumber(96, 24), nftField.ipv4_addr] };

async function changeNft(namespace: FakeNamespace, request: Request): Promise<void> {
  using holder = namespace.open("of another program");
  using socket = new NetlinkSocket({ channel: holder.openChannel({ protocol: netlinkProtocol.netfilter }) });
  const { failures } = await socket.transaction([request]);
  if (failures[0] !== undefined) throw failures[0].error;
}

const [l2, l3, uplink] = ["vxlan l2 over IPv4", "vxlan l3 over IPv4", "gateway, egress and host access"];
const { self, master } = neighbourFlag;
const remoteMac = mac("02:00:00:00:00:0a");
const inTenant =
  (make: (namespace: FakeNamespace) => Request): Damage["act"] =>
  (scene) =>
    request(tenant(scene), make(tenant(scene)));
const fdb = (namespace: FakeNamespace, device: string, flags: number, address = remoteMac) => ({
  index: indexOf(namespace, device),
  mac: address,
  state: 0,
  flags,
});

const onHost = "in the host's own namespace, by vxlan";
const onTheHost =
  (make: (namespace: FakeNamespace) => Request): Damage["act"] =>
  (scene) =>
    request(scene.machine.host, make(scene.machine.host));

const damages: readonly Damage[] = [
  {
    what: "tunnel on the host deleted",
    scenario: onHost,
    repaired: /^tunnel vx100/,
    act: onTheHost(() => deleteLink({ name: "vx100" })),
  },
  {
    what: "bridge on the host deleted",
    scenario: onHost,
    repaired: /^bridge br100/,
    act: onTheHost(() => deleteLink({ name: "br100" })),
  },
  {
    what: "tunnel's address on the host",
    scenario: onHost,
    repaired: /^tunnel vx100/,
    act: onTheHost((namespace) =>
      deleteAddress({ index: indexOf(namespace, "vx100"), address: ip("10.8.0.1"), prefixLength: 32 }),
    ),
  },
  {
    what: "route of a block on the host",
    scenario: onHost,
    repaired: /^route to 10\.8\.0\.64\/26/,
    act: onTheHost(() => deleteRoute({ destination: cidr("10.8.0.64/26"), protocol: 119, nexthops: [] })),
  },
  {
    what: "tunnel deleted",
    scenario: l2,
    repaired: /^tunnel vx100 of network blue-net/,
    act: inTenant(() => deleteLink({ name: "vx100" })),
  },
  {
    what: "tunnel of a layer-3 network deleted",
    scenario: l3,
    repaired: /^tunnel vx100/,
    act: inTenant(() => deleteLink({ name: "vx100" })),
  },
  {
    what: "tunnel of a mesh deleted",
    scenario: "geneve l2 over IPv4",
    repaired: /^tunnel g/,
    act: inTenant((namespace) =>
      deleteLink({
        index: namespace.links.devices.find(({ kind }) => kind === "geneve")?.index ?? 0,
      }),
    ),
  },
  {
    what: "tunnel down",
    scenario: l2,
    repaired: /^tunnel vx100/,
    act: inTenant((namespace) => changeLink({ index: indexOf(namespace, "vx100") }, { up: false })),
  },
  {
    what: "tunnel's MTU",
    scenario: l2,
    repaired: /^tunnel vx100/,
    act: inTenant((namespace) => changeLink({ index: indexOf(namespace, "vx100") }, { mtu: 1200 })),
  },
  {
    what: "tunnel's port of the bridge",
    scenario: l2,
    repaired: /^tunnel vx100/,
    act: inTenant((namespace) => changeBridgePort(indexOf(namespace, "vx100"), { neighbourSuppress: false })),
  },
  {
    what: "bridge deleted",
    scenario: l2,
    repaired: /^bridge br100/,
    act: inTenant(() => deleteLink({ name: "br100" })),
  },
  {
    what: "bridge's alias",
    scenario: l2,
    repaired: /^bridge br100/,
    act: inTenant((namespace) => changeLink({ index: indexOf(namespace, "br100") }, { alias: "mine" })),
  },
  {
    what: "bridge's address",
    scenario: uplink,
    repaired: /^bridge br100/,
    act: inTenant((namespace) =>
      deleteAddress({ index: indexOf(namespace, "br100"), address: ip("10.0.0.254"), prefixLength: 24 }),
    ),
  },
  {
    what: "port deleted",
    scenario: l2,
    repaired: /^endpoint 000000000001/,
    act: inTenant(() => deleteLink({ name: "ve000000000001" })),
  },
  {
    what: "port taken out of the bridge",
    scenario: l2,
    repaired: /^endpoint 000000000001/,
    act: inTenant((namespace) => changeLink({ index: indexOf(namespace, "ve000000000001") }, { master: 0 })),
  },
  {
    what: "port's own FDB entry",
    scenario: l2,
    repaired: /^endpoint 000000000001/,
    act: inTenant((namespace) => deleteFdbEntry(fdb(namespace, "ve000000000001", master, mac("02:00:00:00:00:01")))),
  },
  {
    what: "FDB entry of the tunnel",
    scenario: l2,
    repaired: /^FDB entry 02:00:00:00:00:0a of network blue-net/,
    act: inTenant((namespace) => deleteFdbEntry(fdb(namespace, "vx100", self))),
  },
  {
    what: "FDB entry of the bridge",
    scenario: l2,
    repaired: /^FDB entry 02:00:00:00:00:0a/,
    act: inTenant((namespace) => deleteFdbEntry(fdb(namespace, "vx100", master))),
  },
  {
    what: "flood entry",
    scenario: l2,
    repaired: /^flood entry 192\.0\.2\.2/,
    act: inTenant((namespace) => deleteFdbEntry({ ...fdb(namespace, "vx100", self, zeroMac), vtep: ip("192.0.2.2") })),
  },
  {
    what: "neighbour deleted",
    scenario: l2,
    repaired: /^neighbour 10\.0\.0\.10/,
    act: inTenant((namespace) => deleteNeighbour(indexOf(namespace, "br100"), ip("10.0.0.10"))),
  },
  {
    what: "neighbour with another MAC",
    scenario: l2,
    repaired: /^neighbour fd00::11/,
    act: inTenant((namespace) =>
      replaceNeighbour({
        index: indexOf(namespace, "br100"),
        ip: ip("fd00::11"),
        mac: mac("02:00:00:00:00:66"),
        state: neighbourState.reachable,
        flags: 0,
      }),
    ),
  },
  {
    what: "route deleted",
    scenario: l3,
    repaired: /^route to 10\.8\.0\.64\/26 of network blue-net/,
    act: inTenant(() => deleteRoute({ destination: cidr("10.8.0.64/26"), protocol: 119, nexthops: [] })),
  },
  {
    what: "route that leads elsewhere",
    scenario: l3,
    repaired: /^route to 10\.8\.0\.128\/26/,
    act: inTenant((namespace) =>
      replaceRoute({
        destination: cidr("10.8.0.128/26"),
        protocol: 119,
        nexthops: [{ index: indexOf(namespace, "br100") }],
      }),
    ),
  },
  {
    what: "next hop of a route",
    scenario: l3,
    repaired: /^neighbour 10\.8\.0\.64/,
    act: inTenant((namespace) => deleteNeighbour(indexOf(namespace, "vx100"), ip("10.8.0.64"))),
  },
  {
    what: "filters of the tenant",
    scenario: l2,
    repaired: /^nft table bridge weft of tenant blue/,
    act: (scene) => tenant(scene).nft.apply([{ delete: { table: { family: "bridge", name: "weft" } } }]),
  },
  {
    what: "source filter",
    scenario: l2,
    repaired: /^nft table inet weft$/,
    act: (scene) => scene.machine.host.nft.apply([{ delete: { table: { family: "inet", name: "weft" } } }]),
  },
  {
    what: "who may send into a network",
    scenario: l2,
    repaired: /^nft table inet weft$/,
    act: ({ machine: { host } }) =>
      changeNft(host, deleteNftElements({ family: "inet", table: "weft", ...members }, ["100 . 192.0.2.2"])),
  },
  {
    what: "who else may send into a network",
    scenario: l2,
    repaired: /^nft table inet weft$/,
    act: ({ machine: { host } }) =>
      changeNft(host, addNftElements({ family: "inet", table: "weft", ...members }, ["100 . 192.0.2.66"])),
  },
  {
    what: "nexthop deleted",
    scenario: l2,
    repaired: /^nexthop 192\.0\.2\.2$/,
    act: (scene) => request(scene.machine.host, deleteNexthop(firstNexthop(scene))),
  },
  {
    what: "nexthop that leads elsewhere",
    scenario: l2,
    repaired: /^nexthop 192\.0\.2\.2$/,
    act: (scene) =>
      request(
        scene.machine.host,
        replaceNexthop({
          id: firstNexthop(scene),
          protocol: 119,
          fdb: true,
          gateway: ip("192.0.2.99"),
        }),
      ),
  },
  {
    what: "forwarding of the tenant",
    scenario: l3,
    repaired: /^sysctl net\.ipv4\.ip_forward of tenant blue/,
    act: (scene) => tenant(scene).sysctls.write("ipv4/ip_forward", "0"),
  },
  {
    what: "uplink deleted",
    scenario: uplink,
    repaired: /^uplink of tenant blue/,
    act: inTenant(() => deleteLink({ name: "uplink" })),
  },
  {
    what: "uplink's filter",
    scenario: uplink,
    repaired: /^nft table inet weft-uplink-weft-blue of tenant blue/,
    act: (scene) =>
      scene.machine.host.nft.apply([{ delete: { table: { family: "inet", name: "weft-uplink-weft-blue" } } }]),
  },
  {
    what: "uplink's default route",
    scenario: uplink,
    repaired: /^uplink of tenant blue/,
    act: inTenant(() => deleteRoute({ destination: cidr("0.0.0.0/0"), protocol: 119, nexthops: [] })),
  },
  {
    what: "a floating address' route",
    scenario: "floating addresses",
    repaired: /^uplink of tenant blue/,
    act: ({ machine }) => {
      const floating = [...machine.host.routes.all].filter(({ destination }) => destination === "192.0.2.50/32");
      return request(machine.host, ...floating.map(deleteRoute));
    },
  },
  {
    what: "the namespace's name",
    scenario: l2,
    repaired: /^network namespace weft-blue/,
    act: (scene) => scene.machine.deleteNamed("weft-blue"),
  },
];

const scenarios = new Map([...plainScenarios, ...specialScenarios].map((scenario) => [scenario.name, scenario]));

async function running({
  scenario,
}: Pick<Damage, "scenario">): Promise<{ readonly scene: Scene; readonly whole: string }> {
  const scene = await Scene.make();
  await scene.start((scenarios.get(scenario) as Scenario).first);
  await scene.settle();
  return { scene, whole: scene.machine.text() };
}

const assertWhole = (scene: Scene, whole: string, when = ""): void =>
  assert.deepEqual(difference(scene.machine.text(), whole), [], when);

describe("what somebody else did is undone, and told by name", () => {
  for (const damage of damages)
    it(damage.what, async () => {
      const { scene, whole } = await running(damage);
      await damage.act(scene);
      await scene.settle();
      assertWhole(scene, whole);
      const repaired = scene.events.filter(({ kind }) => kind === "repaired").map(({ object }) => nameOfObject(object));
      assert.ok(
        repaired.some((name) => damage.repaired.test(name)),
        JSON.stringify(repaired),
      );
      await scene.dataplane.close();
    });
});

it("what the kernel tells nobody of, the audit finds: answers for floating addresses, and what they wait for", async () => {
  const { scene, whole } = await running({ scenario: "floating addresses" });
  const { host } = scene.machine;
  await request(host, ...[...host.neighbours.proxies].map(deleteProxyNeighbour));
  host.sysctls.write("ipv4/neigh/eth0/proxy_delay", "80");
  await scene.settle();
  assert.equal([...host.neighbours.proxies].length, 0);
  scene.clock.advance(minutes(5));
  await scene.settle();
  assertWhole(scene, whole);
  const [first] = scene.events.filter(({ kind }) => kind === "repaired");
  assert.equal(first?.message, "the host had ceased to answer for 192.0.2.50, 2001:db8::50, 192.0.2.51; it does again");
  await scene.dataplane.close();
});

describe("what somebody else did unheard is undone by the audit, or as soon as it is told that events were lost", () => {
  for (const damage of damages)
    it(damage.what, async () => {
      const counted = await running(damage);
      const begun = counted.scene.machine.events;
      await damage.act(counted.scene);
      const events = counted.scene.machine.events - begun;
      await counted.scene.dataplane.close();
      for (const isTold of [true, false])
        for (let at = 0; at < events; at++) {
          const { scene, whole } = await running(damage);
          scene.machine.loseEventAfter(at, isTold);
          await damage.act(scene);
          await scene.settle();
          if (isTold) assertWhole(scene, whole, `event ${at} was lost, which is told`);
          scene.clock.advance(minutes(5));
          await scene.settle();
          assertWhole(scene, whole, `event ${at} was lost`);
          await scene.dataplane.close();
        }
    });
});
