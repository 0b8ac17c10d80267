import type { IpAddress } from "../../base/ip.ts";
import { type MacAddress, zeroMac } from "../../base/mac.ts";
import { isErrno } from "../../linux/index.ts";
import {
  deleteFdbEntry,
  type FdbEntry,
  getFdbEntry,
  lookUp,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Query,
  type Request,
  replaceFdbEntry,
} from "../../netlink/index.ts";
import type { DesiredNetwork } from "../desired.ts";
import type { Tunnels } from "../devices/tunnels.ts";
import { weftProtocol } from "../kernel-names.ts";
import { notYet, type Table } from "../reconcile/table.ts";
import { type FdbListing, isMarkedFdb } from "./fdb-listing.ts";

export interface BridgeFdbOptions {
  readonly desired: DesiredNetwork;
  readonly socket: NetlinkSocket;
  readonly tunnels: Tunnels;
  readonly listing: FdbListing;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
}

/**
 * The endpoints of other nodes of a layer-2 network: for each MAC an entry of the bridge for the tunnel's port, and, by the
 * same request, one of the tunnel's own table where that serves all VTEPs.
 */
export class BridgeFdb implements Table<MacAddress, FdbEntry> {
  readonly kind = "FDB entry";
  readonly #options: BridgeFdbOptions;

  constructor(options: BridgeFdbOptions) {
    this.#options = options;
  }

  keys(): Iterable<MacAddress> {
    return this.#options.desired.remotesByMac.keys();
  }

  wanted(mac: MacAddress): FdbEntry | typeof notYet | undefined {
    const { desired, tunnels, groupOf } = this.#options;
    const endpoint = desired.remotesByMac.get(mac);
    if (endpoint === undefined) return undefined;
    const tunnel = tunnels.towards(endpoint.vtep);
    if (tunnel === undefined) return notYet;
    const { index } = tunnel;
    const { permanent } = neighbourState;
    const protocol = weftProtocol;
    if (tunnel !== tunnels.shared) return { index, mac: endpoint.mac, state: permanent, flags: inBridge, protocol };
    const nexthop = groupOf(endpoint.vtep);
    if (nexthop === undefined) return notYet;
    return { index, mac: endpoint.mac, state: permanent, flags: inBoth, protocol, nexthop };
  }

  keyOf({ mac }: FdbEntry): MacAddress {
    return mac;
  }

  list(): readonly Query<FdbEntry>[] {
    return this.#options.listing.queries;
  }

  get({ index, mac, flags }: FdbEntry): readonly Query<FdbEntry>[] {
    const ofBridge = getFdbEntry(index, mac, "master");
    return (flags & neighbourFlag.self) === 0 ? [ofBridge] : [getFdbEntry(index, mac, "self"), ofBridge];
  }

  get parts(): number {
    return this.#options.tunnels.shared === undefined ? 1 : 2;
  }

  partOf({ master }: FdbEntry): number {
    return master === undefined ? 1 : 0;
  }

  /** The bridge holds one entry for a MAC: for one of this node's it will be the port's in a moment. */
  isOwn(entry: FdbEntry): boolean {
    const { desired, tunnels } = this.#options;
    if (entry.mac === zeroMac || !isMarkedFdb(entry) || !tunnels.has(entry.index)) return false;
    return entry.master === undefined || !desired.hasLocalMac(entry.mac);
  }

  same(wanted: FdbEntry, actual: FdbEntry): boolean {
    if (actual.index !== wanted.index || !isMarkedFdb(actual)) return false;
    return actual.master !== undefined || (actual.nexthop !== undefined && actual.nexthop === wanted.nexthop);
  }

  put(entry: FdbEntry): Request {
    return replaceFdbEntry(entry);
  }

  /** An entry that names a VTEP is not made one of a nexthop (drivers/net/vxlan/vxlan_core.c, `vxlan_fdb_update_existing`). */
  clear({ index, mac }: FdbEntry, error: Error): Request | undefined {
    return isErrno(error, "EOPNOTSUPP")
      ? deleteFdbEntry({ index, mac, state: 0, flags: neighbourFlag.self })
      : undefined;
  }

  remove(entry: FdbEntry): Request {
    const { index, mac, master, flags } = entry;
    return deleteFdbEntry({ index, mac, state: 0, flags: master === undefined ? flags & ~own : neighbourFlag.master });
  }

  /**
   * With one tunnel for all, entries are where all are; in a mesh the bridge is asked which port the MAC is at, because the
   * endpoint that knew is forgotten. Where the MAC has a port here by now, the bridge's entry is the port's.
   */
  async left(mac: MacAddress): Promise<readonly FdbEntry[]> {
    const { socket, tunnels } = this.#options;
    const { shared } = tunnels;
    if (shared !== undefined)
      return [neighbourFlag.self, neighbourFlag.master].map((flags) => ({ index: shared.index, mac, state: 0, flags }));
    const [any] = tunnels.indexes;
    if (any === undefined) return [];
    const entry = await lookUp(socket, getFdbEntry(any, mac, "master"));
    return entry !== undefined && tunnels.has(entry.index) && isMarkedFdb(entry) ? [entry] : [];
  }

  nameOf(mac: MacAddress): string {
    return mac;
  }
}

const own = neighbourFlag.externallyLearned;
const inBridge = neighbourFlag.master | own;
const inBoth = inBridge | neighbourFlag.self;
