import { hostPrefix, type InterfaceAddress, prefixLengthOf } from "../../base/cidr.ts";
import type { Clock } from "../../base/clock.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { isErrno, SystemError } from "../../linux/index.ts";
import {
  type BridgePortSettings,
  changeLink,
  createLink,
  deleteLink,
  getLink,
  type Link,
  lookUp,
  namespaceIdOf,
  type Request,
} from "../../netlink/index.ts";
import { type DesiredNetwork, deviceMtuOf, type NetworkSettings } from "../desired.ts";
import {
  changedInfoOf,
  hasOtherSettings,
  infoOf,
  tunnelConflict,
  type WantedTunnel,
  wantedTunnels,
} from "../encapsulation/tunnel.ts";
import type { TunnelDevice } from "../encapsulation/tunnel-device.ts";
import { aliasOf, isOwnLink, isTunnelOf, weftGroup } from "../kernel-names.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import { isPortAs, tunnelPort } from "./bridge-port.ts";
import {
  addressChanges,
  applyChanges,
  type DeviceContext,
  isMarked,
  settleOnHost,
  wrongKind,
} from "./device-changes.ts";
import type { LinkTable } from "./link-table.ts";

/** A tunnel in the kernel. */
interface Tunnel extends WantedTunnel {
  readonly index: number;
}

export interface TunnelsOptions {
  readonly desired: DesiredNetwork;
  readonly context: DeviceContext & { readonly clock: Clock; readonly links: () => LinkTable };
  /** The bridge that they are ports of; absent: of none. */
  readonly bridge: () => number | undefined;
  /** A tunnel is new, and its tables are empty. */
  readonly onMade: (tunnel: WantedTunnel) => void;
  /** One that is there will be changed or made anew, which may flush its tables; `isRepair`: because somebody else has changed it. */
  readonly onChange: (isRepair: boolean) => void;
  /** Before anything is sent by it. */
  readonly prioritise: (index: number) => Promise<void>;
  readonly onRepaired: (name: string, change: string) => void;
  readonly onAttempt: Objects<string>["onAttempt"];
}

/**
 * The tunnels of one network, by the names of their devices: one for all VTEPs, or one for each, and those of the way it is
 * changed from or to. Those that are not wanted any more stay until rows have left them.
 */
export class Tunnels implements Objects<string> {
  readonly objects: ReconciledObjects<string>;
  readonly onAttempt: Objects<string>["onAttempt"];
  readonly #options: TunnelsOptions;
  #wanted = new Map<string, WantedTunnel>();
  readonly #byName = new Map<string, Tunnel>();
  readonly #byIndex = new Map<number, Tunnel>();
  /** The tunnel that packets to a VTEP leave by; `undefined` as VTEP: to all. */
  readonly #sending = new Map<IpAddress | undefined, Tunnel>();

  constructor(options: TunnelsOptions) {
    this.#options = options;
    this.onAttempt = options.onAttempt;
    this.objects = new ReconciledObjects(this, options.context.clock);
    this.plan();
  }

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

  /** The network's settings are others: all tunnels are looked at. */
  plan(): void {
    const { settings, peers } = this.#options.desired;
    const before = this.#wanted;
    this.#wanted = wantedTunnels(settings, peers);
    // What is sent by first: while frames are flooded by one tunnel after another, one too many beats one too few.
    for (const name of new Set([...this.#wanted.keys(), ...before.keys()])) this.objects.mark(name);
    const present = [...this.#byName.values()];
    this.#sending.clear();
    for (const tunnel of present) {
      const wanted = this.#wanted.get(tunnel.device.name);
      if (wanted !== undefined) this.#remember({ ...wanted, index: tunnel.index });
    }
  }

  /** The VTEP came or went: the tunnels that lead to it alone are looked at. */
  planPeer(vtep: IpAddress): void {
    const { desired } = this.#options;
    const isPeer = desired.hasPeer(vtep);
    for (const [name, tunnel] of wantedTunnels(desired.settings, [vtep])) {
      if (tunnel.peer === undefined) continue;
      if (isPeer) this.#wanted.set(name, tunnel);
      else this.#wanted.delete(name);
      this.objects.mark(name);
    }
  }

  keys(): Iterable<string> {
    return this.#wanted.keys();
  }

  isWanted(name: string): boolean {
    return this.#wanted.has(name);
  }

  async ensure(name: string, isDamaged: boolean): Promise<void> {
    const wanted = this.#wanted.get(name);
    if (wanted === undefined) return;
    const { desired, context, bridge, prioritise, onMade, onChange, onRepaired } = this.#options;
    const changes: string[] = [];
    const { settings } = desired;
    const found = await findTunnel(wanted, context, changes, () => onChange(isDamaged));
    let link = found;
    if (link === undefined) {
      this.#forget(name);
      link = await makeTunnel(settings, wanted, context, changes);
    }
    this.#remember({ ...wanted, index: link.index });
    try {
      await settleOnHost(link, context);
      await prioritise(link.index);
      const requests = [
        ...(context.isOnHost ? await addressChanges(tunnelAddresses(settings), link, context.socket) : []),
        ...tunnelChanges(settings, wanted, context.instance, link, this.#portAt(bridge(), wanted)),
      ];
      if (found !== undefined && requests.length > 0) onChange(isDamaged);
      await applyChanges(name, context.socket, requests, found !== undefined, changes);
    } catch (error) {
      // The socket is bound when the device comes up; a device that cannot come up must not stay behind.
      if (found === undefined) {
        this.#forget(name);
        await context.socket.execute(deleteLink({ index: link.index })).catch(() => {});
      }
      throw explainTunnelFailure(error, settings, wanted);
    }
    if (found === undefined) onMade(wanted);
    if (isDamaged) for (const change of changes) onRepaired(name, change);
  }

  async remove(name: string): Promise<void> {
    const { context } = this.#options;
    const index = this.#byName.get(name)?.index ?? (await findOwn(name, context));
    this.#forget(name);
    if (index === undefined) return;
    await context.socket.execute(deleteLink({ index })).catch((error: unknown) => {
      if (!isErrno(error, "ENODEV")) throw error;
    });
  }

  /** A tunnel is now as told, or gone (`undefined`). Tells whether there is something to restore. */
  judgeLink(index: number, link: Link | undefined): boolean {
    const { desired, context, bridge } = this.#options;
    const tunnel = this.#byIndex.get(index);
    if (tunnel === undefined || !this.isWanted(tunnel.device.name)) return false;
    if (link !== undefined) {
      const port = this.#portAt(bridge(), tunnel);
      const changes = tunnelChanges(desired.settings, tunnel, context.instance, link, port);
      if (changes.next().done === true) return false;
    }
    this.objects.damage(tunnel.device.name);
    return true;
  }

  /** An address of a tunnel came or went. Tells whether there is something to restore. */
  judgeAddress(index: number, address: IpAddress, isGone: boolean): boolean {
    const { desired, context } = this.#options;
    const tunnel = this.#byIndex.get(index);
    if (tunnel === undefined || !context.isOnHost) return false;
    const isWanted = tunnelAddresses(desired.settings).some((wanted) => wanted.address === address);
    if (isWanted !== isGone) return false;
    this.objects.damage(tunnel.device.name);
    return true;
  }

  /** What gives its packets their priority was taken away. */
  judgePriority(index: number): boolean {
    const tunnel = this.#byIndex.get(index);
    if (tunnel === undefined) return false;
    this.objects.damage(tunnel.device.name);
    return true;
  }

  /** The bridge now treats a tunnel's port so. Tells whether there is something to restore. */
  judgeSettings(index: number, settings: BridgePortSettings): boolean {
    const tunnel = this.#byIndex.get(index);
    if (tunnel === undefined || isPortAs(this.#portOf(tunnel), settings)) return false;
    this.objects.damage(tunnel.device.name);
    return true;
  }

  /** Of the devices there are, marks tunnels of an earlier run to VTEPs that left before this one had come to them. */
  markLeftovers(links: readonly Link[]): void {
    const { vni } = this.#options.desired.settings;
    for (const link of links)
      if (isOwnLink(link) && isTunnelOf(vni, link.name) && !this.isWanted(link.name)) this.objects.mark(link.name);
  }

  #portAt(bridge: number | undefined, tunnel: WantedTunnel): TunnelPort | undefined {
    return bridge === undefined ? undefined : { bridge, settings: this.#portOf(tunnel) };
  }

  #portOf({ peer, isStandby }: WantedTunnel): BridgePortSettings {
    const { desired } = this.#options;
    return tunnelPort(desired.settings, !isStandby && (peer === undefined || desired.floodsTo(peer)));
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
    if (this.#sending.get(tunnel.peer) === tunnel) this.#sending.delete(tunnel.peer);
  }
}

/**
 * In the host's own namespace a rule that masquerades what leaves by a tunnel, such as kube-proxy's, takes an address of the tunnel. One of
 * the underlay would be refused by the other node.
 */
function tunnelAddresses({ gateways }: NetworkSettings): readonly InterfaceAddress[] {
  return gateways.map(({ address }) => ({ address, prefixLength: prefixLengthOf(hostPrefix(address)) }));
}

async function findOwn(name: string, { socket }: DeviceContext): Promise<number | undefined> {
  const link = await lookUp(socket, getLink({ name }));
  return link !== undefined && isOwnLink(link) ? link.index : undefined;
}

/** The device that is there, if it can become what is wanted; one of weft's that cannot is deleted. */
async function findTunnel(
  { device }: WantedTunnel,
  context: TunnelsOptions["context"],
  changes: string[],
  onDelete: () => void,
): Promise<Link | undefined> {
  const link = await context.links().find(device.name);
  if (link !== undefined && !isMarked(link, context.instance)) throw wrongKind(device.name, link, device.kind, context);
  const conflict = link === undefined ? undefined : tunnelConflict(device, link);
  if (link === undefined || conflict === undefined) return link;
  onDelete();
  await context.socket.execute(deleteLink({ index: link.index })).catch((error: unknown) => {
    throw new WeftError({
      code: error instanceof WeftError ? error.code : "internal",
      attempted: `make tunnel ${device.name} anew, because ${conflict}`,
      reason: messageOf(error),
      cause: error,
    });
  });
  changes.push(`deleted tunnel ${device.name}: ${conflict}`);
  return undefined;
}

async function makeTunnel(
  network: NetworkSettings,
  wanted: WantedTunnel,
  context: DeviceContext,
  changes: string[],
): Promise<Link> {
  const { name } = wanted.device;
  await createTunnel(network, wanted.device, context).catch((error: unknown) => {
    throw explainTunnelFailure(error, network, wanted);
  });
  changes.push(`tunnel ${name} had been removed; made again`);
  return context.socket.get(getLink({ name }));
}

async function createTunnel(network: NetworkSettings, device: TunnelDevice, context: DeviceContext): Promise<void> {
  const { name, kind, mac } = device;
  const settings = {
    name,
    mtu: deviceMtuOf(network),
    ...(mac === undefined ? {} : { mac }),
    ...context.offload,
    group: weftGroup,
    info: infoOf(device),
  };
  if (device.byLinkNamespace && !context.isOnHost) {
    // Made from the tenant's namespace: for these kinds the link namespace is the one that outer packets travel in.
    const linkNamespaceId = await namespaceIdOf(context.socket, context.underlayNamespace);
    await context.socket.execute(createLink(kind, { ...settings, linkNamespaceId }));
  } else await context.underlay.execute(createLink(kind, { ...settings, namespace: context.namespace }));
}

/** The bridge that a tunnel is a port of, and how that treats it. */
interface TunnelPort {
  readonly bridge: number;
  readonly settings: BridgePortSettings;
}

/** What makes the tunnel as it shall be; nothing if it is. `port`: absent where it is no port. */
function* tunnelChanges(
  network: NetworkSettings,
  { device }: WantedTunnel,
  instance: string,
  link: Link,
  port: TunnelPort | undefined,
): Generator<Request> {
  const reference = { index: link.index };
  if (link.alias !== aliasOf(instance)) yield changeLink(reference, { alias: aliasOf(instance) });
  if (link.group !== weftGroup) yield changeLink(reference, { group: weftGroup });
  if (device.mac !== undefined && link.mac !== device.mac) yield changeLink(reference, { mac: device.mac });
  const info = hasOtherSettings(device, link) ? changedInfoOf(device) : undefined;
  // VXLAN takes the two one by one alone; other kinds set an MTU of their own with other settings unless it is told along.
  if (info !== undefined && !device.keepsMtu) yield changeLink(reference, { mtu: deviceMtuOf(network), info });
  else {
    if (link.mtu !== deviceMtuOf(network)) yield changeLink(reference, { mtu: deviceMtuOf(network) });
    if (info !== undefined) yield changeLink(reference, { info });
  }
  if (port !== undefined) {
    const isPort = link.master === port.bridge;
    if (!isPort) yield changeLink(reference, { master: port.bridge });
    if (!isPort || !isPortAs(port.settings, link.info.bridgePort))
      yield changeLink(reference, { info: { portKind: "bridge", bridgePort: port.settings } });
  }
  if (!link.up) yield changeLink(reference, { up: true });
}

function explainTunnelFailure(error: unknown, network: NetworkSettings, wanted: WantedTunnel): unknown {
  if (!(error instanceof SystemError)) return error;
  const hint = explain(error, network, wanted);
  return hint === undefined ? error : error.with({ hint });
}

function explain(
  error: SystemError,
  { vni }: NetworkSettings,
  { device: { kind, module }, transport, peer }: WantedTunnel,
): string | undefined {
  if (isErrno(error, "EADDRINUSE"))
    return `UDP port ${transport.port} is in use on this node; find the program with: ss -ulnp sport = :${transport.port}; or give the network another port`;
  if (isErrno(error, "EEXIST", "EBUSY"))
    return peer !== undefined
      ? `another ${kind} device on this node leads to the same address: ip -d link show type ${kind}`
      : `another device on this node has VNI ${vni} with port ${transport.port}: ip -d link show type ${kind}`;
  if (isErrno(error, "EOPNOTSUPP"))
    return `this kernel has no ${kind}; load it with: modprobe ${module}; or give the network another encapsulation`;
  return undefined;
}
