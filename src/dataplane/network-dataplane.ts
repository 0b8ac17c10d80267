import type { Cidr } from "../base/cidr.ts";
import type { Clock } from "../base/clock.ts";
import type { IpAddress, IpFamily } from "../base/ip.ts";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import { isErrno, type NetworkNamespace, PacketSender } from "../linux/index.ts";
import { bridgeName, endpointPortName } from "../model/names.ts";
import {
  type BridgePortSettings,
  deleteLink,
  type FdbEntry,
  getFdbEntry,
  getLink,
  type InterfaceAddressEntry,
  type Link,
  type Neighbour,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Route,
} from "../netlink/index.ts";
import { Announcements } from "./announcements.ts";
import { bridgeAddresses, bridgeChanges, ensureBridge } from "./bridge-device.ts";
import { confirmed, LocalNeighbours } from "./bridge-neighbours.ts";
import { endpointPort, isPortAs, tunnelPort } from "./bridge-port.ts";
import { BridgedRows } from "./bridged-rows.ts";
import type { DesiredNetwork } from "./desired.ts";
import type { DevicePlace } from "./device-changes.ts";
import { plannedTunnels } from "./encapsulation/tunnel.ts";
import { type EndpointPort, ensureEndpointPort, isPortSettled, localFdbRequest } from "./endpoint-port.ts";
import { FloodLists } from "./flood-lists.ts";
import type { LinkTable } from "./link-table.ts";
import { isOwnLink } from "./ownership.ts";
import { ReceiveBacklog } from "./receive-backlog.ts";
import type { Problems, Report } from "./report.ts";
import { RoutedRows } from "./routed-rows.ts";
import type { Row } from "./rows.ts";
import { Tunnels, tunnelChanges } from "./tunnels.ts";

export interface NetworkPlace extends DevicePlace {
  readonly clock: Clock;
  readonly openSocket: (namespace: NetworkNamespace) => NetlinkSocket;
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
  readonly #rows: BridgedRows | RoutedRows;
  /** Of a layer-3 network; in one of layer 2 they are among the {@link #rows}. */
  readonly #localNeighbours: LocalNeighbours | undefined;
  /** Of a layer-2 network. */
  readonly #announcements: Announcements;
  readonly #flood: FloodLists;
  readonly #backlog: ReceiveBacklog;
  #bridge = 0;
  readonly #ports = new Map<string, { readonly index: number; readonly inode: number; readonly mac: MacAddress }>();
  /** Of endpoints here: what is otherwise than asked for in their containers, and is left so. */
  readonly #notes = new Map<string, string>();
  /** What the kernel's tables hold is not known; they are compared before anything is written. */
  #unknown = true;
  readonly #idByPort = new Map<number, string>();
  /** Somebody else changed a device: its repair is worth an event. */
  #damaged = false;

  constructor(desired: DesiredNetwork, place: NetworkPlace) {
    this.desired = desired;
    this.#place = place;
    const { clock, namespace, socket, groupOf, uplink, report } = place;
    const { tunnels } = this;
    this.#flood = new FloodLists(desired, socket, report);
    this.#backlog = new ReceiveBacklog(desired.settings.name, report);
    this.#announcements = new Announcements({
      clock,
      openSender: () => new PacketSender(namespace),
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
    const announcements = this.#announcements;
    this.#rows =
      desired.settings.mode === "l2"
        ? new BridgedRows(desired, { socket, tunnels, bridgeIndex: () => this.#bridge, groupOf, report, announcements })
        : new RoutedRows(desired, { socket, tunnels, groupOf, uplink, report });
    if (desired.settings.mode === "l3")
      this.#localNeighbours = new LocalNeighbours(desired, { socket, bridgeIndex: () => this.#bridge, report });
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

  /** Of a layer-3 network: what there are routes to. */
  get routedPrefixes(): readonly Cidr[] {
    return this.#rows instanceof RoutedRows ? [...this.#rows.prefixes()] : [];
  }

  /** Of a layer-3 network: the route to one of {@link routedPrefixes}, as it shall be; `undefined` until there is a way. */
  routeTo(prefix: Cidr): Route | undefined {
    return this.#rows instanceof RoutedRows ? this.#rows.rowsTo(prefix)?.route : undefined;
  }

  /** Of a layer-3 network: the neighbours that its routes lead to. */
  get nextHops(): readonly Neighbour[] {
    return this.#rows instanceof RoutedRows ? this.#rows.neighbours : [];
  }

  /** Of a layer-3 network: the MACs of other nodes' tunnels. */
  get routers(): readonly { readonly mac: MacAddress; readonly vtep: IpAddress }[] {
    return this.#rows instanceof RoutedRows ? this.#rows.routers : [];
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
    this.#unknown = true;
    this.#damaged = true;
    this.desired.devicesChanged = true;
    this.desired.markPorts();
  }

  /** Whether devices and rows are as desired, whatever is the matter with single ports; surplus tunnels have ended, too. */
  get isCarried(): boolean {
    return !this.#unknown && !this.desired.hasChangesOfWays && !this.tunnels.hasSurplus(this.desired);
  }

  get hasWork(): boolean {
    return this.#unknown || this.desired.hasChanges || this.tunnels.hasSurplus(this.desired);
  }

  /** Does what is to be done; what fails is recorded, stays marked and leaves the rest alone. */
  async reconcile(links: LinkTable): Promise<void> {
    const { desired } = this;
    const { name } = desired.settings;
    const isRepair = this.#damaged;
    this.#damaged = false;
    if (desired.devicesChanged || this.#unknown) {
      // What changes while this is under way marks it again.
      desired.devicesChanged = false;
      const isDone = await this.#place.problems.attempt(`network ${name}`, () => this.#ensureDevices(links, isRepair));
      if (!isDone) desired.devicesChanged = true;
      // Without a bridge there is nothing to do more; a tunnel that fails leaves the other tunnels' rows to be done.
      if (this.#bridge === 0) return;
    }
    await this.#ensurePorts(links, isRepair);
    if (this.#unknown)
      await this.#place.problems.attempt(`tables of network ${name}`, async () => {
        await this.#rows.compare();
        await this.#localNeighbours?.compare();
        this.#unknown = false;
      });
    await this.#programRows();
    // A port whose namespace is gone for good keeps no old tunnel.
    if (!desired.hasChangesOfWays)
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
    await this.#rows.withdraw();
    const own = `network ${this.desired.settings.name}`;
    this.#place.problems.forget((object) => object === own || object.endsWith(` of ${own}`));
  }

  /** Nothing is sent any more. */
  close(): void {
    this.#announcements.close();
  }

  /** A row went away. Tells whether there is something to restore. */
  onRowDeleted(row: Row): boolean {
    if ("ip" in row && this.#localNeighbours?.onChanged(row) === true) return true;
    if ("destination" in row || "ip" in row) return this.#rows.onDeleted(row);
    if (row.mac === zeroMac) {
      if (!this.#flood.onDeleted(row)) return false;
      this.desired.devicesChanged = true;
      return true;
    }
    const port = this.#idByPort.get(row.index);
    if (port === undefined) return this.#rows.onDeleted(row);
    if (this.desired.local(port)?.mac !== row.mac) {
      this.#tellTraffic(port, row, false);
      return this.#rows.onDeleted(row);
    }
    this.desired.changedPorts.add(port);
    this.#damaged = true;
    return true;
  }

  /** Somebody else, or traffic, wrote a row. Tells whether it must be written again as it shall be. */
  onRowWritten(row: Row): boolean {
    if ("ip" in row && this.#localNeighbours?.onChanged(row) === true) return true;
    if (!("destination" in row) && !("ip" in row)) {
      const port = this.#idByPort.get(row.index);
      if (port !== undefined && this.desired.local(port)?.mac !== row.mac) {
        this.#tellTraffic(port, row, true);
        const owner = this.desired.settings.localLearning ? this.#declaredWith(row.mac) : undefined;
        if (owner !== undefined) {
          this.desired.changedPorts.add(owner);
          this.#damaged = true;
          return true;
        }
      }
    }
    return this.#rows.onWritten(row);
  }

  /** The endpoint here that was declared with the MAC. */
  #declaredWith(mac: MacAddress): string | undefined {
    for (const [id, port] of this.#ports) if (port.mac === mac) return id;
    return undefined;
  }

  /** All rows to a VTEP whose nexthop was made anew: the kernel dropped them with the old one. */
  onNexthopRenewed(vteps: ReadonlySet<IpAddress>): void {
    this.desired.markRowsTo(vteps);
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
    for (const tunnel of tunnels.created) this.#flood.begin(tunnel.index);
    if (bridge.created || tunnels.created.some(({ peer }) => peer === undefined)) {
      // Where all devices are new, so are all tables of bridge and tunnel; routes may have been left by an earlier run.
      const isAllNew = bridge.created && tunnels.created.length === this.tunnels.names.length;
      if (settings.mode === "l2") this.#unknown = !isAllNew;
      desired.markRows();
      desired.markPorts();
    } else if (tunnels.created.length > 0) {
      desired.markRowsTo(new Set(tunnels.created.map(({ peer }) => peer)));
    } else if (changes.length > 0) {
      // Some settings flush tables as they change; ports may have been set free.
      this.#unknown = true;
      this.#flood.distrust();
      desired.markPorts();
    }
    if (isRepair)
      for (const change of changes)
        place.report({ level: "warning", kind: "repaired", object: `network ${settings.name}`, message: change });
    if (settings.mode === "l2") await this.#flood.program(this.tunnels.sharedIndexes);
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
    const entry = await confirmed(() => this.#place.socket.get(getFdbEntry(index, mac, "master")));
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
    const { desired } = this;
    const object = `rows of network ${desired.settings.name}`;
    await this.#place.problems.attempt(object, async () => {
      const failures = [await this.#localNeighbours?.program(), await this.#rows.program()];
      const failure = failures.find((each) => each !== undefined);
      if (failure === undefined) return;
      if (isErrno(failure, "ENODEV")) desired.devicesChanged = true;
      throw failure;
    });
  }
}
