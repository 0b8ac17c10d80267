import type { IpAddress } from "../base/ip.ts";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import { type FdbEntry, type Neighbour, neighbourFlag } from "../netlink/index.ts";

/** What the rows of one network shall be. */
export interface DesiredRows {
  readonly bridge: number;
  /** The one tunnel with a table of its own; `undefined` where each VTEP has a tunnel and the bridge's table does. */
  readonly sharedTunnel: number | undefined;
  /** Whether the device is one of the network's tunnels. */
  readonly isTunnel: (index: number) => boolean;
  /** The tunnel that leads to a VTEP. */
  readonly tunnelTowards: (vtep: IpAddress) => number | undefined;
  /** MACs of this node's own endpoints: the bridge has them at their ports. */
  readonly localMacs: ReadonlySet<MacAddress>;
  readonly remotesByMac: ReadonlyMap<MacAddress, { readonly mac: MacAddress; readonly vtep: IpAddress }>;
  readonly remotesByIp: ReadonlyMap<IpAddress, { readonly mac: MacAddress }>;
  readonly localsByIp: ReadonlyMap<IpAddress, { readonly mac: MacAddress }>;
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

  constructor(desired: DesiredRows) {
    this.#desired = desired;
  }

  observeFdb(entry: FdbEntry): void {
    const { sharedTunnel, isTunnel, tunnelTowards, remotesByMac, localMacs, groupOf } = this.#desired;
    const isInBridge = entry.master !== undefined;
    if (isInBridge ? !isTunnel(entry.index) : entry.index !== sharedTunnel) return;
    if (entry.mac === zeroMac || (entry.flags & neighbourFlag.externallyLearned) === 0) return;
    const endpoint = remotesByMac.get(entry.mac);
    if (endpoint === undefined) {
      // The bridge holds one entry for a MAC: for one of this node's it will be the port's in a moment.
      if (!(isInBridge && localMacs.has(entry.mac)))
        this.#surplusFdb.push({ ...entry, flags: isInBridge ? neighbourFlag.master : neighbourFlag.self });
      // The desired row's text is there anyway; the one just read need not be kept.
    } else if (!isInBridge) {
      if (entry.nexthop !== undefined && entry.nexthop === groupOf(endpoint.vtep)) this.#inTunnel.add(endpoint.mac);
    } else if (entry.index === tunnelTowards(endpoint.vtep)) this.#inBridge.add(endpoint.mac);
  }

  observeNeighbour(entry: Neighbour): void {
    if (entry.index !== this.#desired.bridge || (entry.flags & neighbourFlag.externallyLearned) === 0) return;
    const { localsByIp, remotesByIp } = this.#desired;
    const endpoint = localsByIp.get(entry.ip) ?? remotesByIp.get(entry.ip);
    if (endpoint === undefined) this.#surplusNeighbours.push(entry);
    else if (entry.mac === endpoint.mac) this.#neighbours.add(entry.ip);
  }

  plan(): RowPlan {
    const { remotesByMac, remotesByIp, localsByIp, sharedTunnel } = this.#desired;
    const macs: MacAddress[] = [];
    for (const mac of remotesByMac.keys())
      if (!this.#inBridge.has(mac) || (sharedTunnel !== undefined && !this.#inTunnel.has(mac))) macs.push(mac);
    const ips: IpAddress[] = [];
    for (const ip of remotesByIp.keys()) if (!this.#neighbours.has(ip)) ips.push(ip);
    for (const ip of localsByIp.keys()) if (!this.#neighbours.has(ip) && !remotesByIp.has(ip)) ips.push(ip);
    return { macs, ips, surplusFdb: this.#surplusFdb, surplusNeighbours: this.#surplusNeighbours };
  }
}
