import { type Cidr, cidrContains, cidrFamily, hostPrefix, prefixLengthOf } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { familyOf, type IpAddress, ipToBigInt } from "../../base/ip.ts";
import { linkOfRoute, type Route, routeType } from "../../netlink/index.ts";
import { routeMetric, type UplinkIdentity, weftProtocol } from "../kernel-names.ts";
import { isSameRoute } from "../tables/block-routes.ts";
import type { PairAddresses } from "./addresses.ts";
import type { UplinkRequest } from "./request.ts";
import { mainTable } from "./routing-tables.ts";
import { type Span, spanOf, spansOverlap } from "./span.ts";

/** linux/rtnetlink.h: RT_TABLE_LOCAL. */
const localTable = 255;

/** A default route, or one half of it, as VPN clients have them: what leads everywhere is not about this prefix. */
export const widestDefault = 1;

export interface HostRouteInput {
  readonly identity: UplinkIdentity;
  readonly request: UplinkRequest;
  /** Index of the host's end of the pair. */
  readonly device: number;
  readonly addresses: PairAddresses;
  /** All routes of the underlay's namespace. */
  readonly routes: readonly Route[];
  /** A device's name, by its index. */
  readonly nameOf: (index: number) => string;
}

export interface HostRoutePlan {
  /** What this uplink has on the host, by destination. */
  readonly wanted: ReadonlyMap<Cidr, Route>;
  /** To be written. */
  readonly missing: readonly Route[];
  /** Of this uplink, and not wanted any more. */
  readonly surplus: readonly Route[];
  /** Floating addresses that this node answers for, with the device on whose link each is. */
  readonly answered: ReadonlyMap<IpAddress, number>;
  /** Prefixes that the host routes otherwise, VTEPs and floating addresses that are on no link. */
  readonly refusals: readonly WeftError[];
}

/** Whether the route is one of this uplink, made now or by an earlier run. */
export function isOwnRoute(route: Route, metric: number): boolean {
  return route.protocol === weftProtocol && route.priority === metric && route.table === mainTable;
}

/** The routes by which the host reaches a tenant and the blocks of other nodes. Never in the way of a route of the host. */
export function planHostRoutes(input: HostRouteInput): HostRoutePlan {
  const { identity, request, device, addresses, routes, nameOf } = input;
  const metric = routeMetric(identity);
  const own = routes.filter((route) => isOwnRoute(route, metric));
  const leadsThere = ({ nexthops }: Route): boolean => nexthops.some(({ index }) => index === device);
  const foreign = routes
    .filter((route) => !isOwnRoute(route, metric) && !leadsThere(route) && isTaken(route))
    .map(withSpan);
  const links = foreign.filter(({ route }) => route.table === mainTable && route.type === routeType.unicast);
  const wanted = new Map<Cidr, Route>();
  const refusals: WeftError[] = [];
  const want = (destination: Cidr, index: number, gateway: IpAddress): void => {
    wanted.set(destination, {
      destination,
      table: mainTable,
      protocol: weftProtocol,
      priority: metric,
      nexthops: [{ index, gateway }],
    });
  };
  const isFree = (prefix: Cidr): boolean => {
    const span = spanOf(prefix);
    const taken = foreign.find((present) => isConflict(present, span, prefix));
    if (taken !== undefined) refusals.push(conflict(identity, prefix, taken.route, nameOf));
    return taken === undefined;
  };
  const inward = new Set([...request.hostAccess.map(({ prefix }) => prefix), ...request.directInward]);
  for (const prefix of inward) if (isFree(prefix)) want(prefix, device, addresses[cidrFamily(prefix)].tenant);
  const onLink = new Map<IpAddress, number | undefined>();
  for (const { prefix, vtep } of request.direct) {
    if (!onLink.has(vtep)) onLink.set(vtep, linkOf(vtep, links));
    const index = onLink.get(vtep);
    if (cidrFamily(prefix) === 6 && familyOf(vtep) === 4) refusals.push(noSuchGateway(identity, prefix, vtep));
    else if (index === undefined) refusals.push(notOnLink(identity, prefix, vtep));
    else if (isFree(prefix)) want(prefix, index, vtep);
  }
  const answered = new Map<IpAddress, number>();
  for (const { outside, isAnnounced } of request.floating) {
    const destination = hostPrefix(outside);
    const taken = foreign.find(({ route }) => hasAddress(route, outside) || route.destination === destination);
    if (taken !== undefined) {
      refusals.push(floatingConflict(identity, outside, taken.route, nameOf));
      continue;
    }
    want(destination, device, addresses[familyOf(outside)].tenant);
    const index = isAnnounced ? linkOf(outside, links) : undefined;
    if (index !== undefined) answered.set(outside, index);
    else if (isAnnounced) refusals.push(floatingNotOnLink(outside));
  }
  const present = new Map(own.map((route) => [route.destination, route]));
  return {
    wanted,
    missing: [...wanted.values()].filter((route) => {
      const there = present.get(route.destination);
      return there === undefined || !isSameRoute(route, there);
    }),
    surplus: own.filter((route) => !wanted.has(route.destination)),
    answered,
    refusals,
  };
}

/** A route by which packets for the prefix go, or for a part of it, that `isOwn` does not know; `undefined`: none. */
export function routeInTheWay(
  prefix: Cidr,
  routes: readonly Route[],
  isOwn: (route: Route) => boolean,
): Route | undefined {
  const span = spanOf(prefix);
  return routes.find((route) => !isOwn(route) && isTaken(route) && isConflict(withSpan(route), span, prefix));
}

interface SpannedRoute extends Span {
  readonly route: Route;
}

function withSpan(route: Route): SpannedRoute {
  return { ...spanOf(route.destination), route };
}

/** Whether the host has the address itself. */
function hasAddress({ type, destination }: Route, address: IpAddress): boolean {
  return type === routeType.local && cidrContains(destination, address);
}

/** Whether somebody else's packets take this route: the host's own addresses, and what it routes anywhere but by default. */
function isTaken(route: Route): boolean {
  if (route.table === localTable) return route.type === routeType.local;
  return route.table === mainTable && prefixLengthOf(route.destination) > widestDefault;
}

function isConflict(present: SpannedRoute, wanted: Span, prefix: Cidr): boolean {
  if (!spansOverlap(present, wanted)) return false;
  const { route } = present;
  // A wide route to nowhere takes what has no other route; it is no other route itself.
  const leadsNowhere = route.type !== routeType.unicast && route.type !== routeType.local;
  return !(leadsNowhere && prefixLengthOf(route.destination) < prefixLengthOf(prefix));
}

/** The device on whose link the address is; `undefined` when the host reaches it through a router, or not at all. */
function linkOf(address: IpAddress, links: readonly SpannedRoute[]): number | undefined {
  const family = familyOf(address);
  const value = ipToBigInt(address);
  let best: Route | undefined;
  for (const { route, first, last, family: other } of links)
    if (other === family && first <= value && value <= last)
      if (best === undefined || isBetter(route, best)) best = route;
  return best === undefined ? undefined : linkOfRoute(best);
}

function isBetter(route: Route, than: Route): boolean {
  const longer = prefixLengthOf(route.destination) - prefixLengthOf(than.destination);
  return longer > 0 || (longer === 0 && (route.priority ?? 0) < (than.priority ?? 0));
}

function conflict(identity: UplinkIdentity, prefix: Cidr, route: Route, nameOf: (index: number) => string): WeftError {
  const devices = route.nexthops.flatMap(({ index }) => (index === undefined ? [] : [nameOf(index)]));
  const what = route.type === routeType.local ? "has the address" : "routes";
  return new WeftError({
    code: "already-exists",
    attempted: `route ${prefix} to tenant ${identity.tenant}`,
    reason: `the host ${what} ${route.destination}${devices.length > 0 ? ` on ${devices.join(", ")}` : ""}`,
    hint: "give the network another subnet, or turn off what asks for this route: hostAccess, or an encapsulation without tunnels",
  });
}

function floatingConflict(
  { tenant }: UplinkIdentity,
  address: IpAddress,
  route: Route,
  nameOf: (index: number) => string,
): WeftError {
  const devices = route.nexthops.flatMap(({ index }) => (index === undefined ? [] : [nameOf(index)]));
  const what = route.type === routeType.local ? "has the address" : "routes it";
  return new WeftError({
    code: "already-exists",
    attempted: `take the floating address ${address} for tenant ${tenant}`,
    reason: `the host ${what} itself${devices.length > 0 ? ` on ${devices.join(", ")}` : ""}`,
    hint: "choose an address that no host has",
  });
}

function floatingNotOnLink(address: IpAddress): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted: `answer for the floating address ${address}`,
    reason: "it is on no link of this node",
    hint: `route it to this node and say so: weft floating-address set ${address} --announce none`,
  });
}

function notOnLink(identity: UplinkIdentity, prefix: Cidr, vtep: IpAddress): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted: `route ${prefix} of tenant ${identity.tenant} to VTEP ${vtep}`,
    reason: `VTEP ${vtep} is not on a link of this node`,
    hint: "give the network an encapsulation, or crossSubnet",
  });
}

function noSuchGateway(identity: UplinkIdentity, prefix: Cidr, vtep: IpAddress): WeftError {
  return new WeftError({
    code: "unsupported",
    attempted: `route ${prefix} of tenant ${identity.tenant} to VTEP ${vtep}`,
    reason: "Linux routes IPv6 to IPv6 gateways only",
    hint: "give the nodes IPv6 VTEP addresses, or the network an encapsulation",
  });
}
