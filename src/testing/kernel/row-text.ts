import { fdbWay, neighbourWay, type RowNames, routeWay } from "../../dataplane/tables/row-text.ts";
import {
  type FdbEntry,
  type Neighbour,
  type Nexthop,
  neighbourFlag,
  neighbourState,
  type ProxyNeighbour,
  type Route,
} from "../../netlink/index.ts";

/** As `ip neighbour` has it. */
export function neighbourText(row: Neighbour, { device }: RowNames): string {
  const { index, ip, state, flags } = row;
  const age = (state & neighbourState.permanent) === 0 ? "" : " permanent";
  return `${ip} dev ${device(index)} lladdr ${neighbourWay(row) || "unknown"}${marksOf(flags)}${age}`;
}

/** As `ip neighbour show proxy` has it. */
export function proxyText({ index, ip, protocol }: ProxyNeighbour, { device }: RowNames): string {
  return `${ip} dev ${device(index)}${protocol === undefined ? "" : ` proto ${protocol}`}`;
}

/** As `bridge fdb` has it, with the VTEP of a nexthop in place of its number. */
export function fdbText(row: FdbEntry, names: RowNames): string {
  const { index, mac, vtep, nexthop, master, flags } = row;
  const word = vtep !== undefined ? " dst " : nexthop !== undefined ? " nh " : "";
  const table = master === undefined ? "self" : `master ${names.device(master)}`;
  return `${mac} dev ${names.device(index)}${word}${fdbWay(row, names)} ${table}${marksOf(flags)}`;
}

/** As `ip route` has it. */
export function routeText(row: Route, names: RowNames): string {
  const { destination, table, protocol, priority, mtu, isMtuLocked } = row;
  const { kind, gateway, device } = routeWay(row, names);
  const words = [
    kind,
    destination,
    gateway && `via ${gateway}`,
    device && `dev ${device}`,
    table === undefined ? "" : `table ${table}`,
    `proto ${protocol}`,
    priority === undefined ? "" : `metric ${priority}`,
    mtu === undefined ? "" : `mtu ${isMtuLocked === true ? "lock " : ""}${mtu}`,
  ];
  return words.filter((word) => word !== "").join(" ");
}

/** As `ip nexthop` has it, without its number. */
export function nexthopText({ gateway, group, fdb }: Nexthop, { vtep }: RowNames): string {
  const members = group?.map(({ id }) => vtep(id) ?? id).join("/");
  return `${members === undefined ? `via ${gateway}` : `group of ${members}`}${fdb === true ? " fdb" : ""}`;
}

function marksOf(flags: number): string {
  return (flags & neighbourFlag.externallyLearned) === 0 ? "" : " extern_learn";
}
