import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TableRowSchema } from "../api/generated/weft/v1/agent_pb.js";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import type { DesiredNetwork, NetworkPlacement, NodeDataplane } from "../dataplane/index.ts";
import { bridgeName, endpointPortName } from "../model/names.ts";
import {
  type FdbEntry,
  listFdbEntries,
  listLinks,
  listNeighbours,
  listRoutes,
  type Neighbour,
  neighbourState,
  type Route,
  routeType,
} from "../netlink/index.ts";

export type TableRow = MessageInitShape<typeof TableRowSchema>;

/**
 * Where a row comes from. `declared`: an endpoint attached on this node. `learnt`: found behind a port of this node and
 * published. `control-plane`: the server says so. `flood`: the flood list. `gateway`: this node is one. `kernel`: the
 * kernel learnt it from traffic or made it by itself. `foreign`: somebody else put it there.
 */
type Origin = "declared" | "learnt" | "control-plane" | "flood" | "gateway" | "kernel" | "foreign";

/** Collects the rows of one table of one network. */
class Table {
  readonly rows: TableRow[] = [];
  readonly #network: string;
  readonly #namespace: string;

  constructor(network: DesiredNetwork, { namespace }: NetworkPlacement) {
    this.#network = network.settings.name;
    this.#namespace = namespace.label;
  }

  add(device: string, key: string, desired: string, actual: string, origin: Origin): void {
    const state = desired === "" && origin !== "foreign" ? "learnt" : compare(desired, actual);
    this.rows.push({ network: this.#network, namespace: this.#namespace, device, key, desired, actual, origin, state });
  }
}

/** What is desired beside what the kernel has now, for people who look for the difference. */
export async function listFdb(dataplane: NodeDataplane, network: DesiredNetwork): Promise<TableRow[]> {
  const place = dataplane.network(network.settings.name);
  if (place === undefined) return [];
  const entries = await place.socket.dump(listFdbEntries());
  const links = new Map((await place.socket.dump(listLinks())).map((link) => [link.index, link.name]));
  const nameOf = (index: number): string => links.get(index) ?? "";
  const { tunnels } = place.dataplane;
  const bridgeIndex = place.dataplane.bridge.index;
  const tunnelEntries = new Map<MacAddress, FdbEntry>();
  const bridgeEntries = new Map<MacAddress, FdbEntry>();
  const flood = new Map<string, Set<string>>();
  for (const entry of entries) {
    const onBridge = entry.master === bridgeIndex;
    if (!onBridge && !tunnels.has(entry.index)) continue;
    if (entry.mac === zeroMac) {
      const device = nameOf(entry.index);
      if (entry.vtep !== undefined) flood.set(device, (flood.get(device) ?? new Set()).add(entry.vtep));
    } else if (onBridge) {
      // The bridge's own addresses, one for each port, are no places to send to.
      if ((entry.state & neighbourState.permanent) === 0) bridgeEntries.set(entry.mac, entry);
    } else tunnelEntries.set(entry.mac, entry);
  }
  const table = new Table(network, place);
  const vtepOf = (entry: FdbEntry | undefined): string =>
    entry?.vtep ?? (entry?.nexthop === undefined ? undefined : dataplane.vtepOfGroup(entry.nexthop)) ?? "";
  for (const [mac, endpoint] of network.remotesByMac) {
    const inBridge = bridgeEntries.get(mac);
    const inTunnel = tunnelEntries.get(mac);
    bridgeEntries.delete(mac);
    tunnelEntries.delete(mac);
    const tunnel = tunnels.towards(endpoint.vtep);
    const isAtTunnel = inBridge !== undefined && inBridge.index === tunnel?.index;
    // Where each VTEP has a tunnel, the bridge's entry alone says which VTEP.
    const actual = !isAtTunnel ? "" : tunnel.peer === undefined ? vtepOf(inTunnel) : tunnel.peer;
    table.add(tunnel?.device.name ?? "", mac, endpoint.vtep, actual, "control-plane");
  }
  for (const { mac, vtep } of place.dataplane.rows.routers) {
    const tunnel = tunnels.shared?.device.name;
    if (tunnel === undefined) continue;
    table.add(tunnel, mac, vtep, vtepOf(tunnelEntries.get(mac)), "control-plane");
    tunnelEntries.delete(mac);
  }
  for (const endpoint of network.locals.values()) {
    const entry = bridgeEntries.get(endpoint.mac);
    bridgeEntries.delete(endpoint.mac);
    const port = endpointPortName(endpoint.id);
    table.add(port, endpoint.mac, port, entry === undefined ? "" : nameOf(entry.index), "declared");
  }
  for (const { mac } of network.learnt.values()) {
    const entry = bridgeEntries.get(mac);
    bridgeEntries.delete(mac);
    const port = entry === undefined ? "" : nameOf(entry.index);
    table.add(port, mac, "", port, "learnt");
  }
  for (const index of network.settings.mode === "l2" ? tunnels.sharedIndexes : []) {
    const device = nameOf(index);
    const present = flood.get(device) ?? new Set();
    const wanted: readonly string[] = network.floodList;
    for (const vtep of new Set([...wanted, ...present]))
      if (wanted.includes(vtep)) table.add(device, zeroMac, vtep, present.has(vtep) ? vtep : "", "flood");
      else table.add(device, zeroMac, "", vtep, "foreign");
  }
  for (const [mac, entry] of tunnelEntries) table.add(nameOf(entry.index), mac, "", vtepOf(entry), originOf(entry));
  // What the kernel learnt of a tunnel's frames stands in the tunnel's table, too, and was told there.
  for (const [mac, entry] of bridgeEntries)
    if (!tunnelEntries.has(mac)) table.add(nameOf(entry.index), mac, "", nameOf(entry.index), originOf(entry));
  return table.rows;
}

export async function listNeighbourRows(dataplane: NodeDataplane, network: DesiredNetwork): Promise<TableRow[]> {
  const place = dataplane.network(network.settings.name);
  if (place === undefined) return [];
  const { tunnels } = place.dataplane;
  const bridgeIndex = place.dataplane.bridge.index;
  const links = new Map((await place.socket.dump(listLinks())).map((link) => [link.index, link.name]));
  const entries = new Map(
    (await place.socket.dump(listNeighbours()))
      .filter(
        ({ index, state }) => (index === bridgeIndex || tunnels.has(index)) && (state & neighbourState.noArp) === 0,
      )
      .map((entry) => [`${entry.index} ${entry.ip}`, entry]),
  );
  const table = new Table(network, place);
  const add = (index: number, ip: string, mac: string, origin: Origin): void => {
    table.add(links.get(index) ?? "", ip, mac, entries.get(`${index} ${ip}`)?.mac ?? "", origin);
    entries.delete(`${index} ${ip}`);
  };
  for (const [ip, endpoint] of network.localsByIp) add(bridgeIndex, ip, endpoint.mac, "declared");
  for (const [ip, endpoint] of network.remotesByIp)
    if (!network.localsByIp.has(ip)) add(bridgeIndex, ip, endpoint.mac, "control-plane");
  for (const { index, ip, mac } of place.dataplane.rows.nextHops) add(index, ip, mac ?? "", "control-plane");
  const learnt = [
    ...network.learnt.values(),
    ...[...network.locals.values()].map(({ mac, learntIps = [] }) => ({ mac, ips: learntIps })),
  ];
  for (const { mac, ips } of learnt)
    for (const ip of ips) table.add(bridgeName(network.settings.vni), ip, "", mac, "learnt");
  for (const { index, ip, mac = "", state } of entries.values())
    if (mac !== "") table.add(links.get(index) ?? "", ip, "", mac, originOf({ state }));
  return table.rows;
}

/** Routes to the network's subnets and out of them; what else a tenant's namespace has is nobody's of this network. */
export async function listRouteRows(dataplane: NodeDataplane, network: DesiredNetwork): Promise<TableRow[]> {
  const place = dataplane.network(network.settings.name);
  if (place === undefined) return [];
  const links = new Map((await place.socket.dump(listLinks())).map((link) => [link.index, link.name]));
  const mainTable = 254;
  const present = new Map(
    (await place.socket.dump(listRoutes()))
      .filter((route) => route.table === mainTable && isOfNetwork(route, network))
      .map((route) => [route.destination, route]),
  );
  const table = new Table(network, place);
  const deviceOf = ({ nexthops: [hop] }: Route): string =>
    hop?.index === undefined ? "" : (links.get(hop.index) ?? "");
  const wayOf = (route: Route): string => {
    if (route.type === routeType.unreachable) return "unreachable";
    const gateway = route.nexthops[0]?.gateway;
    return gateway === undefined ? deviceOf(route) : `${gateway} ${deviceOf(route)}`;
  };
  for (const cidr of place.dataplane.rows.routedPrefixes) {
    const wanted = place.dataplane.rows.routeTo(cidr);
    const actual = present.get(cidr);
    present.delete(cidr);
    table.add(
      wanted === undefined ? "" : deviceOf(wanted),
      cidr,
      wanted === undefined ? "pending" : wayOf(wanted),
      actual === undefined ? "" : wayOf(actual),
      "control-plane",
    );
  }
  for (const [destination, route] of present) {
    const isOnBridge = route.nexthops[0]?.index === place.dataplane.bridge.index;
    const origin = isOnBridge && route.protocol === kernelProtocol ? "gateway" : "foreign";
    table.add(deviceOf(route), destination, origin === "gateway" ? wayOf(route) : "", wayOf(route), origin);
  }
  return table.rows;
}

/** linux/rtnetlink.h: RTPROT_KERNEL, of routes that come with an address. */
const kernelProtocol = 2;

/** Link-local and multicast prefixes are on every device. */
function isOfNetwork({ destination }: Route, network: DesiredNetwork): boolean {
  return !/^f(e80|f00):/.test(destination) && network.owns(destination);
}

/** Entries that age were learnt from traffic; others somebody wrote. */
function originOf({ state }: Pick<FdbEntry | Neighbour, "state">): Origin {
  const written = neighbourState.permanent | neighbourState.noArp;
  return (state & written) === 0 ? "kernel" : "foreign";
}

function compare(desired: string, actual: string): string {
  if (desired === actual) return "same";
  if (desired === "") return "foreign";
  return actual === "" ? "missing" : "different";
}
