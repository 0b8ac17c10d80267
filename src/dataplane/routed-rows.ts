import { type Cidr, cidrFamily, networkAddress } from "../base/cidr.ts";
import type { IpAddress, IpFamily } from "../base/ip.ts";
import { linkLocalOf } from "../base/link-local.ts";
import type { MacAddress } from "../base/mac.ts";
import { isErrno } from "../linux/index.ts";
import {
  deleteFdbEntry,
  deleteNeighbour,
  deleteRoute,
  type FdbEntry,
  listFdbEntries,
  listNeighbours,
  listRoutes,
  type Neighbour,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Request,
  type Route,
  replaceFdbEntry,
  replaceNeighbour,
  replaceRoute,
  routeType,
} from "../netlink/index.ts";
import type { DesiredNetwork, RemoteBlock } from "./desired.ts";
import { carriesEthernet } from "./encapsulation/tunnel.ts";
import { routerMac, weftProtocol } from "./ownership.ts";
import type { Report } from "./report.ts";
import { consumed, type Row, type Rows } from "./rows.ts";
import type { Tunnels } from "./tunnels.ts";

export interface RoutedPlace {
  readonly socket: NetlinkSocket;
  readonly tunnels: Tunnels;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
  /** The way to the host, for blocks that are reached without a tunnel; `undefined` while there is none. */
  readonly uplink: (family: IpFamily) => { readonly index: number; readonly gateway: IpAddress } | undefined;
  readonly report: Report;
}

/** What the kernel needs to reach one block. */
export interface BlockRows {
  readonly route: Route;
  readonly neighbour?: Neighbour;
  readonly fdb?: FdbEntry;
}

type RowRequest = Request & { readonly row: Cidr };

/** linux/rtnetlink.h: RT_TABLE_MAIN. */
const mainTable = 254;

/**
 * The rows of a layer-3 network: for each block of another node a route; where the tunnel carries Ethernet frames also
 * a neighbour, its next hop, whose MAC is that of the other node's tunnel; and where one tunnel serves all VTEPs an FDB
 * entry for that MAC. They grow with nodes, not with endpoints.
 */
export class RoutedRows implements Rows {
  readonly #desired: DesiredNetwork;
  readonly #place: RoutedPlace;
  /** What was written or found for each block, to take it away when the block is gone. */
  readonly #present = new Map<Cidr, BlockRows>();
  readonly #damaged = new Set<Cidr>();

  constructor(desired: DesiredNetwork, place: RoutedPlace) {
    this.#desired = desired;
    this.#place = place;
  }

  async compare(): Promise<void> {
    const { socket, tunnels } = this.#place;
    const { changedBlocks } = this.#desired;
    const wanted = new Map(Array.from(this.prefixes(), (cidr) => [cidr, this.rowsTo(cidr)]));
    const neighbours = new Map<string, Neighbour>();
    const fdb = new Map<string, FdbEntry>();
    const routes = new Map<Cidr, Route>();
    const shared = tunnels.shared?.index;
    await socket.dump(
      consumed(listNeighbours(shared === undefined ? {} : { index: shared }), (entry) => {
        if (tunnels.has(entry.index) && (entry.flags & neighbourFlag.externallyLearned) !== 0)
          neighbours.set(`${entry.index} ${entry.ip}`, entry);
      }),
    );
    if (shared !== undefined)
      await socket.dump(
        consumed(listFdbEntries({ index: shared }), (entry) => {
          if (entry.index === shared && (entry.flags & neighbourFlag.externallyLearned) !== 0)
            fdb.set(`${entry.index} ${entry.mac}`, entry);
        }),
      );
    await socket.dump(
      consumed(listRoutes(), (route) => {
        const isOwn = route.protocol === weftProtocol && route.table === mainTable;
        if (isOwn && this.#desired.owns(route.destination)) routes.set(route.destination, route);
      }),
    );
    this.#present.clear();
    changedBlocks.clear();
    for (const [cidr, rows] of wanted) {
      const route = routes.get(cidr);
      routes.delete(cidr);
      const isThere =
        rows !== undefined &&
        route !== undefined &&
        isRouteAs(rows.route, route) &&
        (rows.neighbour === undefined ||
          neighbours.get(`${rows.neighbour.index} ${rows.neighbour.ip}`)?.mac === rows.neighbour.mac) &&
        (rows.fdb === undefined || fdb.get(`${rows.fdb.index} ${rows.fdb.mac}`)?.nexthop === rows.fdb.nexthop);
      if (isThere) this.#present.set(cidr, rows);
      else changedBlocks.add(cidr);
      if (rows?.neighbour !== undefined) neighbours.delete(`${rows.neighbour.index} ${rows.neighbour.ip}`);
    }
    for (const rows of wanted.values()) if (rows?.fdb !== undefined) fdb.delete(`${rows.fdb.index} ${rows.fdb.mac}`);
    // What an earlier run left: nobody wants it.
    await socket.batch([
      ...Array.from(routes.values(), deletionOf),
      ...Array.from(fdb.values(), (entry) => deleteFdbEntry({ ...entry, flags: neighbourFlag.self })),
      ...Array.from(neighbours.values(), ({ index, ip }) => deleteNeighbour(index, ip)),
    ]);
  }

  /** Neighbour, FDB entry, route when a block comes; the reverse when it goes. */
  async program(): Promise<Error | undefined> {
    const { changedBlocks } = this.#desired;
    const wanted = new Set(this.prefixes());
    if (changedBlocks.size === 0) return undefined;
    const cidrs = [...changedBlocks];
    changedBlocks.clear();
    const requests: RowRequest[] = [];
    const written: (readonly [Cidr, BlockRows])[] = [];
    const left: BlockRows[] = [];
    for (const cidr of cidrs) {
      const before = this.#present.get(cidr);
      const rows = this.rowsTo(cidr);
      if (wanted.has(cidr) && rows === undefined) {
        // The tunnel or nexthop comes with the next pass.
        changedBlocks.add(cidr);
        continue;
      }
      if (rows !== undefined) {
        for (const request of additionsOf(rows)) requests.push(Object.assign(request, { row: cidr }));
        written.push([cidr, rows]);
      } else if (before !== undefined) requests.push(Object.assign(deletionOf(before.route), { row: cidr }));
      if (before !== undefined) left.push(before);
      this.#present.delete(cidr);
    }
    for (const [cidr, rows] of written) this.#present.set(cidr, rows);
    for (const request of this.#obsolete(left))
      requests.push(Object.assign(request, { row: left[0]?.route.destination as Cidr }));
    const { failures } = await this.#place.socket.batch(requests);
    const real = failures.filter(({ request, error }) => !(isDeletion(request) && isGone(error)));
    for (const { request } of real) {
      const { row } = request as RowRequest;
      if (wanted.has(row)) changedBlocks.add(row);
    }
    for (const cidr of this.#damaged)
      this.#place.report({
        level: "warning",
        kind: "repaired",
        object: `route to ${cidr} of network ${this.#desired.settings.name}`,
        message: "had been changed or removed; set again",
      });
    this.#damaged.clear();
    return real[0]?.error;
  }

  /** Routes to the host's end of the uplink stay when the network's devices go. */
  async withdraw(): Promise<void> {
    const routes = Array.from(this.#present.values(), ({ route }) => deletionOf(route));
    this.#present.clear();
    await this.#place.socket.batch(routes);
  }

  onDeleted(row: Row): boolean {
    return this.#judge(row, undefined);
  }

  onWritten(row: Row): boolean {
    return this.#judge(row, row);
  }

  /**
   * The rows to a block as they shall be; `undefined` while the way there is missing. A subnet leads nowhere but for its
   * blocks: what nobody owns of it must not leave by a default route.
   */
  rowsTo(cidr: Cidr): BlockRows | undefined {
    const block = this.#desired.blocks.get(cidr);
    if (block !== undefined) return this.#rowsOf(block);
    return this.#leadsNowhere(cidr) ? { route: unreachableRoute(cidr) } : undefined;
  }

  /** Blocks of other nodes, and the subnets. */
  *prefixes(): Iterable<Cidr> {
    yield* this.#desired.blocks.keys();
    for (const subnet of this.#desired.settings.subnets) if (this.#leadsNowhere(subnet)) yield subnet;
  }

  /** A subnet of a single block is that block. */
  #leadsNowhere(cidr: Cidr): boolean {
    const { settings, blocks, localBlocks } = this.#desired;
    return settings.subnets.includes(cidr) && !blocks.has(cidr) && !localBlocks.has(cidr);
  }

  /** The next hops of all routes, each once. */
  get neighbours(): readonly Neighbour[] {
    const found = new Map<string, Neighbour>();
    for (const block of this.#desired.blocks.values()) {
      const neighbour = this.#rowsOf(block)?.neighbour;
      if (neighbour !== undefined) found.set(`${neighbour.index} ${neighbour.ip}`, neighbour);
    }
    return [...found.values()];
  }

  /** The MACs of other nodes' tunnels that the FDB names, each once. */
  get routers(): readonly { readonly mac: MacAddress; readonly vtep: IpAddress }[] {
    const found = new Map<MacAddress, IpAddress>();
    for (const block of this.#desired.blocks.values()) {
      const fdb = this.#rowsOf(block)?.fdb;
      if (fdb !== undefined) found.set(fdb.mac, block.vtep);
    }
    return Array.from(found, ([mac, vtep]) => ({ mac, vtep }));
  }

  /** `row` is now so, or gone. */
  #judge(row: Row, now: Row | undefined): boolean {
    for (const cidr of this.#blocksWith(row)) {
      const rows = this.#present.get(cidr);
      if (rows === undefined || this.rowsTo(cidr) === undefined) continue;
      if (now !== undefined && "destination" in now && isRouteAs(rows.route, now)) continue;
      if (now !== undefined && "ip" in now && now.mac === rows.neighbour?.mac) continue;
      this.#desired.changedBlocks.add(cidr);
      this.#damaged.add(cidr);
      return true;
    }
    return false;
  }

  *#blocksWith(row: Row): Iterable<Cidr> {
    if ("destination" in row) {
      if ((row.table ?? mainTable) === mainTable) yield row.destination;
      return;
    }
    for (const [cidr, { neighbour, fdb }] of this.#present)
      if ("ip" in row) {
        if (neighbour?.ip === row.ip && neighbour.index === row.index) yield cidr;
      } else if (fdb?.mac === row.mac && fdb.index === row.index) yield cidr;
  }

  /** Neighbours and FDB entries of blocks that went or moved, which no other block needs. */
  #obsolete(left: readonly BlockRows[]): Request[] {
    if (left.length === 0) return [];
    const neighbours = new Set<string>();
    const fdb = new Set<string>();
    for (const rows of this.#present.values()) {
      if (rows.neighbour !== undefined) neighbours.add(`${rows.neighbour.index} ${rows.neighbour.ip}`);
      if (rows.fdb !== undefined) fdb.add(`${rows.fdb.index} ${rows.fdb.mac}`);
    }
    const requests: Request[] = [];
    for (const rows of left)
      if (rows.fdb !== undefined && !fdb.has(`${rows.fdb.index} ${rows.fdb.mac}`))
        requests.push(deleteFdbEntry(rows.fdb));
    for (const { neighbour } of left)
      if (neighbour !== undefined && !neighbours.has(`${neighbour.index} ${neighbour.ip}`))
        requests.push(deleteNeighbour(neighbour.index, neighbour.ip));
    return requests;
  }

  #rowsOf({ cidr, vtep, isDirect }: RemoteBlock): BlockRows | undefined {
    const { tunnels, groupOf, uplink } = this.#place;
    const family = cidrFamily(cidr);
    if (isDirect) {
      const nexthop = uplink(family);
      return nexthop === undefined ? undefined : { route: routeTo(cidr, nexthop.index, nexthop.gateway) };
    }
    const tunnel = tunnels.towards(vtep);
    if (tunnel === undefined) return undefined;
    const { index } = tunnel;
    if (!carriesEthernet(tunnel.transport)) return { route: routeTo(cidr, index) };
    const mac = routerMac(vtep);
    // An IPv6 next hop inside the block would not do: the kernel refuses one that another route leads to, as the block's
    // own does while it moves to another tunnel.
    const gateway = family === 4 ? networkAddress(cidr) : linkLocalOf(mac);
    const route = routeTo(cidr, index, gateway);
    const neighbour: Neighbour = {
      index,
      ip: gateway,
      mac,
      state: neighbourState.permanent,
      flags: neighbourFlag.externallyLearned,
      protocol: weftProtocol,
    };
    if (tunnel !== tunnels.shared) return { route, neighbour };
    const nexthop = groupOf(vtep);
    if (nexthop === undefined) return undefined;
    const flags = neighbourFlag.self | neighbourFlag.externallyLearned;
    return {
      route,
      neighbour,
      fdb: { index, mac, state: neighbourState.permanent, flags, nexthop, protocol: weftProtocol },
    };
  }
}

function routeTo(destination: Cidr, index: number, gateway?: IpAddress): Route {
  return {
    destination,
    protocol: weftProtocol,
    nexthops: [{ index, ...(gateway === undefined ? {} : { gateway, onLink: true }) }],
  };
}

function unreachableRoute(destination: Cidr): Route {
  return { destination, protocol: weftProtocol, type: routeType.unreachable, nexthops: [] };
}

function isRouteAs(wanted: Route, actual: Route): boolean {
  if ((wanted.type ?? routeType.unicast) !== (actual.type ?? routeType.unicast)) return false;
  if (wanted.type === routeType.unreachable) return true;
  const [hop] = wanted.nexthops;
  const [other, ...more] = actual.nexthops;
  return (
    more.length === 0 &&
    actual.protocol === wanted.protocol &&
    other?.index === hop?.index &&
    other?.gateway === hop?.gateway
  );
}

function additionsOf({ route, neighbour, fdb }: BlockRows): Request[] {
  return [
    ...(neighbour === undefined ? [] : [replaceNeighbour(neighbour)]),
    ...(fdb === undefined ? [] : [replaceFdbEntry(fdb)]),
    replaceRoute(route),
  ];
}

/** By destination and protocol, wherever it leads. */
function deletionOf({ destination, protocol, type = routeType.unicast }: Route): Request {
  return deleteRoute({ destination, protocol, type, nexthops: [] });
}

/** Requests to delete carry no flags. */
function isDeletion(request: Request): boolean {
  return request.flags === 0;
}

function isGone(error: Error): boolean {
  return isErrno(error, "ENOENT") || isErrno(error, "ESRCH") || isErrno(error, "ENODEV");
}
