import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TableRowSchema } from "../api/generated/weft/v1/agent_pb.js";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import type { DesiredNetwork, NodeDataplane } from "../dataplane/index.ts";
import { endpointPortName } from "../model/names.ts";
import {
  type FdbEntry,
  listFdbEntries,
  listLinks,
  listNeighbours,
  listRoutes,
  neighbourState,
} from "../netlink/index.ts";

export type TableRow = MessageInitShape<typeof TableRowSchema>;

/** What is desired beside what the kernel has now, for people who look for the difference. */
export async function listFdb(dataplane: NodeDataplane, network: DesiredNetwork): Promise<TableRow[]> {
  const place = dataplane.network(network.settings.name);
  if (place === undefined) return [];
  const entries = await place.socket.dump(listFdbEntries());
  const links = new Map((await place.socket.dump(listLinks())).map((link) => [link.index, link]));
  const { tunnelIndex, bridgeIndex } = place.dataplane;
  const tunnelEntries = new Map<MacAddress, FdbEntry>();
  const bridgeEntries = new Map<MacAddress, FdbEntry>();
  const flood = new Set<string>();
  for (const entry of entries) {
    const onBridge = entry.master === bridgeIndex;
    if (!onBridge && entry.index !== tunnelIndex) continue;
    if (entry.mac === zeroMac) {
      if (entry.vtep !== undefined) flood.add(entry.vtep);
    } else if (onBridge) {
      // The bridge's own addresses, one for each port, are no places to send to.
      if ((entry.state & neighbourState.permanent) === 0) bridgeEntries.set(entry.mac, entry);
    } else tunnelEntries.set(entry.mac, entry);
  }
  const tunnel = links.get(tunnelIndex)?.name ?? "";
  const rows: TableRow[] = [];
  const add = (device: string, key: string, desired: string, actual: string, origin: string): void => {
    rows.push({
      ...placeOf(network, place.namespace.label),
      device,
      key,
      desired,
      actual,
      origin,
      state: compare(desired, actual),
    });
  };
  for (const [mac, endpoint] of network.remotesByMac) {
    const entry = tunnelEntries.get(mac);
    tunnelEntries.delete(mac);
    const behind = bridgeEntries.get(mac);
    bridgeEntries.delete(mac);
    const vtep = entry?.vtep ?? (entry?.nexthop === undefined ? undefined : dataplane.vtepOfGroup(entry.nexthop));
    add(tunnel, mac, endpoint.vtep, behind?.index === tunnelIndex ? (vtep ?? "") : "", "remote");
  }
  for (const endpoint of network.locals.values()) {
    const entry = bridgeEntries.get(endpoint.mac);
    bridgeEntries.delete(endpoint.mac);
    const port = endpointPortName(endpoint.id);
    add(port, endpoint.mac, port, entry === undefined ? "" : (links.get(entry.index)?.name ?? ""), "local");
  }
  for (const vtep of new Set([...network.remoteVteps, ...flood]))
    add(
      tunnel,
      zeroMac,
      network.settings.flood === "head-end" && network.remoteVteps.includes(vtep as never) ? vtep : "",
      flood.has(vtep) ? vtep : "",
      "flood",
    );
  for (const [mac, entry] of tunnelEntries) add(tunnel, mac, "", entry.vtep ?? `nexthop ${entry.nexthop}`, "foreign");
  for (const [mac, entry] of bridgeEntries)
    add(links.get(entry.index)?.name ?? "", mac, "", links.get(entry.index)?.name ?? "", "foreign");
  return rows;
}

export async function listNeighbourRows(dataplane: NodeDataplane, network: DesiredNetwork): Promise<TableRow[]> {
  const place = dataplane.network(network.settings.name);
  if (place === undefined) return [];
  const { bridgeIndex } = place.dataplane;
  const entries = new Map(
    (await place.socket.dump(listNeighbours({ index: bridgeIndex })))
      .filter((entry) => (entry.state & neighbourState.noArp) === 0)
      .map((entry) => [entry.ip, entry]),
  );
  const rows: TableRow[] = [];
  const add = (key: string, desired: string, actual: string, origin: string): void => {
    rows.push({
      ...placeOf(network, place.namespace.label),
      device: `br${network.settings.vni}`,
      key,
      desired,
      actual,
      origin,
      state: compare(desired, actual),
    });
  };
  for (const [ip, endpoint] of network.remotesByIp) {
    add(ip, endpoint.mac, entries.get(ip)?.mac ?? "", "remote");
    entries.delete(ip);
  }
  for (const [ip, entry] of entries) add(ip, "", entry.mac ?? "", "foreign");
  return rows;
}

/** An l2 network needs no routes of weft's; what a tenant's namespace has is shown as it is. */
export async function listRouteRows(dataplane: NodeDataplane, network: DesiredNetwork): Promise<TableRow[]> {
  const place = dataplane.network(network.settings.name);
  if (place === undefined) return [];
  const links = new Map((await place.socket.dump(listLinks())).map((link) => [link.index, link.name]));
  const mainTable = 254;
  return (await place.socket.dump(listRoutes()))
    .filter((route) => route.table === mainTable)
    .map((route) => {
      const [nexthop] = route.nexthops;
      const device = nexthop?.index === undefined ? "" : (links.get(nexthop.index) ?? "");
      return {
        ...placeOf(network, place.namespace.label),
        device,
        key: route.destination,
        desired: "",
        actual: nexthop?.gateway ?? device,
        origin: "foreign",
        state: "foreign",
      };
    });
}

function placeOf(network: DesiredNetwork, namespace: string): Pick<TableRow, "network" | "namespace"> {
  return { network: network.settings.name, namespace };
}

function compare(desired: string, actual: string): string {
  if (desired === actual) return "same";
  if (desired === "") return "foreign";
  return actual === "" ? "missing" : "different";
}
