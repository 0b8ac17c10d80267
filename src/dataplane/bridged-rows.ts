import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { isErrno } from "../linux/index.ts";
import {
  type BatchFailure,
  deleteFdbEntry,
  deleteNeighbour,
  type FdbEntry,
  getFdbEntry,
  listFdbEntries,
  listNeighbours,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Request,
  replaceFdbEntry,
  replaceNeighbour,
} from "../netlink/index.ts";
import type { Announcements } from "./announcements.ts";
import { confirmed, hasNeighbour, isWithoutIpv6, neighbourOf, wholeAgain } from "./bridge-neighbours.ts";
import type { DesiredNetwork, RemoteEndpoint } from "./desired.ts";
import { weftProtocol } from "./ownership.ts";
import type { Report } from "./report.ts";
import { RowComparison } from "./row-plan.ts";
import { consumed, type Row, type Rows } from "./rows.ts";
import type { Tunnels } from "./tunnels.ts";

export interface BridgedPlace {
  readonly socket: NetlinkSocket;
  readonly tunnels: Tunnels;
  readonly bridgeIndex: () => number;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
  readonly report: Report;
  readonly announcements: Announcements;
}

/** A request that knows which row it is for, so that a failure finds its row again. */
type RowRequest = Request & { readonly row: { readonly mac?: MacAddress; readonly ip?: IpAddress } };

/** Up to this many rows that a dump did not show are confirmed one by one before they are written. */
const confirmAtMost = 512;

/**
 * The rows of a layer-2 network: for each remote endpoint an FDB entry of the bridge for the tunnel's port, with it one
 * of the tunnel's own table where that serves all VTEPs, and a permanent neighbour for each of its addresses. For
 * endpoints of this node the neighbours alone: their FDB entries go with their ports.
 */
export class BridgedRows implements Rows {
  readonly #desired: DesiredNetwork;
  readonly #place: BridgedPlace;
  /** Rows that somebody else took away: their repair is worth an event. */
  readonly #damagedMacs = new Set<MacAddress>();
  readonly #damagedIps = new Set<IpAddress>();

  constructor(desired: DesiredNetwork, place: BridgedPlace) {
    this.#desired = desired;
    this.#place = place;
  }

  async compare(): Promise<void> {
    const { locals, learnt, remotesByMac, remotesByIp, localsByIp, changedMacs, changedIps } = this.#desired;
    const { socket, tunnels, groupOf } = this.#place;
    const bridge = this.#place.bridgeIndex();
    const sharedTunnel = tunnels.shared?.index;
    const comparison = new RowComparison({
      bridge,
      sharedTunnel,
      isTunnel: (index) => tunnels.has(index),
      tunnelTowards: (vtep) => tunnels.towards(vtep)?.index,
      localMacs: new Set([...locals.values(), ...learnt.values()].map((endpoint) => endpoint.mac)),
      remotesByMac,
      remotesByIp,
      localsByIp,
      groupOf,
    });
    const filter = sharedTunnel === undefined ? { master: bridge } : { index: sharedTunnel };
    await socket.dump(consumed(listFdbEntries(filter), (entry) => comparison.observeFdb(entry)));
    await socket.dump(consumed(listNeighbours({ index: bridge }), (entry) => comparison.observeNeighbour(entry)));
    const plan = comparison.plan();
    changedMacs.clear();
    changedIps.clear();
    const confirm = plan.macs.length + plan.ips.length <= confirmAtMost;
    for (const mac of plan.macs) if (!confirm || !(await this.#hasRow(mac))) changedMacs.add(mac);
    for (const ip of plan.ips) if (!confirm || !(await this.#hasNeighbour(ip))) changedIps.add(ip);
    await socket.batch([
      ...plan.surplusFdb.map(deleteFdbEntry),
      ...plan.surplusNeighbours.map((entry) => deleteNeighbour(entry.index, entry.ip)),
    ]);
  }

  /** Neighbour before FDB when rows come, FDB before neighbour when they go: no packet meets half an entry. */
  async program(): Promise<Error | undefined> {
    const { changedMacs, changedIps, formerMacs } = this.#desired;
    this.#place.announcements.left(formerMacs);
    formerMacs.clear();
    if (changedMacs.size === 0 && changedIps.size === 0) return undefined;
    for (const ip of await wholeAgain(this.#desired, this.#damagedIps, (each) => this.#hasNeighbour(each)))
      this.#damagedIps.delete(ip);
    const macs = [...changedMacs];
    const ips = [...changedIps];
    changedMacs.clear();
    changedIps.clear();
    const places = await this.#placesToClear(macs);
    const { failures } = await this.#place.socket.batch(this.#requests(macs, ips, places));
    const real = failures.filter((failure) => !isHarmless(failure));
    for (const { request } of real) {
      const { row } = request as RowRequest;
      if (row.mac !== undefined) changedMacs.add(row.mac);
      if (row.ip !== undefined) changedIps.add(row.ip);
    }
    for (const ip of ips) if (!changedIps.has(ip)) this.#place.announcements.programmed(ip);
    for (const mac of this.#damagedMacs) this.#reportRepair(`FDB entry ${mac}`);
    for (const ip of this.#damagedIps) this.#reportRepair(`neighbour ${ip}`);
    this.#damagedMacs.clear();
    this.#damagedIps.clear();
    return real[0]?.error;
  }

  /** FDB entries and neighbours go with bridge and tunnels. */
  async withdraw(): Promise<void> {}

  onDeleted(row: Row): boolean {
    return this.onWritten(row);
  }

  onWritten(row: Row): boolean {
    const { remotesByMac, changedMacs, changedIps } = this.#desired;
    if ("destination" in row) return false;
    if ("ip" in row) {
      if (row.index !== this.#place.bridgeIndex() || this.#desired.neighbourMac(row.ip) === undefined) return false;
      changedIps.add(row.ip);
      this.#damagedIps.add(row.ip);
      return true;
    }
    const endpoint = remotesByMac.get(row.mac);
    if (endpoint === undefined) return false;
    // What nobody declared may turn up behind a port of this node: it has moved here, and the server is told.
    if (endpoint.isLearnt === true && !this.#place.tunnels.has(row.index)) return false;
    changedMacs.add(row.mac);
    this.#damagedMacs.add(row.mac);
    return true;
  }

  async #hasRow(mac: MacAddress): Promise<boolean> {
    const endpoint = this.#desired.remotesByMac.get(mac);
    const { socket, tunnels, groupOf } = this.#place;
    const tunnel = endpoint === undefined ? undefined : tunnels.towards(endpoint.vtep);
    if (endpoint === undefined || tunnel === undefined) return false;
    if (tunnel === tunnels.shared) {
      const inTunnel = await confirmed(() => socket.get(getFdbEntry(tunnel.index, mac, "self")));
      if (inTunnel?.nexthop !== groupOf(endpoint.vtep)) return false;
    }
    const inBridge = await confirmed(() => socket.get(getFdbEntry(tunnel.index, mac, "master")));
    return inBridge?.index === tunnel.index;
  }

  #hasNeighbour(ip: IpAddress): Promise<boolean> {
    return hasNeighbour(this.#place.socket, this.#place.bridgeIndex(), ip, this.#desired.neighbourMac(ip));
  }

  /**
   * The entries of MACs that are wanted no more. With one tunnel for all they are where all are; in a mesh the bridge is
   * asked which port each is at, because the endpoint that knew is forgotten. Where the MAC has a port here by now, the
   * bridge's entry is the port's.
   */
  async #placesToClear(macs: readonly MacAddress[]): Promise<FdbEntry[]> {
    const { remotesByMac } = this.#desired;
    const { socket, tunnels } = this.#place;
    const gone = macs.filter((mac) => !remotesByMac.has(mac));
    const shared = tunnels.shared;
    if (shared !== undefined)
      return gone.flatMap((mac) =>
        [neighbourFlag.self, neighbourFlag.master].map((flags) => ({ index: shared.index, mac, state: 0, flags })),
      );
    const [any] = tunnels.indexes;
    if (any === undefined) return [];
    const places: FdbEntry[] = [];
    for (const mac of gone) {
      const entry = await confirmed(() => socket.get(getFdbEntry(any, mac, "master")));
      if (entry !== undefined && tunnels.has(entry.index) && (entry.flags & neighbourFlag.externallyLearned) !== 0)
        places.push({ index: entry.index, mac, state: 0, flags: neighbourFlag.master });
    }
    return places;
  }

  *#requests(
    macs: readonly MacAddress[],
    ips: readonly IpAddress[],
    surplus: readonly FdbEntry[],
  ): Generator<RowRequest> {
    const { remotesByMac, changedMacs } = this.#desired;
    const bridge = this.#place.bridgeIndex();
    for (const ip of ips) {
      const mac = this.#desired.neighbourMac(ip);
      if (mac !== undefined) yield Object.assign(replaceNeighbour(neighbourOf(bridge, ip, mac)), { row: { ip } });
    }
    for (const mac of macs) {
      const endpoint = remotesByMac.get(mac);
      if (endpoint === undefined) continue;
      const entry = this.#remoteEntry(endpoint);
      // A VTEP that came after this pass had made its tunnel or nexthop: the next pass has one for it.
      if (entry === undefined) changedMacs.add(mac);
      else yield Object.assign(replaceFdbEntry(entry), { row: { mac } });
    }
    for (const entry of surplus) yield Object.assign(deleteFdbEntry(entry), { row: { mac: entry.mac } });
    for (const ip of ips)
      if (this.#desired.neighbourMac(ip) === undefined)
        yield Object.assign(deleteNeighbour(bridge, ip), { row: { ip } });
  }

  #remoteEntry(endpoint: RemoteEndpoint): FdbEntry | undefined {
    const { tunnels, groupOf } = this.#place;
    const tunnel = tunnels.towards(endpoint.vtep);
    if (tunnel === undefined) return undefined;
    const entry = {
      index: tunnel.index,
      mac: endpoint.mac,
      state: neighbourState.permanent,
      flags: neighbourFlag.master | neighbourFlag.externallyLearned,
      protocol: weftProtocol,
    };
    if (tunnel !== tunnels.shared) return entry;
    const nexthop = groupOf(endpoint.vtep);
    return nexthop === undefined ? undefined : { ...entry, flags: entry.flags | neighbourFlag.self, nexthop };
  }

  #reportRepair(row: string): void {
    this.#place.report({
      level: "warning",
      kind: "repaired",
      object: `${row} of network ${this.#desired.settings.name}`,
      message: "had been changed or removed; set again",
    });
  }
}

/** Deleting what is gone already, and IPv6 where there is none. */
function isHarmless({ request, error }: BatchFailure): boolean {
  const isDeletion = request.type === deleteNeighbour(0, "0.0.0.0" as IpAddress).type;
  return isDeletion ? isErrno(error, "ENOENT") : isWithoutIpv6(error);
}
