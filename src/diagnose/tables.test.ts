import assert from "node:assert/strict";
import { it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import type { Vni } from "../model/resources.ts";
import {
  NetlinkSocket,
  neighbourFlag,
  neighbourState,
  replaceFdbEntry,
  replaceNexthop,
  replaceRoute,
  routeType,
} from "../netlink/index.ts";
import { networkSettings } from "../testing/desired.ts";
import type { FakeNamespace } from "../testing/kernel/namespace.ts";
import { putBlock, putRemote } from "../testing/scenarios.ts";
import { Scene } from "../testing/scene.ts";
import { listFdb, listNeighbourRows, listRouteRows, type TableRow } from "./tables.ts";

const textOf = ({ key, desired, actual, state }: TableRow): string => `${key} ${desired} | ${actual} ${state}`;

async function otherProgram(namespace: FakeNamespace, act: (socket: NetlinkSocket) => Promise<unknown>): Promise<void> {
  using holder = namespace.open("of another program");
  using socket = new NetlinkSocket({ channel: holder.openChannel({}) });
  await act(socket);
}

it("says where rows lead and shall lead, in the same words, and of what others made", async () => {
  const scene = await Scene.settled((dataplane) => {
    putRemote(dataplane.putNetwork(networkSettings({})), 10, 2);
    const routed = dataplane.putNetwork(
      networkSettings({ name: "routed", vni: 800 as Vni, mode: "l3", gateways: [], subnets: [cidr("10.8.0.0/16")] }),
    );
    putBlock(routed, "10.8.0.64/26", 2);
  });
  const { dataplane, machine } = scene;
  const network = (name: string) => dataplane.networks.get(name) ?? assert.fail();
  const bridged = network("blue-net");
  const [remote] = [...bridged.remotesByMac.keys()];
  assert.deepEqual((await listFdb(dataplane, bridged)).map(textOf), [
    `${remote} 192.0.2.2 | 192.0.2.2 same`,
    "00:00:00:00:00:00 192.0.2.2 | 192.0.2.2 same",
  ]);
  for (const row of await listNeighbourRows(dataplane, bridged)) assert.match(textOf(row), / (\S+) \| \1 same$/);
  const gateway = "10.8.0.64 vx800";
  assert.deepEqual((await listRouteRows(dataplane, network("routed"))).map(textOf), [
    `10.8.0.64/26 ${gateway} | ${gateway} same`,
    "10.8.0.0/16 unreachable | unreachable same",
  ]);
  // What others put there.
  const tenant = machine.namespace("weft-blue");
  const index = tenant.links.find("vx100")?.index ?? 0;
  await otherProgram(machine.host, async (socket) => {
    const nexthop = { protocol: 4, fdb: true };
    await socket.execute(replaceNexthop({ ...nexthop, id: 8, gateway: ip("192.0.2.9") }));
    await socket.execute(replaceNexthop({ ...nexthop, id: 9, group: [{ id: 8, weight: 1 }] }));
  });
  const { permanent } = neighbourState;
  const { blackhole } = routeType;
  await otherProgram(tenant, async (socket) => {
    const theirs = mac("02:00:00:00:09:09");
    await socket.execute(
      replaceFdbEntry({ index, mac: theirs, state: permanent, flags: neighbourFlag.self, nexthop: 9 }),
    );
    const destination = cidr("10.8.9.0/24");
    await socket.execute(replaceRoute({ destination, protocol: 4, type: blackhole, nexthops: [] }));
  });
  const last = async (rows: Promise<readonly TableRow[]>): Promise<string> => textOf((await rows).at(-1) ?? {});
  assert.equal(await last(listFdb(dataplane, bridged)), "02:00:00:00:09:09  | 9 foreign");
  assert.equal(await last(listRouteRows(dataplane, network("routed"))), "10.8.9.0/24  | blackhole foreign");
  await dataplane.close();
});
