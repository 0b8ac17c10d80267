import type { IpAddress } from "../base/ip.ts";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import { type FdbEntry, type Neighbour, neighbourFlag } from "../netlink/index.ts";

/** What the rows of one network shall be. */
export interface DesiredRows {
  readonly bridge: number;
  readonly tunnel: number;
  /** MACs of this node's own endpoints: the bridge has them at their ports. */
  readonly localMacs: ReadonlySet<MacAddress>;
  readonly remotesByMac: ReadonlyMap<MacAddress, { readonly mac: MacAddress; readonly vtep: IpAddress }>;
  readonly remotesByIp: ReadonlyMap<IpAddress, { readonly mac: MacAddress }>;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
}

/** What must be done to make the kernel's rows equal to the desired ones. Equal rows give an empty plan. */
export interface RowPlan {
  /** Not there, or not as desired, in the tunnel's table or the bridge's. */
  readonly macs: readonly MacAddress[];
  readonly ips: readonly IpAddress[];
  /** There, weft's own by its mark, and not desired. */
  readonly surplusFdb: readonly FdbEntry[];
  readonly surplusNeighbours: readonly Neighbour[];
  /** VTEPs in the kernel's flood list. */
  readonly flood: ReadonlySet<IpAddress>;
}

/**
 * Compares rows one by one as they are read, so that a large table is never held twice. Rows without weft's mark
 * (externally learned) are left out of everything.
 */
export class RowComparison {
  readonly #desired: DesiredRows;
  readonly #inTunnel = new Set<MacAddress>();
  readonly #inBridge = new Set<MacAddress>();
  readonly #neighbours = new Set<IpAddress>();
  readonly #surplusFdb: FdbEntry[] = [];
  readonly #surplusNeighbours: Neighbour[] = [];
  readonly #flood = new Set<IpAddress>();

  constructor(desired: DesiredRows) {
    this.#desired = desired;
  }

  observeFdb(entry: FdbEntry): void {
    const { tunnel, remotesByMac, localMacs, groupOf } = this.#desired;
    if (entry.index !== tunnel) return;
    if (entry.mac === zeroMac) {
      if (entry.vtep !== undefined) this.#flood.add(entry.vtep);
      return;
    }
    if ((entry.flags & neighbourFlag.externallyLearned) === 0) return;
    const isInBridge = entry.master !== undefined;
    const endpoint = remotesByMac.get(entry.mac);
    if (endpoint === undefined) {
      // The bridge holds one entry for a MAC: for one of this node's it will be the port's in a moment.
      if (!(isInBridge && localMacs.has(entry.mac)))
        this.#surplusFdb.push({ ...entry, flags: isInBridge ? neighbourFlag.master : neighbourFlag.self });
      // The desired row's text is there anyway; the one just read need not be kept.
    } else if (isInBridge) this.#inBridge.add(endpoint.mac);
    else if (entry.nexthop !== undefined && entry.nexthop === groupOf(endpoint.vtep)) this.#inTunnel.add(endpoint.mac);
  }

  observeNeighbour(entry: Neighbour): void {
    if (entry.index !== this.#desired.bridge || (entry.flags & neighbourFlag.externallyLearned) === 0) return;
    const endpoint = this.#desired.remotesByIp.get(entry.ip);
    if (endpoint === undefined) this.#surplusNeighbours.push(entry);
    else if (entry.mac === endpoint.mac) this.#neighbours.add(entry.ip);
  }

  plan(): RowPlan {
    const { remotesByMac, remotesByIp } = this.#desired;
    const macs: MacAddress[] = [];
    for (const mac of remotesByMac.keys()) if (!this.#inTunnel.has(mac) || !this.#inBridge.has(mac)) macs.push(mac);
    const ips: IpAddress[] = [];
    for (const ip of remotesByIp.keys()) if (!this.#neighbours.has(ip)) ips.push(ip);
    return {
      macs,
      ips,
      surplusFdb: this.#surplusFdb,
      surplusNeighbours: this.#surplusNeighbours,
      flood: this.#flood,
    };
  }
}
