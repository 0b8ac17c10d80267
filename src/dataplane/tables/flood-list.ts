import { type IpAddress, ip } from "../../base/ip.ts";
import { zeroMac } from "../../base/mac.ts";
import { isErrno } from "../../linux/index.ts";
import {
  appendFdbEntry,
  deleteFdbEntry,
  type FdbEntry,
  neighbourFlag,
  neighbourState,
  type Query,
  type Request,
} from "../../netlink/index.ts";
import type { DesiredNetwork } from "../desired.ts";
import type { Tunnels } from "../devices/tunnels.ts";
import type { Table } from "../reconcile/table.ts";
import type { FdbListing } from "./fdb-listing.ts";

/** Index of a tunnel and a VTEP, or a group: `7 192.0.2.2`. */
export type FloodKey = `${number} ${IpAddress}`;

/**
 * The flood list of each VXLAN tunnel of a layer-2 network: who gets a copy of each flooded frame (head-end replication,
 * RFC 7432 §11). Tunnels on standby have theirs already, so that nothing is missed in the moment of change.
 */
export class FloodList implements Table<FloodKey, FdbEntry> {
  readonly kind = "flood entry";
  readonly #desired: DesiredNetwork;
  readonly #tunnels: Tunnels;
  readonly #listing: FdbListing;

  constructor(desired: DesiredNetwork, tunnels: Tunnels, listing: FdbListing) {
    this.#desired = desired;
    this.#tunnels = tunnels;
    this.#listing = listing;
  }

  *keys(): Iterable<FloodKey> {
    const { floodList } = this.#desired;
    for (const index of this.#tunnels.sharedIndexes) for (const vtep of floodList) yield `${index} ${vtep}`;
  }

  /** The entries for one VTEP. */
  *keysTo(vtep: IpAddress): Iterable<FloodKey> {
    for (const index of this.#tunnels.sharedIndexes) yield `${index} ${vtep}`;
  }

  wanted(key: FloodKey): FdbEntry | undefined {
    const entry = entryOf(key);
    if (entry?.vtep === undefined || !this.#desired.floodsTo(entry.vtep) || !this.#isShared(entry.index))
      return undefined;
    const { multicast } = this.#desired.settings;
    return multicast?.address === entry.vtep ? { ...entry, viaIndex: multicast.interfaceIndex } : entry;
  }

  keyOf({ index, mac, vtep }: FdbEntry): FloodKey {
    return mac === zeroMac && vtep !== undefined ? `${index} ${vtep}` : noKey;
  }

  list(): readonly Query<FdbEntry>[] {
    return this.#listing.queries;
  }

  /** The kernel keeps one set of marks for the whole list of a tunnel, which is weft's as the tunnel is. */
  isOwn(entry: FdbEntry): boolean {
    return entry.mac === zeroMac && entry.vtep !== undefined && this.#tunnels.has(entry.index);
  }

  /** The kernel's own entry for the group that the tunnel was made with will do. */
  same(wanted: FdbEntry, actual: FdbEntry): boolean {
    return actual.index === wanted.index && actual.vtep === wanted.vtep;
  }

  put(entry: FdbEntry): Request {
    return appendFdbEntry(entry);
  }

  isDone(error: Error): boolean {
    return isErrno(error, "EEXIST");
  }

  remove(entry: FdbEntry): Request {
    return deleteFdbEntry({ ...entry, flags });
  }

  left(key: FloodKey): readonly FdbEntry[] {
    const entry = entryOf(key);
    return entry !== undefined && this.#isShared(entry.index) ? [entry] : [];
  }

  nameOf(key: FloodKey): string {
    return entryOf(key)?.vtep ?? key;
  }

  #isShared(index: number): boolean {
    return this.#tunnels.get(index)?.peer === undefined && this.#tunnels.has(index);
  }
}

const flags = neighbourFlag.self | neighbourFlag.externallyLearned;
/** Of what is in no flood list. */
const noKey: FloodKey = `0 ${ip("0.0.0.0")}`;

function entryOf(key: FloodKey): FdbEntry | undefined {
  if (key === noKey) return undefined;
  const [index, vtep] = key.split(" ") as [string, IpAddress];
  return { index: Number(index), mac: zeroMac, state: neighbourState.permanent, flags, vtep };
}
