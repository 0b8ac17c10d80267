import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { isErrno } from "../linux/index.ts";
import { isTunnelOf } from "../model/names.ts";
import {
  changeLink,
  createLink,
  deleteLink,
  getLink,
  type Link,
  listLinks,
  namespaceIdOf,
  type Request,
} from "../netlink/index.ts";
import { isPortAs, tunnelPort } from "./bridge-port.ts";
import type { DesiredNetwork, NetworkSettings } from "./desired.ts";
import { applyChanges, type DevicePlace, isMarked, wrongKind } from "./device-changes.ts";
import {
  hasOtherSettings,
  infoOf,
  isPerPeer,
  type PlannedTunnel,
  plannedTunnels,
  tunnelConflict,
} from "./encapsulation/tunnel.ts";
import type { TunnelDevice } from "./encapsulation/tunnel-device.ts";
import type { LinkTable } from "./link-table.ts";
import { aliasOf, isOwnLink, weftGroup } from "./ownership.ts";

/** A tunnel in the kernel. */
interface Tunnel extends PlannedTunnel {
  readonly index: number;
}

/** The tunnels of one network in the kernel: one for all VTEPs, or one for each, and those of the way it is changed from or to. */
export class Tunnels {
  readonly #byName = new Map<string, Tunnel>();
  #hasLookedForLeftovers = false;
  readonly #byIndex = new Map<number, Tunnel>();
  /** The tunnel that packets to a VTEP leave by; `undefined` as VTEP: to all. */
  readonly #sending = new Map<IpAddress | undefined, Tunnel>();

  /** By the index of its device. */
  get(index: number): Tunnel | undefined {
    return this.#byIndex.get(index);
  }

  has(index: number): boolean {
    return this.#byIndex.has(index);
  }

  get indexes(): Iterable<number> {
    return this.#byIndex.keys();
  }

  /** The tunnel that packets to the VTEP leave by. */
  towards(vtep: IpAddress): Tunnel | undefined {
    return this.#sending.get(undefined) ?? this.#sending.get(vtep);
  }

  /** The one tunnel that packets to all VTEPs leave by, if there is one. */
  get shared(): Tunnel | undefined {
    return this.#sending.get(undefined);
  }

  /** Tunnels that serve all VTEPs, those on standby among them: each has a flood list. */
  get sharedIndexes(): readonly number[] {
    return [...this.#byName.values()].filter(({ peer }) => peer === undefined).map(({ index }) => index);
  }

  get names(): readonly string[] {
    return [...this.#byName.keys()];
  }

  /**
   * Makes all tunnels of the network so, with as little change as possible; tells what was done, and which are new.
   * Those that are not wanted any more stay until {@link removeSurplus}: rows leave them first. A tunnel that fails
   * does not stop the others: its failure is thrown at the end.
   */
  async ensure(
    desired: DesiredNetwork,
    bridge: number | undefined,
    place: DevicePlace,
    links: LinkTable,
  ): Promise<{ readonly changes: readonly string[]; readonly created: readonly Tunnel[] }> {
    const { settings } = desired;
    const changes: string[] = [];
    const created: Tunnel[] = [];
    let failure: unknown;
    this.#sending.clear();
    for (const planned of plannedTunnels(settings, desired.peers).values())
      try {
        const made = await ensureTunnel(settings, planned, bridge, place, links, changes);
        const tunnel = { ...planned, index: made.index };
        this.#remember(tunnel);
        if (made.created) created.push(tunnel);
      } catch (error) {
        this.#forget(planned.device.name);
        failure ??= error;
      }
    if (failure !== undefined) throw failure;
    return { changes, created };
  }

  /** Deletes tunnels that the network does not want any more. */
  async removeSurplus(desired: DesiredNetwork, place: DevicePlace): Promise<void> {
    const planned = plannedTunnels(desired.settings, desired.peers);
    // Once: tunnels of an earlier run to VTEPs that left before this one had come to them.
    if (!this.#hasLookedForLeftovers) {
      for (const link of await place.socket.dump(listLinks()))
        if (isOwnLink(link) && isTunnelOf(desired.settings.vni, link.name) && !planned.has(link.name))
          await removeDevice(link.index, place);
      this.#hasLookedForLeftovers = true;
    }
    for (const [name, tunnel] of [...this.#byName]) {
      if (planned.has(name)) continue;
      this.#forget(name);
      await removeDevice(tunnel.index, place);
    }
  }

  /** Whether tunnels are there that {@link removeSurplus} would delete. */
  hasSurplus(desired: DesiredNetwork): boolean {
    if (this.#byName.size === 0) return false;
    const planned = plannedTunnels(desired.settings, desired.peers);
    return [...this.#byName.keys()].some((name) => !planned.has(name));
  }

  #remember(tunnel: Tunnel): void {
    this.#forget(tunnel.device.name);
    this.#byName.set(tunnel.device.name, tunnel);
    this.#byIndex.set(tunnel.index, tunnel);
    if (!tunnel.isStandby) this.#sending.set(tunnel.peer, tunnel);
  }

  #forget(name: string): void {
    const tunnel = this.#byName.get(name);
    if (tunnel === undefined) return;
    this.#byName.delete(name);
    if (this.#byIndex.get(tunnel.index) === tunnel) this.#byIndex.delete(tunnel.index);
  }
}

async function removeDevice(index: number, { socket }: DevicePlace): Promise<void> {
  await socket.execute(deleteLink({ index })).catch((error: unknown) => {
    if (!isErrno(error, "ENODEV")) throw error;
  });
}

async function ensureTunnel(
  network: NetworkSettings,
  planned: PlannedTunnel,
  bridge: number | undefined,
  place: DevicePlace,
  links: LinkTable,
  changes: string[],
): Promise<{ readonly index: number; readonly created: boolean }> {
  const { device } = planned;
  const { name, kind } = device;
  let link = await links.find(name);
  if (link !== undefined && !isMarked(link, place.instance)) throw wrongKind(name, link, kind, place);
  const conflict = link === undefined ? undefined : tunnelConflict(device, link);
  if (link !== undefined && conflict !== undefined) {
    await place.socket.execute(deleteLink({ index: link.index }));
    changes.push(`deleted tunnel ${name}: ${conflict}`);
    link = undefined;
  }
  const created = link === undefined;
  if (link === undefined) {
    await createTunnel(network, device, place).catch((error: unknown) => {
      throw explainTunnelFailure(error, network, planned);
    });
    changes.push(`tunnel ${name} had been removed; made again`);
    link = await place.socket.get(getLink({ name }));
  }
  const requests = [...tunnelChanges(network, planned, place.instance, link, bridge)];
  try {
    await applyChanges(name, place.socket, requests, !created, changes);
  } catch (error) {
    // The socket is bound when the device comes up; a device that cannot come up must not stay behind.
    if (created) await place.socket.execute(deleteLink({ index: link.index })).catch(() => {});
    throw explainTunnelFailure(error, network, planned);
  }
  return { index: link.index, created };
}

async function createTunnel(network: NetworkSettings, device: TunnelDevice, place: DevicePlace): Promise<void> {
  const { name, kind, mac } = device;
  const settings = {
    name,
    mtu: network.mtu,
    ...(mac === undefined ? {} : { mac }),
    ...place.offload,
    group: weftGroup,
    info: infoOf(device),
  };
  if (device.byLinkNamespace) {
    // Made from the tenant's namespace: for these kinds the link namespace is the one that outer packets travel in.
    const linkNamespaceId = await namespaceIdOf(place.socket, place.underlayNamespace);
    await place.socket.execute(createLink(kind, { ...settings, linkNamespaceId }));
  } else await place.underlay.execute(createLink(kind, { ...settings, namespace: place.namespace }));
}

/** What makes the tunnel as it shall be; nothing if it is. `bridge`: the one that it is a port of; absent: none. */
export function* tunnelChanges(
  network: NetworkSettings,
  planned: PlannedTunnel,
  instance: string,
  link: Link,
  bridge: number | undefined,
): Generator<Request> {
  const { device } = planned;
  const reference = { index: link.index };
  if (link.alias !== aliasOf(instance)) yield changeLink(reference, { alias: aliasOf(instance) });
  if (link.group !== weftGroup) yield changeLink(reference, { group: weftGroup });
  if (device.mac !== undefined && link.mac !== device.mac) yield changeLink(reference, { mac: device.mac });
  const info = hasOtherSettings(device, link)
    ? { kind: device.kind, ...infoOf(device, device.changedWith) }
    : undefined;
  // VXLAN takes the two one by one alone; other kinds set an MTU of their own with other settings unless it is told along.
  if (info !== undefined && !device.keepsMtu) yield changeLink(reference, { mtu: network.mtu, info });
  else {
    if (link.mtu !== network.mtu) yield changeLink(reference, { mtu: network.mtu });
    if (info !== undefined) yield changeLink(reference, { info });
  }
  if (bridge !== undefined) {
    if (link.master !== bridge) yield changeLink(reference, { master: bridge });
    const port = tunnelPort(network, planned.isStandby);
    if (link.master !== bridge || !isPortAs(port, link.info.bridgePort))
      yield changeLink(reference, { info: { portKind: "bridge", bridgePort: port } });
  }
  if (!link.up) yield changeLink(reference, { up: true });
}

function explainTunnelFailure(error: unknown, network: NetworkSettings, { device, transport }: PlannedTunnel): unknown {
  if (!(error instanceof WeftError)) return error;
  const hint = explain(error.reason, network, device, transport);
  if (hint === undefined) return error;
  return new WeftError({ code: error.code, attempted: error.attempted, reason: error.reason, hint, cause: error });
}

function explain(
  reason: string,
  { vni }: NetworkSettings,
  { kind }: TunnelDevice,
  transport: PlannedTunnel["transport"],
): string | undefined {
  if (reason.startsWith("EADDRINUSE"))
    return `UDP port ${transport.port} is in use on this node; find the program with: ss -ulnp sport = :${transport.port}; or give the network another port`;
  if (reason.startsWith("EEXIST") || reason.startsWith("EBUSY"))
    return isPerPeer(transport)
      ? `another ${kind} device on this node leads to the same address: ip -d link show type ${kind}`
      : `another device on this node has VNI ${vni} with port ${transport.port}: ip -d link show type ${kind}`;
  if (reason.startsWith("EOPNOTSUPP"))
    return `this kernel has no ${kind}; load it with: modprobe ${moduleOf[kind] ?? kind}; or give the network another encapsulation`;
  return undefined;
}

/** Modules that are not named as the kind of device that they bring. */
const moduleOf: Readonly<Record<string, string>> = {
  gre: "ip_gre",
  gretap: "ip_gre",
  ip6gre: "ip6_gre",
  ip6gretap: "ip6_gre",
  ip6tnl: "ip6_tunnel",
};
