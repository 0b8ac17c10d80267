import type { Cidr } from "../base/cidr.ts";
import type { Clock } from "../base/clock.ts";
import type { IpAddress } from "../base/ip.ts";
import { type MacAddress, zeroMac } from "../base/mac.ts";
import type { FdbEntry, Neighbour, NetlinkSocket, Route } from "../netlink/index.ts";
import type { RowMarks } from "./desired.ts";
import type { ReconciledTable } from "./reconcile/reconciled-table.ts";
import { Reconciler } from "./reconcile/reconciler.ts";
import { notYet } from "./reconcile/table.ts";
import { BlockRoutes } from "./tables/block-routes.ts";
import { BlockWays, type BlockWaysOptions } from "./tables/block-ways.ts";
import { BridgeFdb } from "./tables/bridge-fdb.ts";
import { BridgeNeighbours } from "./tables/bridge-neighbours.ts";
import { FdbListing } from "./tables/fdb-listing.ts";
import { FloodList } from "./tables/flood-list.ts";
import { NextHops } from "./tables/next-hops.ts";

export interface NetworkRowsOptions extends BlockWaysOptions {
  readonly socket: NetlinkSocket;
  readonly clock: Clock;
  readonly bridgeIndex: () => number;
  /** The bridge's neighbour for an address is as it shall be. */
  readonly onNeighbour: (ip: IpAddress) => void;
  readonly onRepaired: (kind: string, name: string) => void;
}

/** The rows of one network in the kernel's tables: which tables it has, and the order in which they come up. */
export class NetworkRows implements RowMarks {
  readonly #options: NetworkRowsOptions;
  readonly #reconciler: Reconciler;
  readonly #bridgeFdb: BridgeFdb | undefined;
  readonly neighbours: ReconciledTable<IpAddress, Neighbour>;
  /** Of a layer-2 network. */
  readonly layer2: { readonly flood: FloodList; readonly floodRows: FloodRows; readonly fdb: FdbRows } | undefined;
  /** Of a layer-3 network. */
  readonly layer3: { readonly hops: NextHops; readonly routes: ReconciledTable<Cidr, Route> } | undefined;

  constructor(options: NetworkRowsOptions) {
    this.#options = options;
    const { desired, tunnels, bridgeIndex, onNeighbour } = options;
    const reconciler = new Reconciler(options);
    this.#reconciler = reconciler;
    const neighbours = new BridgeNeighbours({ desired, bridgeIndex, onDone: onNeighbour });
    if (desired.settings.mode === "l2") {
      const listing = new FdbListing(tunnels, bridgeIndex);
      const flood = new FloodList(desired, tunnels, listing);
      const floodRows = reconciler.add(flood);
      this.neighbours = reconciler.add(neighbours);
      this.#bridgeFdb = new BridgeFdb({ ...options, listing });
      this.layer2 = { flood, floodRows, fdb: reconciler.add(this.#bridgeFdb) };
    } else {
      const ways = new BlockWays(options);
      this.neighbours = reconciler.add(neighbours);
      const hops = new NextHops(ways, tunnels, reconciler);
      this.layer3 = { hops, routes: reconciler.add(new BlockRoutes(desired, ways)) };
    }
  }

  mac(mac: MacAddress): void {
    this.layer2?.fdb.mark(mac);
  }

  ip(ip: IpAddress): void {
    this.neighbours.mark(ip);
  }

  block(cidr: Cidr): void {
    this.layer3?.hops.follow(cidr);
    this.layer3?.routes.mark(cidr);
  }

  flooded(vtep: IpAddress): void {
    for (const key of this.layer2?.flood.keysTo(vtep) ?? []) this.layer2?.floodRows.mark(key);
  }

  /** All rows to VTEPs whose nexthop was made anew: the kernel dropped them with the old one. */
  onNexthopRenewed(vteps: ReadonlySet<IpAddress>): void {
    this.#options.desired.markRowsTo(vteps);
    for (const vtep of vteps) this.layer3?.hops.followVtep(vtep);
  }

  /** The devices that hold the rows are new, but for those of the tables that have others' rows, too. */
  beginEmpty(): void {
    if (this.layer2 !== undefined) this.#reconciler.beginEmpty();
    else this.markAll();
  }

  markAll(): void {
    for (const cidr of this.#options.desired.blocks.keys()) this.layer3?.hops.follow(cidr);
    this.#reconciler.markAll();
  }

  distrust(): void {
    this.#reconciler.distrust();
  }

  /** Whether a pass would do something now. */
  get hasWork(): boolean {
    return this.#reconciler.hasWork;
  }

  /** Whether the kernel has what is wanted, as far as is known. */
  get isSettled(): boolean {
    return this.#reconciler.isSettled;
  }

  /** Writes what differs. Returns the first refusal that stands; rejects when it is not known what the kernel did. */
  pass(): ReturnType<Reconciler["pass"]> {
    if (this.layer3 !== undefined) {
      const { hops, routes } = this.layer3;
      // Tunnels may have come since.
      for (const cidr of routes.isKnown ? routes.pending : this.#options.desired.blocks.keys()) hops.follow(cidr);
    }
    return this.#reconciler.pass();
  }

  /** Takes away what does not go with the network's devices. */
  withdraw(): Promise<void> {
    return this.#reconciler.withdraw();
  }

  /** What shall lead to the MAC; `undefined`: nothing, or nothing yet. */
  fdbEntryOf(mac: MacAddress): FdbEntry | undefined {
    const wanted = this.#bridgeFdb?.wanted(mac);
    return wanted === notYet ? undefined : wanted;
  }

  /** A neighbour is now so, or gone. Tells whether there is something to restore. */
  observeNeighbour(row: Neighbour, isGone: boolean): boolean {
    if (row.index === this.#options.bridgeIndex()) return this.neighbours.observe(row, isGone);
    return this.layer3?.hops.neighbours.observe(row, isGone) === true;
  }

  /** An FDB entry is now so, or gone. Tells whether there is something to restore. */
  observeFdb(row: FdbEntry, isGone: boolean): boolean {
    if (this.layer2 === undefined) return this.layer3?.hops.fdb.observe(row, isGone) === true;
    if (row.mac === zeroMac) return this.layer2.floodRows.observe(row, isGone);
    // What nobody declared may turn up behind a port of this node: it has moved here, and the server is told.
    const { desired, tunnels } = this.#options;
    if (desired.remotesByMac.get(row.mac)?.isLearned === true && !tunnels.has(row.index)) return false;
    return this.layer2.fdb.observe(row, isGone);
  }

  /** A route is now so, or gone. Tells whether there is something to restore. */
  observeRoute(row: Route, isGone: boolean): boolean {
    return this.layer3?.routes.observe(row, isGone) === true;
  }
}

type FloodRows = ReconciledTable<ReturnType<FloodList["keyOf"]>, FdbEntry>;
type FdbRows = ReconciledTable<MacAddress, FdbEntry>;
