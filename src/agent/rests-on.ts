/** What on its node a network rests on, so that what fails is told of, and holds back, those alone that need it. */

import { takesFromAll, wantedTunnels } from "../dataplane/encapsulation/tunnel.ts";
import type { DesiredNetwork, KernelObject } from "../dataplane/index.ts";
import { requestOf } from "../dataplane/uplink/networks-request.ts";
import { isEmptyRequest } from "../dataplane/uplink/request.ts";

/** Whether the network rests on an object that networks share. */
export function restsOn(network: DesiredNetwork, { kind, tenant, key }: KernelObject): boolean {
  const isOfTenant = tenant === network.settings.tenant;
  switch (kind) {
    case "underlay":
      return needsSourceFilter(network);
    case "nexthops":
      return network.usesNexthops;
    case "nexthop":
      return network.usesNexthops && network.remoteVteps.some((vtep) => vtep === key);
    case "uplink":
      return isOfTenant && !isEmptyRequest(requestOf([network]));
    case "peering":
      return isOfTenant && network.settings.peers.some((peer) => peer.tenant === key);
    // They keep no network from carrying packets.
    case "agent database":
    case "leftovers":
    case "removals":
      return false;
    default:
      return tenant === undefined || isOfTenant;
  }
}

/** Whether an object of the network's own is one that all of its endpoints rest on: no tunnel that leads to one VTEP of many. */
export function isOfAll({ settings }: DesiredNetwork, { kind, key = "" }: KernelObject): boolean {
  if (kind === "tunnel") return wantedTunnels(settings, []).has(key);
  return ["network", "subnet", "protection", "bridge"].includes(kind);
}

/** Its tunnels take packets from everybody: without the filter they stay down. */
function needsSourceFilter({ settings: { transport, standby } }: DesiredNetwork): boolean {
  return [...standby, ...(transport === undefined ? [] : [transport])].some(takesFromAll);
}
