import type { Cidr } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import { type MacAddress, zeroMac } from "../../base/mac.ts";
import {
  deleteFdbEntry,
  deleteNeighbour,
  type FdbEntry,
  getFdbEntry,
  getNeighbour,
  listFdbEntries,
  listNeighbours,
  type Neighbour,
  neighbourFlag,
  neighbourState,
  replaceFdbEntry,
  replaceNeighbour,
} from "../../netlink/index.ts";
import type { Tunnels } from "../devices/tunnels.ts";
import { weftProtocol } from "../kernel-names.ts";
import type { ReconciledTable } from "../reconcile/reconciled-table.ts";
import type { Reconciler } from "../reconcile/reconciler.ts";
import { notYet, type Table } from "../reconcile/table.ts";
import type { BlockWays, Router } from "./block-ways.ts";
import { isSameNeighbour, permanentNeighbour } from "./bridge-neighbours.ts";
import { isMarkedFdb } from "./fdb-listing.ts";

/** Index of a tunnel and the gateway of routes through it: `7 10.8.0.64`. */
type HopKey = `${number} ${IpAddress}`;

/** What the routes to blocks lead through, as long as one of these blocks does. */
interface NextHop {
  readonly index: number;
  readonly gateway: IpAddress;
  readonly router: Router;
  readonly isShared: boolean;
  readonly blocks: Set<Cidr>;
}

/**
 * What routes of a layer-3 network need beside themselves where tunnels carry Ethernet frames: a neighbour for each gateway,
 * whose MAC is that of the other node's tunnel; and where one tunnel serves all VTEPs an FDB entry for that MAC. Both serve
 * several blocks, and grow with nodes.
 */
export class NextHops {
  readonly #ways: BlockWays;
  readonly #tunnels: Tunnels;
  readonly #hops = new Map<HopKey, NextHop>();
  readonly #hopOf = new Map<Cidr, HopKey>();
  /** Routers that the FDB names, with how many next hops lead there. */
  readonly #routers = new Map<MacAddress, { readonly router: Router; users: number }>();
  readonly neighbours: ReconciledTable<HopKey, Neighbour>;
  readonly fdb: ReconciledTable<MacAddress, FdbEntry>;

  constructor(ways: BlockWays, tunnels: Tunnels, reconciler: Reconciler) {
    this.#ways = ways;
    this.#tunnels = tunnels;
    this.neighbours = reconciler.add(this.#neighbourTable());
    this.fdb = reconciler.add(this.#fdbTable());
  }

  /** The MACs of other nodes' tunnels that the FDB names. */
  get routers(): readonly Router[] {
    return Array.from(this.#routers.values(), ({ router }) => router);
  }

  /** The block, or the way to it, may have changed. */
  follow(cidr: Cidr): void {
    const way = this.#ways.to(cidr);
    if (way === notYet) return;
    const before = this.#hopOf.get(cidr);
    let key: HopKey | undefined;
    if (way?.gateway !== undefined && way.router !== undefined) {
      const { index, gateway, router, isShared } = way;
      key = `${index} ${gateway}`;
      const present = this.#hops.get(key);
      if (present?.router.vtep !== router.vtep || present.isShared !== isShared) {
        this.#hops.set(key, { index, gateway, router, isShared, blocks: present?.blocks ?? new Set() });
        if (isShared) this.#useRouter(router);
        if (present?.isShared === true) this.#leaveRouter(present.router);
        this.neighbours.mark(key);
      }
      this.#hops.get(key)?.blocks.add(cidr);
      this.#hopOf.set(cidr, key);
    } else this.#hopOf.delete(cidr);
    if (before !== undefined && before !== key) this.#leave(before, cidr);
  }

  /** The nexthop group of a VTEP is another, or new. */
  followVtep(vtep: IpAddress): void {
    for (const [mac, { router }] of this.#routers) if (router.vtep === vtep) this.fdb.mark(mac);
  }

  #leave(key: HopKey, cidr: Cidr): void {
    const hop = this.#hops.get(key);
    if (hop === undefined) return;
    hop.blocks.delete(cidr);
    if (hop.blocks.size > 0) return;
    this.#hops.delete(key);
    this.neighbours.mark(key);
    if (hop.isShared) this.#leaveRouter(hop.router);
  }

  #useRouter(router: Router): void {
    const present = this.#routers.get(router.mac);
    this.#routers.set(router.mac, { router, users: (present?.users ?? 0) + 1 });
    this.fdb.mark(router.mac);
  }

  #leaveRouter({ mac }: Router): void {
    const present = this.#routers.get(mac);
    if (present === undefined) return;
    present.users--;
    if (present.users > 0) return;
    this.#routers.delete(mac);
    this.fdb.mark(mac);
  }

  #neighbourTable(): Table<HopKey, Neighbour> {
    const keyOf = ({ index, ip }: Neighbour): HopKey => `${index} ${ip}`;
    return {
      kind: "neighbour",
      keys: () => this.#hops.keys(),
      wanted: (key) => {
        const hop = this.#hops.get(key);
        return hop === undefined ? undefined : permanentNeighbour(hop.index, hop.gateway, hop.router.mac);
      },
      keyOf,
      list: () => {
        const { shared } = this.#tunnels;
        return [listNeighbours(shared === undefined ? {} : { index: shared.index })];
      },
      get: ({ index, ip }) => [getNeighbour(index, ip)],
      isOwn: ({ index, flags }) => this.#tunnels.has(index) && (flags & neighbourFlag.externallyLearned) !== 0,
      same: isSameNeighbour,
      put: replaceNeighbour,
      remove: ({ index, ip }) => deleteNeighbour(index, ip),
      left: (key) => {
        const [index, ip] = key.split(" ") as [string, IpAddress];
        return [{ index: Number(index), ip, state: 0, flags: 0 }];
      },
      nameOf: (key) => key.slice(key.indexOf(" ") + 1),
    };
  }

  #fdbTable(): Table<MacAddress, FdbEntry> {
    const flags = neighbourFlag.self | neighbourFlag.externallyLearned;
    return {
      kind: "FDB entry",
      keys: () => this.#routers.keys(),
      wanted: (mac) => {
        const router = this.#routers.get(mac)?.router;
        if (router === undefined) return undefined;
        const index = this.#tunnels.shared?.index;
        const nexthop = this.#ways.groupOf(router);
        if (index === undefined || nexthop === undefined) return notYet;
        return { index, mac, state: neighbourState.permanent, flags, nexthop, protocol: weftProtocol };
      },
      keyOf: ({ mac }) => mac,
      list: () => {
        const { shared } = this.#tunnels;
        return shared === undefined ? [] : [listFdbEntries({ index: shared.index })];
      },
      get: ({ index, mac }) => [getFdbEntry(index, mac, "self")],
      isOwn: (entry) => entry.index === this.#tunnels.shared?.index && entry.mac !== zeroMac && isMarkedFdb(entry),
      same: (wanted, { index, nexthop }) => index === wanted.index && nexthop === wanted.nexthop,
      put: replaceFdbEntry,
      remove: (entry) => deleteFdbEntry({ ...entry, flags: neighbourFlag.self }),
      left: (mac) => {
        const { shared } = this.#tunnels;
        return shared === undefined ? [] : [{ index: shared.index, mac, state: 0, flags }];
      },
      nameOf: (mac) => mac,
    };
  }
}
