import { type Cidr, prefixLengthOf } from "../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily } from "../base/ip.ts";
import { SystemError } from "../linux/index.ts";
import {
  type Link,
  linkOfRoute,
  listNexthops,
  listRoutes,
  lookUpRoute,
  type NetlinkSocket,
  type Nexthop,
  type Route,
  routeType,
} from "../netlink/index.ts";

/** How packets from one of this node's VTEP addresses travel to the other nodes'. */
export interface UnderlayPaths {
  /** Octets of the largest packet that all routes to the VTEPs, and the links that they lead to, take. */
  readonly mtu: number;
  /** Index of the interface with the smallest MTU among those that packets leave by; `undefined`: there is none. */
  readonly interfaceIndex: number | undefined;
  /** Indexes of all of them. */
  readonly interfaces: ReadonlySet<number>;
  /** For each VTEP that there is a route to: whether it is on a link of this node. */
  readonly onLink: ReadonlyMap<IpAddress, boolean>;
}

/** Octets; of an underlay that nothing is known of. RFC 894. */
const defaultMtu = 1500;

/** Look-ups in one turn of the event loop: a few milliseconds. */
const lookUpsPerTurn = 64;

/** No packet leaves the host by it, so that its MTU says nothing of the underlay. */
export function leadsNowhere({ loopback, info }: Link): boolean {
  return loopback === true || info.kind === "dummy";
}

/**
 * Asks the kernel for the route from `source` to each of `peers`: rules, several next hops and what the routing daemons
 * of the host have decided are in its answer. Without a way to any of them it is where packets leave the host by default.
 */
export async function readPaths(
  socket: NetlinkSocket,
  source: IpAddress,
  peers: Iterable<IpAddress>,
  links: readonly Link[],
): Promise<UnderlayPaths> {
  const family = familyOf(source);
  const byIndex = new Map(links.map((link) => [link.index, link]));
  const onLink = new Map<IpAddress, boolean>();
  const routes: Route[] = [];
  const nexthops = new NexthopNames(socket);
  let count = 0;
  for (const peer of peers) {
    if (familyOf(peer) !== family) continue;
    if (++count % lookUpsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
    const route = await routeTo(socket, peer, source);
    if (route === undefined) continue;
    const resolved = await nexthops.resolve(route);
    onLink.set(peer, linkOfRoute(resolved) !== undefined);
    routes.push(resolved);
  }
  const leaving = routes.length > 0 ? routes : outward(await socket.dump(listRoutes()), family, byIndex);
  return { ...limitOf(leaving, byIndex), onLink };
}

/** `undefined`: there is none, or it leads nowhere. */
async function routeTo(socket: NetlinkSocket, peer: IpAddress, source: IpAddress): Promise<Route | undefined> {
  try {
    const destination = `${peer}/${familyOf(peer) === 4 ? 32 : 128}` as Cidr;
    const route = await socket.get(lookUpRoute(destination, source));
    return route.type === routeType.unicast ? route : undefined;
  } catch (error) {
    if (error instanceof SystemError) return undefined;
    throw error;
  }
}

/** Where nobody is known yet: the default routes, or, on a host that has none, all that lead out of it. */
function outward(routes: readonly Route[], family: IpFamily, links: ReadonlyMap<number, Link>): readonly Route[] {
  const out = routes.filter(
    ({ destination, type, nexthops }) =>
      type === routeType.unicast &&
      familyOf(destination.slice(0, destination.indexOf("/")) as IpAddress) === family &&
      nexthops.some(({ index }) => isWayOut(links.get(index ?? 0))),
  );
  const byDefault = out.filter(({ destination }) => prefixLengthOf(destination) === 0);
  return byDefault.length > 0 ? byDefault : out;
}

function isWayOut(link: Link | undefined): boolean {
  return link !== undefined && !leadsNowhere(link);
}

function limitOf(
  routes: readonly Route[],
  links: ReadonlyMap<number, Link>,
): Pick<UnderlayPaths, "mtu" | "interfaceIndex" | "interfaces"> {
  let mtu = Number.POSITIVE_INFINITY;
  let narrowest: Link | undefined;
  const interfaces = new Set<number>();
  for (const { nexthops, mtu: routeMtu = Number.POSITIVE_INFINITY } of routes)
    for (const { index = 0 } of nexthops) {
      const link = links.get(index);
      if (link === undefined || !isWayOut(link)) continue;
      interfaces.add(index);
      mtu = Math.min(mtu, link.mtu, routeMtu);
      if (narrowest === undefined || link.mtu < narrowest.mtu) narrowest = link;
    }
  return { mtu: interfaces.size > 0 ? mtu : defaultMtu, interfaceIndex: narrowest?.index, interfaces };
}

/** Where net.ipv4.nexthop_compat_mode is off the kernel names a route's nexthop object and not what it stands for. */
class NexthopNames {
  readonly #socket: NetlinkSocket;
  #byId: ReadonlyMap<number, Nexthop> | undefined;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  async resolve(route: Route): Promise<Route> {
    if (route.nexthopId === undefined || route.nexthops.length > 0) return route;
    this.#byId ??= new Map((await this.#socket.dump(listNexthops())).map((nexthop) => [nexthop.id, nexthop]));
    const members = this.#byId.get(route.nexthopId)?.group ?? [{ id: route.nexthopId }];
    const nexthops = members.flatMap(({ id }) => {
      const { interfaceIndex: index, gateway } = this.#byId?.get(id) ?? {};
      return index === undefined ? [] : [{ index, ...(gateway === undefined ? {} : { gateway }) }];
    });
    return { ...route, nexthops };
  }
}
