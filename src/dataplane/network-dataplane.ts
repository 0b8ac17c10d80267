import type { Clock } from "../base/clock.ts";
import type { IpAddress, IpFamily } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { isErrno } from "../linux/index.ts";
import { directions } from "../model/bandwidth.ts";
import type { Vni } from "../model/index.ts";
import {
  type BridgePortSettings,
  deleteLink,
  type FdbEntry,
  getLink,
  type InterfaceAddressEntry,
  type Link,
  listLinks,
  lookUp,
  type NetlinkSocket,
  neighbourState,
  type WatchEvents,
} from "../netlink/index.ts";
import { Announcements } from "./announcements.ts";
import { Shapers } from "./bandwidth/shapers.ts";
import { TunnelPriority } from "./bandwidth/tunnel-priority.ts";
import type { DesiredNetwork, DeviceMarks } from "./desired.ts";
import { Bridge } from "./devices/bridge.ts";
import type { DeviceContext } from "./devices/device-changes.ts";
import { Forwarding } from "./devices/forwarding.ts";
import type { HostDevices } from "./devices/host-devices.ts";
import { LinkTable } from "./devices/link-table.ts";
import { Ports } from "./devices/ports.ts";
import { Tunnels } from "./devices/tunnels.ts";
import { type WantedTunnel, wantedTunnels } from "./encapsulation/tunnel.ts";
import type { Guard } from "./guard/guard.ts";
import { NetworkGuard } from "./guard/network-guard.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import { bridgeName, endpointOfPort, endpointPortName, isOwnLink, shaperName } from "./kernel-names.ts";
import { NetworkRows } from "./network-rows.ts";
import type { KernelObject } from "./objects.ts";
import type { TenantPolicy } from "./policy/tenant-policy.ts";
import type { Failure } from "./reconcile/marks.ts";
import type { Problems, Report } from "./report.ts";

export interface NetworkContext extends DeviceContext {
  readonly guard: Guard;
  readonly policy: TenantPolicy;
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly openSocket: (namespace: KernelNamespace) => NetlinkSocket;
  readonly underlayInode: number;
  /** Devices of the host that endpoints send by. */
  readonly hostDevices: HostDevices;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
  /** One of these groups may not be there: all are to be looked at. */
  readonly distrustNexthops: () => void;
  /** The way to the host, for what is reached without a tunnel. */
  readonly uplink: (family: IpFamily) => { readonly index: number; readonly gateway: IpAddress } | undefined;
  /** The class by which its packets share the underlay; `undefined`: none. */
  readonly shareOf: (vni: Vni) => number | undefined;
  /** A MAC was seen behind, or aged out of, a port of this node without anybody having declared it there. */
  readonly onTraffic: (event: PortTraffic) => void;
  readonly problems: Problems;
  readonly report: Report;
}

/** The kind of object by which the removal of a network is told. */
export const removalKind = "removal";

/** What the bridge learned of the frames of one port. */
export interface PortTraffic {
  readonly network: string;
  /** The endpoint whose port it is. */
  readonly port: string;
  readonly mac: MacAddress;
  readonly seen: boolean;
}

/** One network in the kernel of this node: its devices, ports and rows, and the order in which they come and go. */
export class NetworkDataplane implements DeviceMarks {
  readonly desired: DesiredNetwork;
  readonly bridge: Bridge;
  readonly tunnels: Tunnels;
  readonly ports: Ports;
  readonly rows: NetworkRows;
  readonly guard: NetworkGuard;
  readonly policy: TenantPolicy;
  readonly shapers: Shapers;
  readonly #forwarding: Forwarding;
  readonly #context: NetworkContext;
  readonly #priority: TunnelPriority;
  /** Of a layer-2 network. */
  readonly #announcements: Announcements;
  #links: LinkTable;
  /** Ports and tunnels of an earlier run that nobody wants have been looked for. */
  #hasLookedForLeftovers = false;
  /** What the pass under way has made or changed of devices: rows follow. */
  #devices: DeviceNews = noNews();

  constructor(desired: DesiredNetwork, networkContext: NetworkContext) {
    this.desired = desired;
    this.#context = networkContext;
    this.policy = networkContext.policy;
    this.#links = new LinkTable(networkContext.socket);
    const { clock, namespace, report, problems } = networkContext;
    const context = { ...networkContext, links: () => this.#links };
    const repaired = (kind: string, key: string, message: string): void =>
      report({ level: "warning", kind: "repaired", object: this.#object(kind, key), message });
    const attempted =
      (kind: string) =>
      (key: string, failure: Failure<string> | undefined): void => {
        if (failure === undefined) problems.cleared(this.#object(kind, key));
        else problems.failed(this.#object(kind, key), failure.error, failure);
      };
    const onChange = (isRepair: boolean): void => {
      // Rows that go with what is changed here have not been taken away by somebody else.
      if (!isRepair && !this.#devices.isChanged) this.rows.markAll();
      this.#devices.isChanged = true;
    };
    this.bridge = new Bridge({
      desired,
      context,
      onMade: () => {
        this.#devices.isBridgeNew = true;
        this.tunnels.objects.markAll();
      },
      onChange,
      onRepaired: (name, change) => repaired("bridge", name, change),
      onAttempt: attempted("bridge"),
    });
    this.#priority = new TunnelPriority(networkContext.kernel.bpf, networkContext.socket);
    this.tunnels = new Tunnels({
      desired,
      context,
      bridge: () => (desired.settings.mode === "l2" ? this.bridge.index : undefined),
      prioritise: (index) => {
        this.#forwarding.found(index);
        return this.#priority.ensure(index, networkContext.shareOf(desired.settings.vni));
      },
      onMade: (tunnel) => this.#devices.tunnels.push(tunnel),
      onChange,
      onRepaired: (name, change) => repaired("tunnel", name, change),
      onAttempt: attempted("tunnel"),
    });
    const { guard, socket, namespace: tenant } = networkContext;
    this.guard = new NetworkGuard({ guard, tenant: tenant.inode, socket, desired });
    this.ports = new Ports({
      desired,
      context: {
        ...context,
        onDeviceDamaged: (endpoint) => {
          if (!this.ports.isWanted(endpoint)) return;
          this.ports.objects.damage(endpoint);
          networkContext.onDamage();
        },
        guardPort: async (endpoint, index) => {
          const isGuarded = await this.guard.ensurePort(endpoint, index);
          const isUnderPolicy = await this.policy.ensurePort(endpoint, index, desired.settings);
          const { writes } = socket;
          await this.shapers.ensurePort(endpoint, index);
          return isGuarded || isUnderPolicy || socket.writes > writes;
        },
      },
      bridgeIndex: () => this.bridge.index,
      objectOf: (endpoint) => this.#object("endpoint", endpoint),
      report,
      onAttempt: attempted("endpoint"),
      onGone: (index) => this.#portGone(index),
      onRemoving: (endpoint) => networkContext.hostDevices.part(endpoint),
      onRemoved: (endpoint) => this.shapers.removePort(endpoint),
    });
    this.shapers = new Shapers({
      desired,
      context,
      onMade: () => this.ports.objects.markAll(),
      onPortDamaged: (endpoint) => this.ports.objects.damage(endpoint),
      onRepaired: (name, change) => repaired("bandwidth", name, change),
      onAttempt: attempted("bandwidth"),
    });
    this.#forwarding = new Forwarding({
      ...{ bpf: networkContext.kernel.bpf, socket, desired, tunnels: this.tunnels },
      entryOf: (mac) => this.rows.fdbEntryOf(mac),
    });
    this.#announcements = new Announcements({
      clock,
      openSender: () => namespace.openPacketSender(),
      ports: () => this.ports.present,
      macOf: (ip) => desired.macOf(ip),
      onFailure: ({ message }) =>
        report({ level: "warning", kind: "failed", object: this.#object("announcements"), message }),
    });
    this.rows = new NetworkRows({
      ...networkContext,
      desired,
      tunnels: this.tunnels,
      bridgeIndex: () => this.bridge.index,
      onNeighbour: (ip) => this.#announcements.programmed(ip),
      onRepaired: (kind, name) => repaired(kind, name, "had been changed or removed; set again"),
    });
    const { rows } = this;
    desired.markedBy(
      {
        mac: (mac) => {
          rows.mac(mac);
          this.guard.mac(mac);
        },
        ip: (ip) => {
          rows.ip(ip);
          this.guard.ip(ip);
        },
        block: (cidr) => rows.block(cidr),
        flooded: (vtep) => rows.flooded(vtep),
      },
      this,
    );
    this.ports.objects.markAll();
  }

  settings(): void {
    this.bridge.objects.markAll();
    this.tunnels.plan();
    this.#forwarding.mark();
    this.ports.objects.markAll();
    for (const direction of this.shapers.keys()) this.shapers.objects.mark(direction);
    this.guard.markAll();
  }

  peer(vtep: IpAddress): void {
    this.tunnels.planPeer(vtep);
  }

  port(endpoint: string): void {
    this.ports.objects.mark(endpoint);
    this.guard.port(endpoint);
    this.shapers.reconsider();
  }

  forwarding(): void {
    this.#forwarding.mark();
  }

  ownsIndex(index: number): boolean {
    if (index === this.bridge.index || this.tunnels.has(index) || this.shapers.has(index)) return true;
    return this.ports.endpointAt(index) !== undefined;
  }

  /** Names of all devices that the network wants. */
  static deviceNames(desired: DesiredNetwork): readonly string[] {
    return [
      bridgeName(desired.settings.vni),
      ...wantedTunnels(desired.settings, desired.peers).keys(),
      ...Array.from(desired.locals.keys(), endpointPortName),
      ...directions.map((direction) => shaperName(direction, desired.settings.vni)),
    ];
  }

  /** A device of this network is, or was for a moment, as told. */
  noteLink(index: number, link: Link): void {
    const endpoint = this.ports.endpointAt(index);
    if (endpoint !== undefined) this.ports.noteCarrier(endpoint, link);
  }

  /** A device of this network is now as told, or gone (`undefined`). Tells whether there is something to restore. */
  judgeLink(index: number, link: Link | undefined): boolean {
    if (index === this.bridge.index) return this.bridge.judgeLink(link);
    if (this.shapers.has(index)) return this.shapers.judgeLink(index, link);
    const endpoint = this.ports.endpointAt(index);
    return endpoint === undefined ? this.tunnels.judgeLink(index, link) : this.ports.judgeLink(endpoint, link);
  }

  /** The bridge now treats one of its ports so. Tells whether there is something to restore. */
  judgePort(index: number, settings: BridgePortSettings): boolean {
    const endpoint = this.ports.endpointAt(index);
    return endpoint === undefined
      ? this.tunnels.judgeSettings(index, settings)
      : this.ports.judgeSettings(endpoint, settings);
  }

  /** Of what frames meet at a device of this network, something was taken away or changed. Tells whether there is something to restore. */
  judgeTrafficControl(event: WatchEvents["trafficControl"]): boolean {
    if (this.shapers.has(event.index)) return this.shapers.judge(event);
    if (this.tunnels.has(event.index)) {
      const isForwarding = event.isGone && this.#forwarding.judge(event.index);
      return (event.isGone && this.tunnels.judgePriority(event.index)) || isForwarding;
    }
    const endpoint = event.isGone ? this.ports.endpointAt(event.index) : undefined;
    return endpoint !== undefined && this.ports.judgeGuard(endpoint);
  }

  /** An address of one of this network's devices came or went. Tells whether there is something to restore. */
  onAddressChanged({ index, address }: Pick<InterfaceAddressEntry, "index" | "address">, isGone: boolean): boolean {
    if (index === this.bridge.index) return this.bridge.judgeAddress(address, isGone);
    return this.tunnels.judgeAddress(index, address, isGone);
  }

  /** Everything will be compared with the kernel at the next opportunity; what differs by then was damaged. */
  distrust(): void {
    this.#hasLookedForLeftovers = false;
    this.#distrustDevices();
    this.rows.distrust();
  }

  #distrustDevices(): void {
    this.bridge.objects.distrust();
    this.tunnels.objects.distrust();
    this.ports.objects.distrust();
    this.shapers.objects.distrust();
    this.#forwarding.distrust();
  }

  /** Whether devices and rows are as desired, whatever is the matter with single ports; surplus tunnels have ended, too. */
  get isCarried(): boolean {
    return this.bridge.objects.isSettled && this.tunnels.objects.isSettled && this.rows.isSettled;
  }

  /** Whether all of it is in the kernel, as far as is known. */
  get isSettled(): boolean {
    return (
      this.isCarried &&
      this.ports.objects.isSettled &&
      this.shapers.objects.isSettled &&
      this.guard.isSettled &&
      this.#forwarding.isSettled &&
      this.#hasLookedForLeftovers
    );
  }

  /** Does what is to be done; what fails is recorded, stays marked and leaves the rest alone. */
  async reconcile(links: LinkTable): Promise<void> {
    this.#links = links;
    this.#devices = noNews();
    await this.bridge.objects.ensure();
    // Without a bridge there is nothing to do more; a tunnel that fails leaves the other tunnels' rows to be done.
    if (this.bridge.index === 0) return;
    if (!this.#hasLookedForLeftovers)
      await this.#context.problems.attempt(this.#object("leftovers"), () => this.#findLeftovers());
    await this.tunnels.objects.ensure();
    this.#followDevices();
    // The first that a new endpoint does is to ask for its peers, and it asks again a second later.
    if (this.#devices.isBridgeNew) await this.#programRows();
    await this.shapers.objects.ensure();
    await this.ports.objects.remove();
    await this.ports.objects.ensure();
    // Ports lead past a shaper before it goes.
    if (this.ports.objects.isSettled) await this.shapers.objects.remove();
    const guard = this.#object("guard");
    const isGuarded = await this.#context.problems.attempt(guard, () =>
      this.guard.ensure((index) => this.ports.endpointAt(index) !== undefined),
    );
    if (!this.#forwarding.isSettled)
      await this.#context.problems.attempt(this.#object("forwarding"), () => this.#forwarding.ensure());
    await this.#programRows();
    if (isGuarded && this.rows.isSettled) await this.#context.problems.attempt(guard, async () => this.guard.forget());
    // Rows leave a tunnel before it goes. A port whose namespace is gone for good keeps none.
    if (this.rows.isSettled) await this.tunnels.objects.remove();
  }

  /** Its devices that are in the kernel, about to be deleted: in the reverse order of making them. */
  async leavingDevices(): Promise<readonly Link[]> {
    this.close();
    for (const endpoint of this.ports.endpoints) await this.#context.hostDevices.part(endpoint);
    const names = [
      ...Array.from(this.ports.endpoints, endpointPortName),
      ...this.tunnels.names,
      ...NetworkDataplane.deviceNames(this.desired),
    ];
    const links: Link[] = [];
    for (const name of new Set([...names.filter((each) => each !== this.bridge.name), this.bridge.name])) {
      // The network may be leaving because somebody else's device has the name.
      const link = await lookUp(this.#context.socket, getLink({ name }));
      if (link === undefined || !isOwnLink(link)) continue;
      links.push(link);
      if (endpointOfPort(name) !== undefined) this.#portGone(link.index);
    }
    return links;
  }

  /** Takes the network off this node. */
  async remove(): Promise<void> {
    const { problems, socket } = this.#context;
    // What was the matter with it is of no concern any more.
    problems.forget(({ network, kind }) => network === this.desired.settings.name && kind !== removalKind);
    const failures: unknown[] = [];
    for (const { index } of await this.leavingDevices())
      await socket.execute(deleteLink({ index })).catch((error: unknown) => {
        if (!isErrno(error, "ENODEV")) failures.push(error);
      });
    await this.rows.withdraw();
    await this.guard.remove();
    if (failures.length > 0) throw failures[0];
  }

  #portGone(index: number): void {
    this.guard.portGone(index);
    this.policy.portGone(index);
  }

  /** Nothing is sent any more. */
  close(): void {
    this.#announcements.close();
    this.#forwarding.close();
  }

  /** An FDB entry is now so, or gone. Tells whether there is something to restore. */
  observeFdb(entry: FdbEntry, isGone: boolean): boolean {
    const port = this.ports.endpointAt(entry.index);
    const owner = port === undefined ? undefined : this.#ownerOf(entry, port, isGone);
    if (owner === undefined) return this.rows.observeFdb(entry, isGone);
    this.ports.objects.damage(owner);
    return true;
  }

  /** The endpoint here whose own entry must be written again, because it went or the MAC turned up at another's port. */
  #ownerOf(entry: FdbEntry, port: string, isGone: boolean): string | undefined {
    const { desired } = this;
    if (desired.local(port)?.mac === entry.mac) return isGone ? port : undefined;
    this.#tellTraffic(port, entry, !isGone);
    return !isGone && desired.settings.localLearning ? this.ports.declaredWith(entry.mac) : undefined;
  }

  /** What the bridge learns of frames from the host's own side of a port, such as the port's MAC, is no traffic. */
  #tellTraffic(port: string, { mac, state }: FdbEntry, seen: boolean): void {
    if (this.desired.settings.localLearning && (state & neighbourState.permanent) === 0)
      this.#context.onTraffic({ network: this.desired.settings.name, port, mac, seen });
  }

  /** Of endpoints and VTEPs that left before this run had come to them, no change was told. */
  async #findLeftovers(): Promise<void> {
    const links = await this.#context.socket.dump(listLinks());
    this.tunnels.markLeftovers(links);
    await this.shapers.prune();
    this.ports.markLeftovers(links);
    this.#hasLookedForLeftovers = true;
  }

  /** Rows go with the devices that held them. */
  #followDevices(): void {
    const { isBridgeNew, tunnels, isChanged } = this.#devices;
    const hasNewTables = isBridgeNew || tunnels.some(({ peer }) => peer === undefined);
    if (isBridgeNew && tunnels.length === this.tunnels.names.length) this.rows.beginEmpty();
    else {
      if (hasNewTables || isChanged) this.rows.distrust();
      if (hasNewTables) this.rows.markAll();
      else if (tunnels.length > 0) this.desired.markRowsTo(new Set(tunnels.map(({ peer }) => peer)));
    }
    // Ports may have been set free.
    if (hasNewTables || isChanged) this.ports.objects.markAll();
  }

  async #programRows(): Promise<void> {
    const { desired, rows } = this;
    this.#announcements.left(desired.formerMacs);
    desired.formerMacs.clear();
    if (!rows.hasWork) return;
    const object = this.#object("rows");
    const { problems, clock } = this.#context;
    const refusal = await rows.pass().catch((error: unknown) => {
      if (error instanceof Error) return { error, due: clock.monotonic() };
      throw error;
    });
    if (refusal === undefined) return problems.cleared(object);
    // What rows lead through has gone unheard.
    if (isErrno(refusal.error, "ENODEV")) this.#distrustDevices();
    if (isErrno(refusal.error, "EINVAL") && desired.usesNexthops) this.#context.distrustNexthops();
    problems.failed(object, refusal.error, refusal);
  }

  #object(kind: string, key?: string): KernelObject {
    const { name, tenant } = this.desired.settings;
    return { kind, tenant, network: name, ...(key === undefined ? {} : { key }) };
  }
}

interface DeviceNews {
  isBridgeNew: boolean;
  /** Tunnels that are new. */
  readonly tunnels: WantedTunnel[];
  /** Devices that were there were changed, or made anew. */
  isChanged: boolean;
}

function noNews(): DeviceNews {
  return { isBridgeNew: false, tunnels: [], isChanged: false };
}
