import type { Clock } from "../base/clock.ts";
import type { IpAddress, IpFamily } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { isErrno } from "../linux/index.ts";
import { bridgeName, endpointPortName } from "../model/names.ts";
import {
  type BridgePortSettings,
  deleteLink,
  type FdbEntry,
  getFdbEntry,
  getLink,
  type InterfaceAddressEntry,
  type Link,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
} from "../netlink/index.ts";
import { Announcements } from "./announcements.ts";
import { bridgeAddresses, bridgeChanges, ensureBridge } from "./bridge-device.ts";
import { endpointPort, isPortAs, tunnelPort } from "./bridge-port.ts";
import type { DesiredNetwork } from "./desired.ts";
import type { DevicePlace } from "./device-changes.ts";
import { plannedTunnels } from "./encapsulation/tunnel.ts";
import { type EndpointPort, ensureEndpointPort, isPortSettled, localFdbRequest } from "./endpoint-port.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import type { LinkTable } from "./link-table.ts";
import { NetworkRows } from "./network-rows.ts";
import { isOwnLink } from "./ownership.ts";
import { ReceiveBacklog } from "./receive-backlog.ts";
import { lookUp } from "./reconcile/reconciled-table.ts";
import type { Problems, Report } from "./report.ts";
import { Tunnels, tunnelChanges } from "./tunnels.ts";

export interface NetworkPlace extends DevicePlace {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly openSocket: (namespace: KernelNamespace) => NetlinkSocket;
  readonly underlayInode: number;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
  /** The way to the host, for what is reached without a tunnel. */
  readonly uplink: (family: IpFamily) => { readonly index: number; readonly gateway: IpAddress } | undefined;
  /** A MAC was seen behind, or aged out of, a port of this node without anybody having declared it there. */
  readonly onTraffic: (event: PortTraffic) => void;
  readonly problems: Problems;
  readonly report: Report;
}

/** What the bridge learnt of the frames of one port. */
export interface PortTraffic {
  readonly network: string;
  /** The endpoint whose port it is. */
  readonly port: string;
  readonly mac: MacAddress;
  readonly seen: boolean;
}

/** One network in the kernel of this node: keeps devices, ports and rows equal to what is desired. */
export class NetworkDataplane {
  readonly desired: DesiredNetwork;
  readonly tunnels = new Tunnels();
  readonly #place: NetworkPlace;
  readonly rows: NetworkRows;
  /** Of a layer-2 network. */
  readonly #announcements: Announcements;
  readonly #backlog: ReceiveBacklog;
  #bridge = 0;
  readonly #ports = new Map<string, { readonly index: number; readonly inode: number; readonly mac: MacAddress }>();
  /** Of endpoints here: what is otherwise than asked for in their containers, and is left so. */
  readonly #notes = new Map<string, string>();
  readonly #idByPort = new Map<number, string>();
  /** Somebody else changed a device: its repair is worth an event. */
  #damaged = false;

  constructor(desired: DesiredNetwork, place: NetworkPlace) {
    this.desired = desired;
    this.#place = place;
    const { clock, namespace, socket, groupOf, uplink, report } = place;
    const { tunnels } = this;
    this.#backlog = new ReceiveBacklog(desired.settings.name, place.kernel, report);
    this.#announcements = new Announcements({
      clock,
      openSender: () => namespace.openPacketSender(),
      ports: () => this.#ports.values(),
      macOf: (ip) => desired.macOf(ip),
      onFailure: ({ message }) =>
        report({
          level: "warning",
          kind: "failed",
          object: `announcements of network ${desired.settings.name}`,
          message,
        }),
    });
    this.rows = new NetworkRows({
      desired,
      socket,
      clock,
      tunnels,
      groupOf,
      uplink,
      bridgeIndex: () => this.#bridge,
      onNeighbour: (ip) => this.#announcements.programmed(ip),
      onRepaired: (kind, name) =>
        report({
          level: "warning",
          kind: "repaired",
          object: `${kind} ${name} of network ${desired.settings.name}`,
          message: "had been changed or removed; set again",
        }),
    });
  }

  get bridgeIndex(): number {
    return this.#bridge;
  }

  /** The endpoint whose port has this index. */
  endpointAt(index: number): string | undefined {
    return this.#idByPort.get(index);
  }

  /** What is otherwise than asked for in the container of an endpoint, and is left so; empty: nothing. */
  noteOf(endpoint: string): string {
    return this.#notes.get(endpoint) ?? "";
  }

  ownsIndex(index: number): boolean {
    return index === this.#bridge || this.tunnels.has(index) || this.#idByPort.has(index);
  }

  /** Names of all devices that the network wants. */
  static deviceNames(desired: DesiredNetwork): readonly string[] {
    return [
      bridgeName(desired.settings.vni),
      ...plannedTunnels(desired.settings, desired.peers).keys(),
      ...Array.from(desired.locals.keys(), endpointPortName),
    ];
  }

  /** A device of this network is now as told, or gone (`undefined`). Tells whether there is something to restore. */
  judgeLink(index: number, link: Link | undefined): boolean {
    const { desired } = this;
    const { instance } = this.#place;
    const id = this.#idByPort.get(index);
    if (id !== undefined) {
      const place = { instance, bridgeIndex: this.#bridge, inode: this.#ports.get(id)?.inode ?? 0 };
      if (link !== undefined && isPortSettled(link, desired.settingsOfPort(id), place)) return false;
      if (desired.local(id) === undefined) return false;
      desired.changedPorts.add(id);
    } else {
      if (link !== undefined && this.#isSettled(index, link, instance)) return false;
      const tunnel = this.tunnels.get(index);
      if (tunnel !== undefined && !plannedTunnels(desired.settings, desired.peers).has(tunnel.device.name))
        return false;
      desired.devicesChanged = true;
    }
    this.#damaged = true;
    return true;
  }

  /** The bridge now treats one of its ports so. Tells whether there is something to restore. */
  judgePort(index: number, settings: BridgePortSettings): boolean {
    const { desired } = this;
    const tunnel = this.tunnels.get(index);
    if (tunnel !== undefined) {
      if (isPortAs(tunnelPort(desired.settings, tunnel.isStandby), settings)) return false;
      desired.devicesChanged = true;
    } else {
      const id = this.#idByPort.get(index);
      if (id === undefined || isPortAs(endpointPort(desired.settingsOfPort(id)), settings)) return false;
      desired.changedPorts.add(id);
    }
    this.#damaged = true;
    return true;
  }

  /** An address of one of this network's devices came or went. Tells whether there is something to restore. */
  onAddressChanged({ index, address }: Pick<InterfaceAddressEntry, "index" | "address">, isGone: boolean): boolean {
    if (index !== this.#bridge) return false;
    const isWanted = bridgeAddresses(this.desired.settings).some((wanted) => wanted.address === address);
    if (isWanted !== isGone) return false;
    this.desired.devicesChanged = true;
    this.#damaged = true;
    return true;
  }

  /** Everything will be compared with the kernel at the next opportunity; what differs by then was damaged. */
  distrust(): void {
    this.rows.distrust();
    this.#damaged = true;
    this.desired.devicesChanged = true;
    this.desired.markPorts();
  }

  /** Whether devices and rows are as desired, whatever is the matter with single ports; surplus tunnels have ended, too. */
  get isCarried(): boolean {
    const { desired, rows } = this;
    return !desired.devicesChanged && rows.isSettled && !this.tunnels.hasSurplus(desired);
  }

  /** Whether all of it is in the kernel, as far as is known. */
  get isSettled(): boolean {
    return this.isCarried && this.desired.changedPorts.size === 0;
  }

  /** Does what is to be done; what fails is recorded, stays marked and leaves the rest alone. */
  async reconcile(links: LinkTable): Promise<void> {
    const { desired } = this;
    const { name } = desired.settings;
    const isRepair = this.#damaged;
    this.#damaged = false;
    if (desired.devicesChanged) {
      // What changes while this is under way marks it again.
      desired.devicesChanged = false;
      const isDone = await this.#place.problems.attempt(`network ${name}`, () => this.#ensureDevices(links, isRepair));
      if (!isDone) desired.devicesChanged = true;
      // Without a bridge there is nothing to do more; a tunnel that fails leaves the other tunnels' rows to be done.
      if (this.#bridge === 0) return;
    }
    await this.#ensurePorts(links, isRepair);
    await this.#programRows();
    // A port whose namespace is gone for good keeps no old tunnel.
    if (!desired.devicesChanged && this.rows.isSettled)
      await this.#place.problems.attempt(`tunnels of network ${name}`, () =>
        this.tunnels.removeSurplus(desired, this.#place),
      );
  }

  /** Takes the network off this node; the reverse order of making it. */
  async remove(): Promise<void> {
    this.close();
    const { socket } = this.#place;
    const names = [
      ...[...this.#ports.keys()].map(endpointPortName),
      ...this.tunnels.names,
      ...NetworkDataplane.deviceNames(this.desired),
    ];
    const bridge = bridgeName(this.desired.settings.vni);
    for (const name of new Set([...names.filter((each) => each !== bridge), bridge]))
      try {
        // The network may be leaving because somebody else's device has the name.
        const link = await socket.get(getLink({ name }));
        if (isOwnLink(link)) await socket.execute(deleteLink({ index: link.index }));
      } catch (error) {
        if (!isErrno(error, "ENODEV")) throw error;
      }
    await this.rows.withdraw();
    const own = `network ${this.desired.settings.name}`;
    this.#place.problems.forget((object) => object === own || object.endsWith(` of ${own}`));
  }

  /** Nothing is sent any more. */
  close(): void {
    this.#announcements.close();
  }

  /** An FDB entry is now so, or gone. Tells whether there is something to restore. */
  observeFdb(entry: FdbEntry, isGone: boolean): boolean {
    const port = this.#idByPort.get(entry.index);
    const owner = port === undefined ? undefined : this.#ownerOf(entry, port, isGone);
    if (owner === undefined) return this.rows.observeFdb(entry, isGone);
    this.desired.changedPorts.add(owner);
    this.#damaged = true;
    return true;
  }

  /** The endpoint here whose own entry must be written again, because it went or the MAC turned up at another's port. */
  #ownerOf(entry: FdbEntry, port: string, isGone: boolean): string | undefined {
    const { desired } = this;
    if (desired.local(port)?.mac === entry.mac) return isGone ? port : undefined;
    this.#tellTraffic(port, entry, !isGone);
    return !isGone && desired.settings.localLearning ? this.#declaredWith(entry.mac) : undefined;
  }

  /** The endpoint here that was declared with the MAC. */
  #declaredWith(mac: MacAddress): string | undefined {
    for (const [id, port] of this.#ports) if (port.mac === mac) return id;
    return undefined;
  }

  /** All rows to a VTEP whose nexthop was made anew: the kernel dropped them with the old one. */
  onNexthopRenewed(vteps: ReadonlySet<IpAddress>): void {
    this.rows.onNexthopRenewed(vteps);
  }

  /** What the bridge learns of frames from the host's own side of a port, such as the port's MAC, is no traffic. */
  #tellTraffic(port: string, { mac, state }: FdbEntry, seen: boolean): void {
    if (this.desired.settings.localLearning && (state & neighbourState.permanent) === 0)
      this.#place.onTraffic({ network: this.desired.settings.name, port, mac, seen });
  }

  #isSettled(index: number, link: Link, instance: string): boolean {
    const { settings } = this.desired;
    const tunnel = this.tunnels.get(index);
    const changes =
      tunnel === undefined
        ? bridgeChanges(settings, instance, link)
        : tunnelChanges(settings, tunnel, instance, link, settings.mode === "l2" ? this.#bridge : undefined);
    return changes.next().done === true;
  }

  async #ensureDevices(links: LinkTable, isRepair: boolean): Promise<void> {
    const { desired } = this;
    const { settings } = desired;
    const place = this.#place;
    const changes: string[] = [];
    const bridge = await ensureBridge(settings, place, await links.find(bridgeName(settings.vni)), changes);
    this.#bridge = bridge.link.index;
    const master = settings.mode === "l2" ? this.#bridge : undefined;
    const tunnels = await this.tunnels.ensure(desired, master, place, links);
    changes.push(...tunnels.changes);
    if (bridge.created || tunnels.created.some(({ peer }) => peer === undefined)) {
      // Where all devices are new, so are all tables of bridge and tunnel.
      if (bridge.created && tunnels.created.length === this.tunnels.names.length) this.rows.beginEmpty();
      else {
        this.rows.distrust();
        this.rows.markAll();
      }
      desired.markPorts();
    } else if (tunnels.created.length > 0) {
      desired.markRowsTo(new Set(tunnels.created.map(({ peer }) => peer)));
    } else if (changes.length > 0) {
      // Some settings flush tables as they change; ports may have been set free.
      this.rows.distrust();
      desired.markPorts();
    }
    if (isRepair)
      for (const change of changes)
        place.report({ level: "warning", kind: "repaired", object: `network ${settings.name}`, message: change });
  }

  async #ensurePorts(links: LinkTable, isRepair: boolean): Promise<void> {
    const { desired } = this;
    const place = this.#place;
    const ids = [...desired.changedPorts];
    if (ids.length === 0) return;
    desired.changedPorts.clear();
    for (const id of ids) {
      const object = `endpoint ${id} of network ${desired.settings.name}`;
      const done = await this.#place.problems.attempt(object, async () => {
        const endpoint = desired.local(id);
        if (endpoint === undefined) return this.#removePort(id);
        const port = await ensureEndpointPort(
          endpoint,
          desired.settingsOfPort(id),
          { ...place, bridgeIndex: this.#bridge },
          links,
        );
        let repaired = port.written && port.changes.length === 0;
        if (!(await this.#hasLocalFdb(endpoint.mac, port.index))) {
          await place.socket.execute(localFdbRequest(endpoint, port.index));
          repaired = true;
        }
        this.#rememberPort(id, { ...port, mac: endpoint.mac });
        for (const change of port.changes) place.report({ level: "warning", object, ...change });
        this.#note(id, object, port.notes);
        if (isRepair && repaired)
          place.report({
            level: "warning",
            kind: "repaired",
            object,
            message: `restored port ${endpointPortName(id)}`,
          });
      });
      if (!done) desired.changedPorts.add(id);
    }
    this.#backlog.ensure(this.#ports.size);
  }

  async #hasLocalFdb(mac: MacAddress, index: number): Promise<boolean> {
    const entry = await lookUp(this.#place.socket, getFdbEntry(index, mac, "master"));
    return entry !== undefined && entry.index === index && (entry.flags & neighbourFlag.externallyLearned) !== 0;
  }

  #rememberPort(id: string, { index, inode, mac }: Pick<EndpointPort, "index" | "inode"> & { mac: MacAddress }): void {
    this.#forgetPort(id);
    this.#ports.set(id, { index, inode, mac });
    this.#idByPort.set(index, id);
  }

  /** Told once, and again when it changes. */
  #note(id: string, object: string, notes: readonly string[]): void {
    const note = notes.join("; ");
    const before = this.noteOf(id);
    if (note === before) return;
    this.#notes.set(id, note);
    const { report } = this.#place;
    if (note !== "") report({ level: "warning", kind: "adjusted", object, message: note });
    else report({ level: "info", kind: "recovered", object, message: `no more: ${before}` });
  }

  #forgetPort(id: string): void {
    const port = this.#ports.get(id);
    if (port !== undefined) this.#idByPort.delete(port.index);
    this.#ports.delete(id);
  }

  async #removePort(id: string): Promise<void> {
    this.#forgetPort(id);
    this.#notes.delete(id);
    await this.#place.socket.execute(deleteLink({ name: endpointPortName(id) })).catch((error: unknown) => {
      if (!isErrno(error, "ENODEV")) throw error;
    });
  }

  async #programRows(): Promise<void> {
    const { desired, rows } = this;
    this.#announcements.left(desired.formerMacs);
    desired.formerMacs.clear();
    if (!rows.hasWork) return;
    const object = `rows of network ${desired.settings.name}`;
    const refusal = await rows.pass().catch((error: unknown) => {
      if (error instanceof Error) return error;
      throw error;
    });
    if (refusal === undefined) return this.#place.problems.cleared(object);
    if (isErrno(refusal, "ENODEV")) desired.devicesChanged = true;
    this.#place.problems.failed(object, refusal);
  }
}
