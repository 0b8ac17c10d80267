import type { IpAddress } from "../../base/ip.ts";
import {
  type FdbEntry,
  type Neighbour,
  type Nexthop,
  neighbourFlag,
  neighbourState,
  type Route,
  routeType,
} from "../../netlink/index.ts";

/** How people know what the kernel has numbers for. */
export interface RowNames {
  /** By the index of a device. */
  readonly device: (index: number | undefined) => string;
  /** The VTEP that a nexthop, or a group of one, leads to. */
  readonly vtep: (nexthop: number) => IpAddress | undefined;
}

/** As `ip neighbour` has it. */
export function neighbourText({ index, ip, mac, state, flags }: Neighbour, { device }: RowNames): string {
  const age = (state & neighbourState.permanent) === 0 ? "" : " permanent";
  return `${ip} dev ${device(index)} lladdr ${mac ?? "unknown"}${marksOf(flags)}${age}`;
}

/** As `bridge fdb` has it, with the VTEP of a nexthop in place of its number. */
export function fdbText({ index, mac, vtep, nexthop, master, flags }: FdbEntry, names: RowNames): string {
  const place =
    vtep !== undefined ? ` dst ${vtep}` : nexthop !== undefined ? ` nh ${names.vtep(nexthop) ?? nexthop}` : "";
  const table = master === undefined ? "self" : `master ${names.device(master)}`;
  return `${mac} dev ${names.device(index)}${place} ${table}${marksOf(flags)}`;
}

const typeNames = new Map(Object.entries(routeType).map(([name, type]) => [type as number, name]));

/** As `ip route` has it. */
export function routeText(
  { destination, type, nexthops: [hop], table, protocol, priority }: Route,
  { device }: RowNames,
): string {
  const kind = type === undefined || type === routeType.unicast ? "" : `${typeNames.get(type) ?? type} `;
  const gateway = hop?.gateway === undefined ? "" : ` via ${hop.gateway}`;
  const way = hop === undefined ? "" : `${gateway} dev ${device(hop.index)}`;
  const of = table === undefined ? "" : ` table ${table}`;
  return `${kind}${destination}${way}${of} proto ${protocol}${priority === undefined ? "" : ` metric ${priority}`}`;
}

/** As `ip nexthop` has it, without its number. */
export function nexthopText({ gateway, group, fdb }: Nexthop, { vtep }: RowNames): string {
  const members = group?.map(({ id }) => vtep(id) ?? id).join("/");
  return `${members === undefined ? `via ${gateway}` : `group of ${members}`}${fdb === true ? " fdb" : ""}`;
}

function marksOf(flags: number): string {
  return (flags & neighbourFlag.externallyLearned) === 0 ? "" : " extern_learn";
}
