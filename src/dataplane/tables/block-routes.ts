import type { Cidr } from "../../base/cidr.ts";
import {
  deleteRoute,
  listRoutes,
  type Query,
  type Request,
  type Route,
  replaceRoute,
  routeType,
} from "../../netlink/index.ts";
import type { DesiredNetwork } from "../desired.ts";
import { weftProtocol } from "../kernel-names.ts";
import { notYet, type Table } from "../reconcile/table.ts";
import type { BlockWays } from "./block-ways.ts";

/** linux/rtnetlink.h: RT_TABLE_MAIN. */
const mainTable = 254;

/**
 * The routes of a layer-3 network: to the blocks of other nodes; and its subnets lead nowhere, because what nobody owns of
 * them must not leave by a default route.
 */
export class BlockRoutes implements Table<Cidr, Route> {
  readonly kind = "route to";
  /** Those to nowhere, and those by the uplink. */
  readonly outlivesDevices = true;
  readonly #desired: DesiredNetwork;
  readonly #ways: BlockWays;

  constructor(desired: DesiredNetwork, ways: BlockWays) {
    this.#desired = desired;
    this.#ways = ways;
  }

  *keys(): Iterable<Cidr> {
    yield* this.#desired.blocks.keys();
    for (const subnet of this.#desired.settings.subnets) if (this.#leadsNowhere(subnet)) yield subnet;
  }

  wanted(cidr: Cidr): Route | typeof notYet | undefined {
    const way = this.#ways.to(cidr);
    const route = { destination: cidr, protocol: weftProtocol };
    if (way === undefined)
      return this.#leadsNowhere(cidr) ? { ...route, type: routeType.unreachable, nexthops: [] } : undefined;
    if (way === notYet) return notYet;
    const { index, gateway, router, isShared } = way;
    // Without its FDB entry the route would lead nowhere.
    if (router !== undefined && isShared && this.#ways.groupOf(router) === undefined) return notYet;
    return { ...route, nexthops: [{ index, ...(gateway === undefined ? {} : { gateway, onLink: true }) }] };
  }

  keyOf({ destination }: Route): Cidr {
    return destination;
  }

  list(): readonly Query<Route>[] {
    return [listRoutes()];
  }

  isOwn({ destination, protocol, table = mainTable }: Route): boolean {
    return protocol === weftProtocol && table === mainTable && this.#desired.owns(destination);
  }

  same(wanted: Route, actual: Route): boolean {
    return isSameRoute(wanted, actual);
  }

  put(route: Route): Request {
    return replaceRoute(route);
  }

  /** By destination and protocol, wherever it leads. */
  remove({ destination, protocol, type = routeType.unicast }: Route): Request {
    return deleteRoute({ destination, protocol, type, nexthops: [] });
  }

  /** Of whatever type: a subnet of a single block leads there, and nowhere without it. */
  left(destination: Cidr): readonly Route[] {
    return [{ destination, protocol: weftProtocol, type: routeType.unspecified, nexthops: [] }];
  }

  nameOf(cidr: Cidr): string {
    return cidr;
  }

  /** A subnet of a single block is that block. */
  #leadsNowhere(cidr: Cidr): boolean {
    const { settings, blocks, localBlocks } = this.#desired;
    return settings.subnets.includes(cidr) && !blocks.has(cidr) && !localBlocks.has(cidr);
  }
}

/** Whether a route is the one of the main table that is wanted to its destination, of the same protocol and by the same way. */
export function isSameRoute(wanted: Route, actual: Route): boolean {
  const { type = routeType.unicast, table = mainTable } = actual;
  if (table !== mainTable || actual.protocol !== wanted.protocol) return false;
  if (type !== (wanted.type ?? routeType.unicast)) return false;
  if (type === routeType.unreachable) return true;
  const [hop] = wanted.nexthops;
  const [other, ...more] = actual.nexthops;
  return more.length === 0 && other?.index === hop?.index && other?.gateway === hop?.gateway;
}
