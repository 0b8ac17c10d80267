import { type Cidr, cidrFamily, networkAddress, prefixLengthOf } from "../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily, ipFromBytes, writeIp } from "../base/ip.ts";
import { type Attribute, AttributeSchema, ipAddress, nested, u32 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";
import type { MessageWriter } from "./writer.ts";

/** linux/rtnetlink.h */
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const AF_INET = 2;
const AF_INET6 = 10;
/** linux/rtnetlink.h: tables, scopes, types, flags. */
const RT_TABLE_MAIN = 254;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;
const RTNH_F_ONLINK = 4;
/** The route is a clone that the kernel made for one destination. */
const RTM_F_CLONED = 0x200;
/** In a request to get: answer with the route itself, not with what it resolves to. */
const RTM_F_FIB_MATCH = 0x2000;

/** linux/rtnetlink.h: kinds of route. */
export const routeType = {
  /** Of a request to delete: any. */
  unspecified: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
} as const;

/** linux/rtnetlink.h: `struct rtmsg`. */
const header = new FixedHeader("rtmsg", [
  ["family", "u8"],
  ["destinationLength", "u8"],
  ["sourceLength", "u8"],
  ["tos", "u8"],
  ["table", "u8"],
  ["protocol", "u8"],
  ["scope", "u8"],
  ["type", "u8"],
  ["flags", "u32"],
]);

export interface RouteNexthop {
  /** Index of the device. */
  readonly index?: number;
  /** Of an IPv4 route it may be an IPv6 address (RFC 5549). */
  readonly gateway?: IpAddress;
  /** 1…256. */
  readonly weight?: number;
  /** The gateway is on the link whatever the routes say. */
  readonly onLink?: boolean;
}

/** linux/rtnetlink.h: `struct rtvia`, a gateway with its family. */
function viaAddress(code: number): Attribute<IpAddress> {
  return {
    code,
    write: (writer, value) => {
      const isIpv4 = familyOf(value) === 4;
      const start = writer.reserve(isIpv4 ? 6 : 18);
      writer.view.setUint16(start, isIpv4 ? AF_INET : AF_INET6, true);
      writeIp(value, writer.bytes, start + 2);
    },
    read: (bytes, _view, offset, length) =>
      length === 6 || length === 18 ? ipFromBytes(bytes, offset + 2, length - 2) : undefined,
  };
}

/** The gateway in the attribute that is for its family. */
type RoutedNexthop = RouteNexthop & { readonly via?: IpAddress };
function routedNexthop({ gateway, ...rest }: RouteNexthop, family: IpFamily): RoutedNexthop {
  if (gateway === undefined) return rest;
  return familyOf(gateway) === family ? { ...rest, gateway } : { ...rest, via: gateway };
}

/** linux/rtnetlink.h: `struct rtnexthop` and the attributes of each. */
const nexthopSchema = new AttributeSchema("RTA (of a nexthop)", { gateway: ipAddress(5), via: viaAddress(18) });
function multipath(code: number): Attribute<readonly RoutedNexthop[]> {
  return {
    code,
    write: (writer, nexthops) => {
      for (const nexthop of nexthops) {
        const start = writer.reserve(8);
        writer.view.setUint8(start + 2, nexthop.onLink ? RTNH_F_ONLINK : 0);
        writer.view.setUint8(start + 3, (nexthop.weight ?? 1) - 1);
        writer.view.setInt32(start + 4, nexthop.index ?? 0, true);
        nexthopSchema.write(writer, { gateway: nexthop.gateway, via: nexthop.via });
        writer.view.setUint16(start, writer.position - start, true);
      }
    },
    read: (bytes, view, offset, length) => {
      const nexthops: RoutedNexthop[] = [];
      for (let position = offset; position + 8 <= offset + length; ) {
        const size = view.getUint16(position, true);
        if (size < 8 || position + size > offset + length) throw new RangeError("RTA_MULTIPATH is malformed");
        const { via, gateway = via } = nexthopSchema.read(bytes, view, position + 8, position + size);
        nexthops.push({
          index: view.getInt32(position + 4, true),
          weight: view.getUint8(position + 3) + 1,
          onLink: (view.getUint8(position + 2) & RTNH_F_ONLINK) !== 0,
          ...(gateway === undefined ? {} : { gateway }),
        });
        position += (size + 3) & ~3;
      }
      return nexthops;
    },
  };
}

/** linux/rtnetlink.h: `RTAX_*`. */
const metricsSchema = new AttributeSchema("RTAX", {
  /** A bit for each metric that the kernel leaves as it is, at the place of its number. */
  locked: u32(1),
  mtu: u32(2),
  advertisedMss: u32(8),
});
const lockedMtu = 1 << 2;

/** linux/rtnetlink.h: `RTA_*`. */
const schema = new AttributeSchema("RTA", {
  destination: ipAddress(1),
  source: ipAddress(2),
  inputIndex: u32(3),
  interfaceIndex: u32(4),
  gateway: ipAddress(5),
  priority: u32(6),
  preferredSource: ipAddress(7),
  metrics: nested(8, metricsSchema),
  multipath: multipath(9),
  table: u32(15),
  /** Instead of `gateway`, of another family than the destination. */
  via: viaAddress(18),
  nexthop: u32(30),
});

export interface Route {
  readonly destination: Cidr;
  /** Default: main (254). */
  readonly table?: number;
  /** Who wrote it: RTPROT_*. */
  readonly protocol: number;
  /** One of {@link routeType}; default unicast. */
  readonly type?: number;
  /** One, several (each packet flow takes one), or none for a blackhole and the like. */
  readonly nexthops: readonly RouteNexthop[];
  /** Identifier of a nexthop object, instead of `nexthops`. */
  readonly nexthopId?: number;
  readonly preferredSource?: IpAddress;
  /** Of several routes to the same destination the lowest wins. */
  readonly priority?: number;
  readonly mtu?: number;
  /** Neither another MTU of the device nor a smaller one of the path changes it. */
  readonly isMtuLocked?: boolean;
}

function metricsOf({ mtu, isMtuLocked }: Route): { locked?: number | undefined; mtu?: number | undefined } | undefined {
  if (mtu === undefined && isMtuLocked !== true) return undefined;
  return { locked: isMtuLocked === true ? lockedMtu : undefined, mtu };
}

function writeRoute(operation: string, type: number, flags: number, route: Route): Request {
  const family = cidrFamily(route.destination);
  const prefixLength = prefixLengthOf(route.destination);
  const nexthops = route.nexthops.map((nexthop) => routedNexthop(nexthop, family));
  const single = nexthops.length === 1 ? nexthops[0] : undefined;
  const table = route.table ?? RT_TABLE_MAIN;
  const kind = route.type ?? routeType.unicast;
  const isDeletion = type === RTM_DELROUTE;
  const scope = isDeletion
    ? RT_SCOPE_NOWHERE
    : kind === routeType.unicast && single !== undefined && (single.gateway ?? single.via) === undefined
      ? RT_SCOPE_LINK
      : RT_SCOPE_UNIVERSE;
  return {
    type,
    flags,
    describe: () => `${operation} route ${route.destination} in table ${table}`,
    write: (writer) => {
      header.write(writer, {
        family: family === 4 ? AF_INET : AF_INET6,
        destinationLength: prefixLength,
        table: table < 256 ? table : 0,
        protocol: route.protocol,
        scope,
        type: kind,
        flags: single?.onLink ? RTNH_F_ONLINK : 0,
      });
      schema.write(writer, {
        destination: prefixLength === 0 ? undefined : networkAddress(route.destination),
        table,
        interfaceIndex: single?.index,
        gateway: single?.gateway,
        via: single?.via,
        multipath: nexthops.length > 1 ? nexthops : undefined,
        nexthop: route.nexthopId,
        preferredSource: route.preferredSource,
        priority: route.priority,
        metrics: metricsOf(route),
      });
    },
  };
}

/** Makes the route, or makes the one with this destination, table and priority so. */
export function replaceRoute(route: Route): Request {
  return writeRoute("set", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
}

export function deleteRoute(route: Route): Request {
  return writeRoute("delete", RTM_DELROUTE, 0, route);
}

/** Routes of both families and all tables, the kernel's own among them. */
export function listRoutes(): Query<Route> {
  return {
    type: RTM_GETROUTE,
    flags: 0,
    describe: () => "list routes",
    write: (writer) => header.write(writer, {}),
    read: readRoute,
  };
}

/**
 * The route that packets to an address take; of those that this host sends from `source`, if it is given: rules may
 * choose a table by it. Or of those from `source` that come in by the interface `inputIndex`, and that the kernel may refuse.
 */
export function lookUpRoute(destination: Cidr, source?: IpAddress, inputIndex?: number): Query<Route> {
  return {
    type: RTM_GETROUTE,
    flags: 0,
    describe: () => `look up the route to ${destination}`,
    write: (writer) => writeLookUp(writer, destination, { source, inputIndex }, RTM_F_FIB_MATCH),
    read: readRoute,
  };
}

/** Octets of the largest packet that this host sends to an address, as far as it has learned of the path; `undefined`: of its interface. */
export function lookUpPathMtu(destination: Cidr, source: IpAddress): Query<{ readonly mtu: number | undefined }> {
  return {
    type: RTM_GETROUTE,
    flags: 0,
    describe: () => `look up the path MTU to ${destination}`,
    write: (writer) => writeLookUp(writer, destination, { source }, 0),
    read: (bytes, view, start, end) => ({
      mtu: schema.read(bytes, view, start + header.length, end).metrics?.mtu,
    }),
  };
}

function writeLookUp(
  writer: MessageWriter,
  destination: Cidr,
  packet: { readonly source?: IpAddress | undefined; readonly inputIndex?: number | undefined },
  flags: number,
): void {
  const { source } = packet;
  header.write(writer, {
    family: cidrFamily(destination) === 4 ? AF_INET : AF_INET6,
    destinationLength: prefixLengthOf(destination),
    ...(source === undefined ? {} : { sourceLength: familyOf(source) === 4 ? 32 : 128 }),
    flags,
  });
  schema.write(writer, { ...packet, destination: networkAddress(destination) });
}

/** The device on whose link the destination itself is; `undefined` when it is reached through a router, or not at all. */
export function linkOfRoute({ nexthops: [nexthop, another] }: Pick<Route, "nexthops">): number | undefined {
  return nexthop?.gateway === undefined && another === undefined ? nexthop?.index : undefined;
}

/** Reads the payload of RTM_NEWROUTE or RTM_DELROUTE; `undefined` for what is no unicast IP route of a table. */
export function readRoute(bytes: Uint8Array, view: DataView, start: number, end: number): Route | undefined {
  const fixed = header.read(view, start, end);
  if ((fixed.family !== AF_INET && fixed.family !== AF_INET6) || (fixed.flags & RTM_F_CLONED) !== 0) return undefined;
  const values = schema.read(bytes, view, start + header.length, end);
  const anywhere = fixed.family === AF_INET ? "0.0.0.0" : "::";
  const gateway = values.gateway ?? values.via;
  const single: RouteNexthop = {
    ...(values.interfaceIndex === undefined ? {} : { index: values.interfaceIndex }),
    ...(gateway === undefined ? {} : { gateway }),
    ...((fixed.flags & RTNH_F_ONLINK) !== 0 ? { onLink: true } : {}),
  };
  return {
    destination: `${values.destination ?? anywhere}/${fixed.destinationLength}` as Cidr,
    table: values.table ?? fixed.table,
    protocol: fixed.protocol,
    type: fixed.type,
    nexthops: values.multipath ?? (Object.keys(single).length > 0 ? [single] : []),
    ...(values.nexthop === undefined ? {} : { nexthopId: values.nexthop }),
    ...(values.preferredSource === undefined ? {} : { preferredSource: values.preferredSource }),
    ...(values.priority === undefined ? {} : { priority: values.priority }),
    ...(values.metrics?.mtu === undefined ? {} : { mtu: values.metrics.mtu }),
    ...(((values.metrics?.locked ?? 0) & lockedMtu) === 0 ? {} : { isMtuLocked: true }),
  };
}
