import type { IpAddress } from "../../base/ip.ts";
import { type FdbEntry, type Neighbour, type Route, routeType } from "../../netlink/index.ts";

/** Where rows lead, in the words of `weft fdb`, `weft neighbours`, `weft routes` and the fake kernel's text. */

/** How people know what the kernel has numbers for. */
export interface RowNames {
  /** By the index of a device. */
  readonly device: (index: number | undefined) => string;
  /** The VTEP that a nexthop, or a group of one, leads to. */
  readonly vtep: (nexthop: number) => IpAddress | undefined;
}

/** The VTEP, or the number of a nexthop that leads to none; empty: the device says it. */
export function fdbWay({ vtep, nexthop }: FdbEntry, names: RowNames): string {
  return vtep ?? (nexthop === undefined ? "" : (names.vtep(nexthop) ?? String(nexthop)));
}

/** Empty: the kernel does not know it yet. */
export function neighbourWay({ mac }: Neighbour): string {
  return mac ?? "";
}

/** `kind`: empty, if the route leads somewhere; so are next hop and device, if it has none. */
export function routeWay(
  { type = routeType.unicast, nexthops: [hop] }: Route,
  { device }: RowNames,
): { readonly kind: string; readonly gateway: string; readonly device: string } {
  const kind = type === routeType.unicast ? "" : (typeNames.get(type) ?? String(type));
  return { kind, gateway: hop?.gateway ?? "", device: hop === undefined ? "" : device(hop.index) };
}

const typeNames = new Map(Object.entries(routeType).map(([name, type]) => [type as number, name]));
