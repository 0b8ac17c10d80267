import type { IpAddress } from "../base/ip.ts";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import { isErrno } from "../linux/index.ts";
import { bridgeName, endpointPortName, tunnelName } from "../model/names.ts";
import {
  appendFdbEntry,
  type BatchFailure,
  type BridgePortSettings,
  deleteFdbEntry,
  deleteLink,
  deleteNeighbour,
  type FdbEntry,
  getFdbEntry,
  getLink,
  getNeighbour,
  type Link,
  listFdbEntries,
  listNeighbours,
  type Neighbour,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Query,
  type Request,
  replaceFdbEntry,
  replaceNeighbour,
} from "../netlink/index.ts";
import type { DesiredNetwork, RemoteEndpoint } from "./desired.ts";
import { floodList, tunnelPort } from "./encapsulation/vxlan.ts";
import { ensureEndpointPort, isPortSettled, localFdbRequest } from "./endpoint-port.ts";
import type { LinkTable } from "./link-table.ts";
import {
  bridgeChanges,
  type DevicePlace,
  ensureNetworkDevices,
  isPortAs,
  tunnelLinkChanges,
} from "./network-devices.ts";
import { isOwnLink, weftProtocol } from "./ownership.ts";
import type { Problems, Report } from "./report.ts";
import { RowComparison } from "./row-plan.ts";

export interface NetworkPlace extends DevicePlace {
  readonly openSocket: (namespace: NetworkNamespace) => NetlinkSocket;
  readonly underlayInode: number;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
  readonly problems: Problems;
  readonly report: Report;
}

/** A request that knows which row it is for, so that a failure finds its row again. */
type RowRequest = Request & { readonly row: { readonly mac?: MacAddress; readonly ip?: IpAddress } };

/** Up to this many rows that a dump did not show are confirmed one by one before they are written. */
const confirmAtMost = 512;

/** One network in the kernel of this node: keeps devices, ports and rows equal to what is desired. */
export class NetworkDataplane {
  readonly desired: DesiredNetwork;
  readonly #place: NetworkPlace;
  #bridge = 0;
  #tunnel = 0;
  /** VTEPs in the kernel's flood list. */
  readonly #flood = new Set<IpAddress>();
  readonly #ports = new Map<string, { readonly index: number; readonly mac: MacAddress }>();
  /** What the kernel's tables hold is not known; they are compared before anything is written. */
  #unknown = true;
  readonly #idByPort = new Map<number, string>();
  /** Somebody else changed a device: its repair is worth an event. */
  #damaged = false;
  /** Rows that somebody else took away: their repair is worth an event. */
  readonly #damagedMacs = new Set<MacAddress>();
  readonly #damagedIps = new Set<IpAddress>();
  readonly #damagedVteps = new Set<IpAddress>();

  constructor(desired: DesiredNetwork, place: NetworkPlace) {
    this.desired = desired;
    this.#place = place;
  }

  get bridgeIndex(): number {
    return this.#bridge;
  }

  get tunnelIndex(): number {
    return this.#tunnel;
  }

  ownsIndex(index: number): boolean {
    return index === this.#bridge || index === this.#tunnel || this.#idByPort.has(index);
  }

  /** A device of this network is now as told, or gone (`undefined`). Tells whether there is something to restore. */
  judgeLink(index: number, link: Link | undefined): boolean {
    const { desired } = this;
    const { instance } = this.#place;
    const id = this.#idByPort.get(index);
    if (id !== undefined) {
      if (link !== undefined && isPortSettled(link, desired.settings, { instance, bridgeIndex: this.#bridge }))
        return false;
      if (desired.local(id) === undefined) return false;
      desired.changedPorts.add(id);
    } else {
      const changes =
        link === undefined
          ? undefined
          : index === this.#bridge
            ? bridgeChanges(desired.settings, instance, link)
            : tunnelLinkChanges(desired.settings, instance, link, this.#bridge);
      if (changes?.next().done === true) return false;
      desired.devicesChanged = true;
    }
    this.#damaged = true;
    return true;
  }

  /** The bridge now treats one of its ports so. Tells whether there is something to restore. */
  judgePort(index: number, settings: BridgePortSettings): boolean {
    if (index === this.#tunnel) {
      if (isPortAs(tunnelPort(this.desired.settings), settings)) return false;
      this.desired.devicesChanged = true;
    } else {
      const id = this.#idByPort.get(index);
      if (id === undefined || settings.learning === false) return false;
      this.desired.changedPorts.add(id);
    }
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

  get hasWork(): boolean {
    return this.#unknown || this.desired.hasChanges;
  }

  /** Does what is to be done; what fails is recorded, stays marked and leaves the rest alone. */
  async reconcile(links: LinkTable): Promise<void> {
    const { desired } = this;
    const isRepair = this.#damaged;
    this.#damaged = false;
    if (desired.devicesChanged || this.#unknown) {
      // What changes while this is under way marks it again.
      desired.devicesChanged = false;
      if (!(await this.#guard(`network ${desired.settings.name}`, () => this.#ensureDevices(links, isRepair)))) {
        desired.devicesChanged = true;
        return;
      }
    }
    await this.#ensurePorts(links, isRepair);
    if (this.#unknown) await this.#guard(`tables of network ${desired.settings.name}`, () => this.#compareTables());
    await this.#programRows();
  }

  /** Takes the network off this node; the reverse order of making it. */
  async remove(): Promise<void> {
    const { socket } = this.#place;
    const names = [
      ...[...this.#ports.keys(), ...this.desired.locals.keys()].map(endpointPortName),
      tunnelName(this.desired.settings.vni),
      bridgeName(this.desired.settings.vni),
    ];
    for (const name of new Set(names))
      try {
        // The network may be leaving because somebody else's device has the name.
        const link = await socket.get(getLink({ name }));
        if (isOwnLink(link)) await socket.execute(deleteLink({ index: link.index }));
      } catch (error) {
        if (!isErrno(error, "ENODEV")) throw error;
      }
    const own = `network ${this.desired.settings.name}`;
    this.#place.problems.forget((object) => object === own || object.endsWith(` of ${own}`));
  }

  /** An FDB entry or neighbour of one of this network's devices went away. Tells whether there is something to restore. */
  onRowDeleted(entry: FdbEntry | Neighbour): boolean {
    if ("ip" in entry || (entry.mac !== zeroMac && this.desired.remotesByMac.has(entry.mac)))
      return this.onRowWritten(entry);
    if (entry.mac === zeroMac) {
      if (entry.vtep === undefined || !this.#flood.delete(entry.vtep)) return false;
      this.desired.devicesChanged = true;
      this.#damagedVteps.add(entry.vtep);
      return true;
    }
    const id = this.#idByPort.get(entry.index);
    if (id === undefined || this.desired.local(id)?.mac !== entry.mac) return false;
    this.desired.changedPorts.add(id);
    this.#damaged = true;
    return true;
  }

  /** Somebody else wrote an entry for a row of ours. Tells whether it must be written again as it shall be. */
  onRowWritten(entry: FdbEntry | Neighbour): boolean {
    if ("ip" in entry) {
      if (entry.index !== this.#bridge || !this.desired.remotesByIp.has(entry.ip)) return false;
      this.desired.changedIps.add(entry.ip);
      this.#damagedIps.add(entry.ip);
    } else {
      if (!this.desired.remotesByMac.has(entry.mac)) return false;
      this.desired.changedMacs.add(entry.mac);
      this.#damagedMacs.add(entry.mac);
    }
    return true;
  }

  /** All rows to a VTEP whose nexthop was made anew: the kernel dropped them with the old one. */
  onNexthopRenewed(vteps: ReadonlySet<IpAddress>): void {
    for (const endpoint of this.desired.remotes.values())
      if (vteps.has(endpoint.vtep)) this.desired.changedMacs.add(endpoint.mac);
  }

  async #ensureDevices(links: LinkTable, isRepair: boolean): Promise<void> {
    const { desired } = this;
    const place = this.#place;
    const devices = await ensureNetworkDevices(desired.settings, place, links);
    this.#bridge = devices.bridge;
    this.#tunnel = devices.tunnel;
    if (devices.tunnelIsNew || devices.bridgeIsNew) {
      this.#flood.clear();
      this.#unknown = !(devices.tunnelIsNew && devices.bridgeIsNew);
      desired.markRows();
      desired.markPorts();
    } else if (devices.changes.length > 0) {
      // Some settings flush tables as they change; ports may have been set free.
      this.#unknown = true;
      desired.markPorts();
    }
    if (isRepair)
      for (const change of devices.changes)
        place.report({
          level: "warning",
          kind: "repaired",
          object: `network ${desired.settings.name}`,
          message: change,
        });
    if (!this.#unknown) await this.#programFlood();
  }

  async #programFlood(): Promise<void> {
    const { settings } = this.desired;
    const wanted = new Set(floodList(settings, this.desired.remoteVteps));
    const missing = [...wanted].filter((vtep) => !this.#flood.has(vtep));
    const surplus = [...this.#flood].filter((vtep) => !wanted.has(vtep));
    const additions = missing.map((vtep) => appendFdbEntry(this.#floodEntry(vtep)));
    const removals = surplus.map((vtep) => deleteFdbEntry(this.#floodEntry(vtep)));
    const { failures } = await this.#place.socket.batch([...additions, ...removals]);
    const failed = failures.filter(({ error }) => !isErrno(error, "EEXIST") && !isErrno(error, "ENOENT"));
    const hasFailed = (request: Request): boolean => failed.some((failure) => failure.request === request);
    missing.forEach((vtep, index) => {
      if (!hasFailed(additions[index] as Request)) this.#flood.add(vtep);
    });
    surplus.forEach((vtep, index) => {
      if (!hasFailed(removals[index] as Request)) this.#flood.delete(vtep);
    });
    if (failed[0] !== undefined) throw failed[0].error;
    const restored = missing.filter((vtep) => this.#damagedVteps.has(vtep));
    this.#damagedVteps.clear();
    if (restored.length > 0)
      this.#place.report({
        level: "warning",
        kind: "repaired",
        object: `flood list of network ${settings.name}`,
        message: `${restored.join(", ")} had been removed; added again`,
      });
  }

  async #ensurePorts(links: LinkTable, isRepair: boolean): Promise<void> {
    const { desired } = this;
    const place = this.#place;
    const ids = [...desired.changedPorts];
    if (ids.length === 0) return;
    desired.changedPorts.clear();
    for (const id of ids) {
      const object = `endpoint ${id} of network ${desired.settings.name}`;
      const done = await this.#guard(object, async () => {
        const endpoint = desired.local(id);
        if (endpoint === undefined) return this.#removePort(id);
        const port = await ensureEndpointPort(
          endpoint,
          desired.settings,
          { ...place, bridgeIndex: this.#bridge },
          links,
        );
        let repaired = port.written;
        if (!(await this.#hasLocalFdb(endpoint.mac, port.index))) {
          await place.socket.execute(localFdbRequest(endpoint, port.index));
          repaired = true;
        }
        this.#rememberPort(id, port.index, endpoint.mac);
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
  }

  async #hasLocalFdb(mac: MacAddress, index: number): Promise<boolean> {
    const entry = await this.#confirm(() => this.#place.socket.get(getFdbEntry(index, mac, "master")));
    return entry !== undefined && entry.index === index && (entry.flags & neighbourFlag.externallyLearned) !== 0;
  }

  #rememberPort(id: string, index: number, mac: MacAddress): void {
    this.#forgetPort(id);
    this.#ports.set(id, { index, mac });
    this.#idByPort.set(index, id);
  }

  #forgetPort(id: string): void {
    const port = this.#ports.get(id);
    if (port !== undefined) this.#idByPort.delete(port.index);
    this.#ports.delete(id);
  }

  async #removePort(id: string): Promise<void> {
    this.#forgetPort(id);
    await this.#place.socket.execute(deleteLink({ name: endpointPortName(id) })).catch((error: unknown) => {
      if (!isErrno(error, "ENODEV")) throw error;
    });
  }

  /**
   * Compares the kernel's tables with the desired ones and leaves only rows that differ marked. A row that the dump
   * does not show is looked up by itself before it counts as missing: dumps of a busy table lack entries.
   */
  async #compareTables(): Promise<void> {
    const { desired } = this;
    const { socket, groupOf } = this.#place;
    const comparison = new RowComparison({
      bridge: this.#bridge,
      tunnel: this.#tunnel,
      localMacs: new Set([...desired.locals.values()].map((endpoint) => endpoint.mac)),
      remotesByMac: desired.remotesByMac,
      remotesByIp: desired.remotesByIp,
      groupOf,
    });
    await socket.dump(consumed(listFdbEntries({ index: this.#tunnel }), (entry) => comparison.observeFdb(entry)));
    await socket.dump(consumed(listNeighbours({ index: this.#bridge }), (entry) => comparison.observeNeighbour(entry)));
    const plan = comparison.plan();
    this.#flood.clear();
    for (const vtep of plan.flood) this.#flood.add(vtep);
    desired.changedMacs.clear();
    desired.changedIps.clear();
    const confirm = plan.macs.length + plan.ips.length <= confirmAtMost;
    for (const mac of plan.macs) if (!confirm || !(await this.#hasRow(mac))) desired.changedMacs.add(mac);
    for (const ip of plan.ips) if (!confirm || !(await this.#hasNeighbour(ip))) desired.changedIps.add(ip);
    await socket.batch([
      ...plan.surplusFdb.map(deleteFdbEntry),
      ...plan.surplusNeighbours.map((entry) => deleteNeighbour(entry.index, entry.ip)),
    ]);
    this.#unknown = false;
    await this.#programFlood();
  }

  async #hasRow(mac: MacAddress): Promise<boolean> {
    const endpoint = this.desired.remotesByMac.get(mac);
    if (endpoint === undefined) return false;
    const { socket, groupOf } = this.#place;
    const inTunnel = await this.#confirm(() => socket.get(getFdbEntry(this.#tunnel, mac, "self")));
    if (inTunnel?.nexthop !== groupOf(endpoint.vtep)) return false;
    const inBridge = await this.#confirm(() => socket.get(getFdbEntry(this.#tunnel, mac, "master")));
    return inBridge?.index === this.#tunnel;
  }

  async #hasNeighbour(ip: IpAddress): Promise<boolean> {
    const entry = await this.#confirm(() => this.#place.socket.get(getNeighbour(this.#bridge, ip)));
    return entry?.mac !== undefined && entry.mac === this.desired.remotesByIp.get(ip)?.mac;
  }

  async #confirm<Value>(look: () => Promise<Value>): Promise<Value | undefined> {
    try {
      return await look();
    } catch (error) {
      if (isErrno(error, "ENOENT") || isErrno(error, "ENODEV")) return undefined;
      throw error;
    }
  }

  /** Neighbour before FDB when rows come, FDB before neighbour when they go: no packet meets half an entry. */
  async #programRows(): Promise<void> {
    const { desired } = this;
    const place = this.#place;
    const object = `rows of network ${desired.settings.name}`;
    if (desired.changedMacs.size === 0 && desired.changedIps.size === 0) return place.problems.cleared(object);
    const macs = [...desired.changedMacs];
    const ips = [...desired.changedIps];
    desired.changedMacs.clear();
    desired.changedIps.clear();
    const { failures } = await place.socket.batch(this.#rowRequests(macs, ips));
    const real = failures.filter((failure) => !isHarmless(failure));
    for (const { request } of real) {
      const { row } = request as RowRequest;
      if (row.mac !== undefined) desired.changedMacs.add(row.mac);
      if (row.ip !== undefined) desired.changedIps.add(row.ip);
    }
    if (real[0] !== undefined) {
      if (real.some(({ error }) => isErrno(error, "ENODEV"))) desired.devicesChanged = true;
      place.problems.failed(object, real[0].error);
    } else place.problems.cleared(object);
    for (const mac of this.#damagedMacs) this.#reportRepair(`FDB entry ${mac}`);
    for (const ip of this.#damagedIps) this.#reportRepair(`neighbour ${ip}`);
    this.#damagedMacs.clear();
    this.#damagedIps.clear();
  }

  #reportRepair(row: string): void {
    this.#place.report({
      level: "warning",
      kind: "repaired",
      object: `${row} of network ${this.desired.settings.name}`,
      message: "had been changed or removed; set again",
    });
  }

  *#rowRequests(macs: readonly MacAddress[], ips: readonly IpAddress[]): Generator<RowRequest> {
    const { desired } = this;
    for (const ip of ips) {
      const endpoint = desired.remotesByIp.get(ip);
      if (endpoint !== undefined) yield Object.assign(replaceNeighbour(this.#neighbour(ip, endpoint)), { row: { ip } });
    }
    for (const mac of macs) {
      const endpoint = desired.remotesByMac.get(mac);
      if (endpoint === undefined) continue;
      const nexthop = this.#place.groupOf(endpoint.vtep);
      // A VTEP that came after this pass had made its nexthops: the next pass has one for it.
      if (nexthop === undefined) desired.changedMacs.add(mac);
      else yield Object.assign(replaceFdbEntry(this.#remoteEntry(endpoint, nexthop)), { row: { mac } });
    }
    for (const mac of macs) {
      if (desired.remotesByMac.has(mac)) continue;
      // Where the MAC has a port here by now, the bridge's entry is the port's.
      for (const flag of [neighbourFlag.self, neighbourFlag.master])
        yield Object.assign(deleteFdbEntry({ index: this.#tunnel, mac, state: 0, flags: flag }), { row: { mac } });
    }
    for (const ip of ips)
      if (!desired.remotesByIp.has(ip)) yield Object.assign(deleteNeighbour(this.#bridge, ip), { row: { ip } });
  }

  #remoteEntry(endpoint: RemoteEndpoint, nexthop: number): FdbEntry {
    return {
      index: this.#tunnel,
      mac: endpoint.mac,
      state: neighbourState.permanent,
      flags: neighbourFlag.self | neighbourFlag.master | neighbourFlag.externallyLearned,
      nexthop,
      protocol: weftProtocol,
    };
  }

  #floodEntry(vtep: IpAddress): FdbEntry {
    return {
      index: this.#tunnel,
      mac: zeroMac,
      state: neighbourState.permanent,
      flags: neighbourFlag.self | neighbourFlag.externallyLearned,
      vtep,
    };
  }

  #neighbour(ip: IpAddress, endpoint: RemoteEndpoint): Neighbour {
    return {
      index: this.#bridge,
      ip,
      mac: endpoint.mac,
      state: neighbourState.permanent,
      flags: neighbourFlag.externallyLearned,
      protocol: weftProtocol,
    };
  }

  /** One failed object does not stop the others. */
  async #guard(object: string, action: () => Promise<void>): Promise<boolean> {
    try {
      await action();
      this.#place.problems.cleared(object);
      return true;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#place.problems.failed(object, error);
      return false;
    }
  }
}

/** Deleting what is gone already. */
function isHarmless({ request, error }: BatchFailure): boolean {
  return isErrno(error, "ENOENT") && request.type === deleteNeighbour(0, "0.0.0.0" as IpAddress).type;
}

/** A dump whose rows are looked at as they come and not collected. */
function consumed<Row>(query: Query<Row>, look: (row: Row) => void): Query<never> {
  return {
    ...query,
    read: (...message) => {
      const row = query.read(...message);
      if (row !== undefined) look(row);
      return undefined;
    },
  };
}
