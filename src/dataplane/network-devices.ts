import { WeftError } from "../base/errors.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import { bridgeName } from "../model/names.ts";
import {
  type BridgePortSettings,
  type BridgeSettings,
  changeLink,
  createLink,
  deleteLink,
  getLink,
  type Link,
  type NetlinkSocket,
  type Request,
} from "../netlink/index.ts";
import type { NetworkSettings } from "./desired.ts";
import { tunnelChanges, tunnelConflict, tunnelLink, tunnelPort } from "./encapsulation/vxlan.ts";
import type { LinkTable } from "./link-table.ts";
import { aliasOf, isOwnLink, networkMac, weftGroup } from "./ownership.ts";

export interface DevicePlace {
  readonly instance: string;
  /** The tenant's namespace, in which the devices live. */
  readonly namespace: NetworkNamespace;
  readonly socket: NetlinkSocket;
  /** The underlay namespace, from which tunnels are made so that their sockets stay there. */
  readonly underlay: NetlinkSocket;
  /** Limits of the underlay interface, which a tunnel that is bound to none does not inherit. */
  readonly offload: OffloadLimits;
}

/** linux/if_link.h: IFLA_GSO_MAX_SIZE, IFLA_GSO_MAX_SEGS. */
export interface OffloadLimits {
  readonly gsoMaxSize?: number;
  readonly gsoMaxSegments?: number;
}

export interface NetworkDevices {
  readonly bridge: number;
  readonly tunnel: number;
  /** The tunnel device was made just now: its tables are empty. */
  readonly tunnelIsNew: boolean;
  readonly bridgeIsNew: boolean;
  /** What was done, in words, as a repair; empty if everything was as it should be. */
  readonly changes: readonly string[];
}

/** Makes bridge and tunnel of an l2 network so, with as little change as possible. `links`: what the namespace has. */
export async function ensureNetworkDevices(
  network: NetworkSettings,
  place: DevicePlace,
  links: LinkTable,
): Promise<NetworkDevices> {
  const changes: string[] = [];
  const bridge = await ensureBridge(network, place, await links.find(bridgeName(network.vni)), changes);
  const tunnel = await ensureTunnel(
    network,
    place,
    await links.find(tunnelLink(network).name),
    bridge.link.index,
    changes,
  );
  return {
    bridge: bridge.link.index,
    tunnel: tunnel.link.index,
    bridgeIsNew: bridge.created,
    tunnelIsNew: tunnel.created,
    changes,
  };
}

async function ensureBridge(
  network: NetworkSettings,
  place: DevicePlace,
  present: Link | undefined,
  changes: string[],
): Promise<{ readonly link: Link; readonly created: boolean }> {
  const name = bridgeName(network.vni);
  let link = present;
  if (link === undefined) {
    await place.socket.execute(
      createLink("bridge", {
        name,
        // An explicit MAC: one that follows the ports would change with them and flush all neighbours.
        mac: networkMac(network.vni),
        mtu: network.mtu,
        group: weftGroup,
        info: { bridge: bridgeSettings },
      }),
    );
    changes.push(`bridge ${name} had been removed; made again`);
    link = await place.socket.get(getLink({ name }));
  } else if (link.info.kind !== "bridge" || !isMarked(link, place.instance))
    throw wrongKind(name, link, "bridge", place);
  const requests = [...bridgeChanges(network, place.instance, link)];
  await applyChanges(name, place.socket, requests, present !== undefined, changes);
  return { link, created: present === undefined };
}

async function ensureTunnel(
  network: NetworkSettings,
  place: DevicePlace,
  present: Link | undefined,
  bridge: number,
  changes: string[],
): Promise<{ readonly link: Link; readonly created: boolean }> {
  const wanted = tunnelLink(network);
  const { name } = wanted;
  let link = present;
  if (link !== undefined && !isMarked(link, place.instance)) throw wrongKind(name, link, "vxlan", place);
  const conflict = link === undefined ? undefined : tunnelConflict(network, link);
  if (link !== undefined && conflict !== undefined) {
    await place.socket.execute(deleteLink({ index: link.index }));
    changes.push(`deleted tunnel ${name}: ${conflict}`);
    link = undefined;
  }
  const created = link === undefined;
  if (link === undefined) {
    await place.underlay
      .execute(createLink("vxlan", { ...wanted, ...place.offload, group: weftGroup, namespace: place.namespace }))
      .catch((error: unknown) => {
        throw explainTunnelFailure(error, network);
      });
    changes.push(`tunnel ${name} had been removed; made again`);
    link = await place.socket.get(getLink({ name }));
  }
  const requests = [...tunnelLinkChanges(network, place.instance, link, bridge)];
  try {
    await applyChanges(name, place.socket, requests, !created, changes);
  } catch (error) {
    // The socket is bound when the device comes up; a device that cannot come up must not stay behind.
    if (created) await place.socket.execute(deleteLink({ index: link.index })).catch(() => {});
    throw explainTunnelFailure(error, network);
  }
  return { link, created };
}

/** Without a querier on the link snooping would cut multicast off after some minutes. */
const bridgeSettings: BridgeSettings = { multicastSnooping: false };

/** What makes the bridge as it shall be; nothing if it is. */
export function* bridgeChanges(network: NetworkSettings, instance: string, link: Link): Generator<Request> {
  const reference = { index: link.index };
  if (link.mac !== networkMac(network.vni)) yield changeLink(reference, { mac: networkMac(network.vni) });
  if (link.alias !== aliasOf(instance)) yield changeLink(reference, { alias: aliasOf(instance) });
  if (link.group !== weftGroup) yield changeLink(reference, { group: weftGroup });
  if (link.mtu !== network.mtu) yield changeLink(reference, { mtu: network.mtu });
  if (link.info.bridge?.multicastSnooping !== bridgeSettings.multicastSnooping)
    yield changeLink(reference, { info: { kind: "bridge", bridge: bridgeSettings } });
  if (!link.up) yield changeLink(reference, { up: true });
}

/** What makes the tunnel as it shall be; nothing if it is. */
export function* tunnelLinkChanges(
  network: NetworkSettings,
  instance: string,
  link: Link,
  bridge: number,
): Generator<Request> {
  const reference = { index: link.index };
  if (link.alias !== aliasOf(instance)) yield changeLink(reference, { alias: aliasOf(instance) });
  if (link.mac !== networkMac(network.vni)) yield changeLink(reference, { mac: networkMac(network.vni) });
  if (link.mtu !== network.mtu) yield changeLink(reference, { mtu: network.mtu });
  const settings = tunnelChanges(network, link);
  if (settings !== undefined) yield changeLink(reference, { info: { kind: "vxlan", vxlan: settings } });
  if (link.master !== bridge) yield changeLink(reference, { master: bridge });
  const port = tunnelPort(network);
  if (link.master !== bridge || !isPortAs(port, link.info.bridgePort))
    yield changeLink(reference, { info: { portKind: "bridge", bridgePort: port } });
  if (!link.up) yield changeLink(reference, { up: true });
}

/** Whether a bridge treats a port as wanted. */
export function isPortAs(wanted: BridgePortSettings, actual: BridgePortSettings | undefined): boolean {
  return (Object.keys(wanted) as (keyof BridgePortSettings)[]).every((field) => actual?.[field] === wanted[field]);
}

async function applyChanges(
  name: string,
  socket: NetlinkSocket,
  requests: readonly Request[],
  isRepair: boolean,
  changes: string[],
): Promise<void> {
  if (requests.length === 0) return;
  const { failures } = await socket.batch(requests);
  if (failures[0] !== undefined) throw naming(name, failures[0].error);
  if (isRepair) changes.push(`changed settings of ${name}`);
}

/** The kernel is told the number of a device; people know it by its name. */
function naming(name: string, error: Error): Error {
  if (!(error instanceof WeftError)) return error;
  const { code, attempted, reason, hint } = error;
  return new WeftError({
    code,
    attempted: `set up ${name}: ${attempted}`,
    reason,
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}

/** Whether weft made the device; one of its two marks may have been taken off. */
function isMarked(link: Link, instance: string): boolean {
  return isOwnLink(link) || link.alias === aliasOf(instance);
}

function wrongKind(name: string, link: Link, wanted: string, place: DevicePlace): WeftError {
  return new WeftError({
    code: "already-exists",
    attempted: `create ${wanted} ${name} in ${place.namespace.label}`,
    reason: `a ${link.info.kind ?? "plain"} device of this name is there already and weft did not make it`,
    hint: `delete it with: ip -n ${place.namespace.label} link delete ${name}`,
  });
}

function explainTunnelFailure(error: unknown, network: NetworkSettings): unknown {
  if (!(error instanceof WeftError)) return error;
  const hint = error.reason.startsWith("EADDRINUSE")
    ? `UDP port ${network.port} is in use on this node; find the program with: ss -ulnp sport = :${network.port}; or give the network another port`
    : error.reason.startsWith("EEXIST")
      ? `another device on this node has VNI ${network.vni} with port ${network.port}: ip -d link show type vxlan`
      : error.reason.startsWith("EOPNOTSUPP")
        ? "this kernel has no vxlan; load it with: modprobe vxlan"
        : undefined;
  if (hint === undefined) return error;
  return new WeftError({ code: error.code, attempted: error.attempted, reason: error.reason, hint, cause: error });
}
