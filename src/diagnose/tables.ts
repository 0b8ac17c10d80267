import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TableRowSchema } from "../api/generated/weft/v1/agent_pb.js";
import type { IpAddress } from "../base/ip.ts";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import {
  type DesiredNetwork,
  type NodeDataplane,
  notYet,
  type ProgrammedNetwork,
  type ReconciledTable,
} from "../dataplane/index.ts";
import { bridgeName, endpointPortName } from "../dataplane/kernel-names.ts";
import { fdbWay, neighbourWay, type RowNames, routeWay } from "../dataplane/tables/row-text.ts";
import {
  type FdbEntry,
  listFdbEntries,
  listLinks,
  listNeighbours,
  listRoutes,
  type Neighbour,
  neighbourState,
  type Route,
} from "../netlink/index.ts";

export type TableRow = MessageInitShape<typeof TableRowSchema>;

/**
 * Where a row comes from. `declared`: an endpoint attached on this node. `learned`: found behind a port of this node and
 * published. `control-plane`: the server says so. `flood`: the flood list. `gateway`: this node is one. `kernel`: the
 * kernel learned it from traffic or made it by itself. `foreign`: somebody else put it there.
 */
type Origin = "declared" | "learned" | "control-plane" | "flood" | "gateway" | "kernel" | "foreign";

/** Which rows are asked for; a table may have hundreds of thousands. */
export type RowFilter = (row: TableRow) => boolean;

const all: RowFilter = () => true;

/** Collects the rows of one table of one network. */
class Table {
  readonly rows: TableRow[] = [];
  readonly #network: string;
  readonly #namespace: string;
  readonly #isAskedFor: RowFilter;

  constructor(network: DesiredNetwork, { namespace }: ProgrammedNetwork, isAskedFor: RowFilter) {
    this.#network = network.settings.name;
    this.#namespace = namespace.label;
    this.#isAskedFor = isAskedFor;
  }

  /** What is wanted, beside what the kernel has; `isSame`: as the dataplane judges it. */
  wanted(device: string, key: string, desired: string, actual: string, origin: Origin, isSame: boolean): void {
    this.#add(device, key, desired, actual, origin, isSame ? "same" : actual === "" ? "missing" : "different");
  }

  /** What nobody wants and nobody minds, and what somebody else put there. */
  found(device: string, key: string, actual: string, origin: Origin): void {
    this.#add(device, key, "", actual, origin, origin === "foreign" ? "foreign" : "learned");
  }

  #add(device: string, key: string, desired: string, actual: string, origin: Origin, state: string): void {
    const row = { network: this.#network, namespace: this.#namespace, device, key, desired, actual, origin, state };
    if (this.#isAskedFor(row)) this.rows.push(row);
  }
}

/** What is desired beside what the kernel has now, for people who look for the difference. */
export async function listFdb(
  dataplane: NodeDataplane,
  network: DesiredNetwork,
  isAskedFor: RowFilter = all,
): Promise<TableRow[]> {
  const programmed = dataplane.network(network.settings.name);
  if (programmed === undefined) return [];
  const entries = await programmed.socket.dump(listFdbEntries());
  const names = await namesIn(programmed, dataplane);
  const nameOf = names.device;
  const { tunnels, rows, ports } = programmed.dataplane;
  const bridgeIndex = programmed.dataplane.bridge.index;
  const tunnelEntries = new Map<MacAddress, FdbEntry>();
  const bridgeEntries = new Map<MacAddress, FdbEntry>();
  const flood: FdbEntry[] = [];
  for (const entry of entries) {
    const onBridge = entry.master === bridgeIndex;
    if (!onBridge && !tunnels.has(entry.index)) continue;
    if (entry.mac === zeroMac) flood.push(entry);
    else if (onBridge) {
      // The bridge's own addresses, one for each port, are no places to send to.
      if ((entry.state & neighbourState.permanent) === 0) bridgeEntries.set(entry.mac, entry);
    } else tunnelEntries.set(entry.mac, entry);
  }
  const table = new Table(network, programmed, isAskedFor);
  const vtepOf = (entry: FdbEntry | undefined): string => (entry === undefined ? "" : fdbWay(entry, names));
  for (const [mac, endpoint] of network.remotesByMac) {
    const inBridge = bridgeEntries.get(mac);
    const inTunnel = tunnelEntries.get(mac);
    bridgeEntries.delete(mac);
    tunnelEntries.delete(mac);
    const tunnel = tunnels.towards(endpoint.vtep);
    const isAtTunnel = inBridge !== undefined && inBridge.index === tunnel?.index;
    // Where each VTEP has a tunnel, the bridge's entry alone says which VTEP.
    const actual = !isAtTunnel ? "" : tunnel.peer === undefined ? vtepOf(inTunnel) : tunnel.peer;
    const isSame = rows.layer2?.fdb.isAsWanted(mac, [inBridge, inTunnel]) === true;
    table.wanted(tunnel?.device.name ?? "", mac, endpoint.vtep, actual, "control-plane", isSame);
  }
  const { hops } = rows.layer3 ?? {};
  for (const { mac, vtep } of hops?.routers ?? []) {
    const entry = tunnelEntries.get(mac);
    const isSame = hops?.fdb.isAsWanted(mac, [entry]) === true;
    table.wanted(tunnels.shared?.device.name ?? "", mac, vtep, vtepOf(entry), "control-plane", isSame);
    tunnelEntries.delete(mac);
  }
  for (const endpoint of network.locals.values()) {
    if (network.isElsewhere(endpoint.mac)) continue;
    const entry = bridgeEntries.get(endpoint.mac);
    bridgeEntries.delete(endpoint.mac);
    const port = endpointPortName(endpoint.id);
    const isSame = entry !== undefined && ports.endpointAt(entry.index) === endpoint.id;
    table.wanted(port, endpoint.mac, port, entry === undefined ? "" : nameOf(entry.index), "declared", isSame);
  }
  for (const { mac } of network.learned.values()) {
    const entry = bridgeEntries.get(mac);
    bridgeEntries.delete(mac);
    const port = entry === undefined ? "" : nameOf(entry.index);
    table.found(port, mac, port, "learned");
  }
  const floodRows = rows.layer2?.floodRows;
  const present = new Map(flood.map((entry) => [floodRows?.table.keyOf(entry), entry]));
  for (const key of floodRows?.table.keys() ?? []) {
    const wanted = floodRows?.table.wanted(key);
    const entry = present.get(key);
    present.delete(key);
    if (wanted === undefined || wanted === notYet) continue;
    const isSame = floodRows?.isAsWanted(key, [entry]) === true;
    table.wanted(nameOf(wanted.index), zeroMac, vtepOf(wanted), vtepOf(entry), "flood", isSame);
  }
  for (const entry of present.values()) table.found(nameOf(entry.index), zeroMac, vtepOf(entry), "foreign");
  for (const [mac, entry] of tunnelEntries) table.found(nameOf(entry.index), mac, vtepOf(entry), originOf(entry));
  // What the kernel learned of a tunnel's frames stands in the tunnel's table, too, and was told there.
  for (const [mac, entry] of bridgeEntries)
    if (!tunnelEntries.has(mac)) table.found(nameOf(entry.index), mac, nameOf(entry.index), originOf(entry));
  return table.rows;
}

export async function listNeighbourRows(
  dataplane: NodeDataplane,
  network: DesiredNetwork,
  isAskedFor: RowFilter = all,
): Promise<TableRow[]> {
  const programmed = dataplane.network(network.settings.name);
  if (programmed === undefined) return [];
  const { tunnels } = programmed.dataplane;
  const bridgeIndex = programmed.dataplane.bridge.index;
  const names = await namesIn(programmed, dataplane);
  const entries = new Map(
    (await programmed.socket.dump(listNeighbours()))
      .filter(
        ({ index, state }) => (index === bridgeIndex || tunnels.has(index)) && (state & neighbourState.noArp) === 0,
      )
      .map((entry) => [`${entry.index} ${entry.ip}`, entry]),
  );
  const table = new Table(network, programmed, isAskedFor);
  const { neighbours, layer3 } = programmed.dataplane.rows;
  const add = <Key>(rows: ReconciledTable<Key, Neighbour> | undefined, origin: (ip: IpAddress) => Origin): void => {
    for (const key of rows?.table.keys() ?? []) {
      const wanted = rows?.table.wanted(key);
      if (rows === undefined || wanted === undefined || wanted === notYet) continue;
      const { index, ip } = wanted;
      const entry = entries.get(`${index} ${ip}`);
      entries.delete(`${index} ${ip}`);
      const actual = entry === undefined ? "" : neighbourWay(entry);
      const isSame = rows.isAsWanted(key, [entry]);
      table.wanted(names.device(index), ip, neighbourWay(wanted), actual, origin(ip), isSame);
    }
  };
  add(neighbours, (ip) => (network.localsByIp.has(ip) ? "declared" : "control-plane"));
  add(layer3?.hops.neighbours, () => "control-plane");
  const learned = [
    ...network.learned.values(),
    ...[...network.locals.values()].map(({ mac, learnedIps = [] }) => ({ mac, ips: learnedIps })),
  ];
  for (const { mac, ips } of learned)
    for (const ip of ips) table.found(bridgeName(network.settings.vni), ip, mac, "learned");
  for (const entry of entries.values()) {
    const way = neighbourWay(entry);
    if (way !== "") table.found(names.device(entry.index), entry.ip, way, originOf(entry));
  }
  return table.rows;
}

/** Routes to the network's subnets and out of them; what else a tenant's namespace has is nobody's of this network. */
export async function listRouteRows(
  dataplane: NodeDataplane,
  network: DesiredNetwork,
  isAskedFor: RowFilter = all,
): Promise<TableRow[]> {
  const programmed = dataplane.network(network.settings.name);
  if (programmed === undefined) return [];
  const names = await namesIn(programmed, dataplane);
  const mainTable = 254;
  const present = new Map(
    (await programmed.socket.dump(listRoutes()))
      .filter((route) => route.table === mainTable && isOfNetwork(route, network))
      .map((route) => [route.destination, route]),
  );
  const table = new Table(network, programmed, isAskedFor);
  const deviceOf = (route: Route): string => routeWay(route, names).device;
  const wayOf = (route: Route): string => {
    const { kind, gateway, device } = routeWay(route, names);
    if (kind !== "") return kind;
    return gateway === "" ? device : `${gateway} ${device}`;
  };
  const { routes } = programmed.dataplane.rows.layer3 ?? {};
  for (const cidr of routes?.table.keys() ?? []) {
    const wanted = routes?.table.wanted(cidr);
    const actual = present.get(cidr);
    present.delete(cidr);
    const [device, way] =
      wanted === undefined || wanted === notYet ? ["", "pending"] : [deviceOf(wanted), wayOf(wanted)];
    const isSame = routes?.isAsWanted(cidr, [actual]) === true;
    table.wanted(device, cidr, way, actual === undefined ? "" : wayOf(actual), "control-plane", isSame);
  }
  for (const [destination, route] of present) {
    const isOnBridge = route.nexthops[0]?.index === programmed.dataplane.bridge.index;
    const way = wayOf(route);
    if (isOnBridge && route.protocol === kernelProtocol)
      table.wanted(deviceOf(route), destination, way, way, "gateway", true);
    else table.found(deviceOf(route), destination, way, "foreign");
  }
  return table.rows;
}

async function namesIn({ socket }: ProgrammedNetwork, dataplane: NodeDataplane): Promise<RowNames> {
  const links = new Map((await socket.dump(listLinks())).map((link) => [link.index, link.name]));
  return {
    device: (index = 0) => links.get(index) ?? "",
    vtep: (nexthop) => dataplane.vtepOfGroup(nexthop),
  };
}

/** linux/rtnetlink.h: RTPROT_KERNEL, of routes that come with an address. */
const kernelProtocol = 2;

/** Link-local and multicast prefixes are on every device. */
function isOfNetwork({ destination }: Route, network: DesiredNetwork): boolean {
  return !/^f(e80|f00):/.test(destination) && network.owns(destination);
}

/** Entries that age were learned from traffic; others somebody wrote. */
function originOf({ state }: Pick<FdbEntry | Neighbour, "state">): Origin {
  const written = neighbourState.permanent | neighbourState.noArp;
  return (state & written) === 0 ? "kernel" : "foreign";
}
