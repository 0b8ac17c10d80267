import { familyOf, type IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { AttributeSchema, be16, ipAddress, macAddress, s32, u8, u16, u32, writeAttribute } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";

/** linux/rtnetlink.h. One message serves neighbours (IP → MAC) and, with the family AF_BRIDGE, FDB entries (MAC → place). */
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const AF_INET = 2;
export const AF_BRIDGE = 7;
const AF_INET6 = 10;

/** linux/neighbour.h: states of an entry. */
export const neighbourState = {
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  /** Needs no address resolution; subject to garbage collection. */
  noArp: 0x40,
  /** Never expires and is exempt from garbage collection. */
  permanent: 0x80,
} as const;

/** linux/neighbour.h: flags of an entry. */
export const neighbourFlag = {
  use: 0x01,
  /** FDB of the device itself: the tunnel's. */
  self: 0x02,
  /** FDB of the bridge that the device is a port of. */
  master: 0x04,
  proxy: 0x08,
  /** Put there by a control plane. */
  externallyLearned: 0x10,
  sticky: 0x40,
  router: 0x80,
} as const;

/** linux/neighbour.h: `struct ndmsg`. */
const header = new FixedHeader("ndmsg", [
  ["family", "u8"],
  ["pad1", "pad8"],
  ["pad2", "pad16"],
  ["index", "s32"],
  ["state", "u16"],
  ["flags", "u8"],
  ["type", "u8"],
]);

/** linux/neighbour.h: `NDA_*`. The link-layer address stands in one code for neighbours and FDB entries alike. */
const schema = new AttributeSchema("NDA", {
  destination: ipAddress(1),
  mac: macAddress(2),
  vlan: u16(5),
  port: be16(6),
  vni: u32(7),
  interfaceIndex: u32(8),
  master: u32(9),
  linkNamespaceId: s32(10),
  sourceVni: u32(11),
  protocol: u8(12),
  nexthop: u32(13),
});

export interface Neighbour {
  /** Index of the device. */
  readonly index: number;
  readonly ip: IpAddress;
  /** Absent while it is not known. */
  readonly mac?: MacAddress;
  /** Bits of {@link neighbourState}. */
  readonly state: number;
  /** Bits of {@link neighbourFlag}. */
  readonly flags: number;
  /** Who wrote it: RTPROT_* of linux/rtnetlink.h. */
  readonly protocol?: number;
}

/** Makes the entry, or makes the one that is there so. */
export function replaceNeighbour(neighbour: Neighbour): Request {
  return {
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    describe: () => `set neighbour ${neighbour.ip} to ${neighbour.mac} on link ${neighbour.index}`,
    write: (writer) => {
      header.write(writer, {
        family: neighbourFamily(neighbour.ip),
        index: neighbour.index,
        state: neighbour.state,
        flags: neighbour.flags,
      });
      writeAttribute(writer, schema.set.destination, neighbour.ip);
      writeAttribute(writer, schema.set.mac, neighbour.mac);
      writeAttribute(writer, schema.set.protocol, neighbour.protocol);
    },
  };
}

export function deleteNeighbour(index: number, ip: IpAddress): Request {
  return {
    type: RTM_DELNEIGH,
    flags: 0,
    describe: () => `delete neighbour ${ip} on link ${index}`,
    write: (writer) => {
      header.write(writer, { family: neighbourFamily(ip), index });
      schema.write(writer, { destination: ip });
    },
  };
}

export function getNeighbour(index: number, ip: IpAddress): Query<Neighbour> {
  return {
    type: RTM_GETNEIGH,
    flags: 0,
    describe: () => `look up neighbour ${ip} on link ${index}`,
    write: (writer) => {
      header.write(writer, { family: neighbourFamily(ip), index });
      schema.write(writer, { destination: ip });
    },
    read: readNeighbour,
  };
}

/** Neighbours of both families, or of one device. */
export function listNeighbours(filter: { readonly index?: number } = {}): Query<Neighbour> {
  return {
    type: RTM_GETNEIGH,
    flags: 0,
    describe: () => "list neighbours",
    write: (writer) => {
      header.write(writer, {});
      schema.write(writer, { interfaceIndex: filter.index });
    },
    read: readNeighbour,
  };
}

/** An address that is answered for on the link of a device, by ARP or neighbour discovery, although the host does not have it. */
export type ProxyNeighbour = Pick<Neighbour, "index" | "ip" | "protocol">;

/** Makes the entry, or makes the one that is there so. The kernel tells nobody of these. */
export function replaceProxyNeighbour({ index, ip, protocol }: ProxyNeighbour): Request {
  return {
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    describe: () => `answer for ${ip} on link ${index}`,
    write: (writer) => {
      header.write(writer, { family: neighbourFamily(ip), index, flags: neighbourFlag.proxy });
      schema.write(writer, { destination: ip, protocol });
    },
  };
}

export function deleteProxyNeighbour({ index, ip }: ProxyNeighbour): Request {
  return {
    type: RTM_DELNEIGH,
    flags: 0,
    describe: () => `answer no more for ${ip} on link ${index}`,
    write: (writer) => {
      header.write(writer, { family: neighbourFamily(ip), index, flags: neighbourFlag.proxy });
      schema.write(writer, { destination: ip });
    },
  };
}

/** Those of both families and all devices. */
export function listProxyNeighbours(): Query<ProxyNeighbour> {
  return {
    type: RTM_GETNEIGH,
    flags: 0,
    describe: () => "list addresses that are answered for",
    write: (writer) => {
      header.write(writer, { flags: neighbourFlag.proxy });
    },
    read: readNeighbour,
  };
}

/** Reads the payload of RTM_NEWNEIGH or RTM_DELNEIGH; `undefined` when it is an FDB entry. */
export function readNeighbour(bytes: Uint8Array, view: DataView, start: number, end: number): Neighbour | undefined {
  const fixed = header.read(view, start, end);
  if (fixed.family !== AF_INET && fixed.family !== AF_INET6) return undefined;
  const values = schema.read(bytes, view, start + header.length, end);
  if (values.destination === undefined) return undefined;
  return {
    index: fixed.index,
    ip: values.destination,
    state: fixed.state,
    flags: fixed.flags,
    ...(values.mac === undefined ? {} : { mac: values.mac }),
    ...(values.protocol === undefined ? {} : { protocol: values.protocol }),
  };
}

export interface FdbEntry {
  /** Index of the device: a tunnel, a bridge port. */
  readonly index: number;
  readonly mac: MacAddress;
  /** Bits of {@link neighbourState}. */
  readonly state: number;
  /** Bits of {@link neighbourFlag}: `self` for the device's own table, `master` for its bridge's, or both. */
  readonly flags: number;
  /** VTEP that frames for the MAC go to. */
  readonly vtep?: IpAddress;
  /** Identifier of an FDB nexthop group, instead of a VTEP. */
  readonly nexthop?: number;
  /** Index of the underlay interface that leads to the VTEP; needed for a multicast group. */
  readonly viaIndex?: number;
  readonly vlan?: number;
  /** Index of the bridge; reported for entries of a bridge. */
  readonly master?: number;
  readonly protocol?: number;
}

function writeFdb(operation: string, type: number, flags: number, entry: FdbEntry): Request {
  return {
    type,
    flags,
    describe: () => `${operation} FDB entry ${entry.mac} on link ${entry.index}`,
    write: (writer) => {
      header.write(writer, { family: AF_BRIDGE, index: entry.index, state: entry.state, flags: entry.flags });
      writeAttribute(writer, schema.set.destination, entry.vtep);
      writeAttribute(writer, schema.set.mac, entry.mac);
      writeAttribute(writer, schema.set.vlan, entry.vlan);
      writeAttribute(writer, schema.set.interfaceIndex, entry.viaIndex);
      writeAttribute(writer, schema.set.protocol, entry.protocol);
      writeAttribute(writer, schema.set.nexthop, entry.nexthop);
    },
  };
}

/** Makes the entry, or makes the one that is there so. */
export function replaceFdbEntry(entry: FdbEntry): Request {
  return writeFdb("set", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, entry);
}

/** One more place for the same MAC: how a flood list is made of entries for the zero MAC. */
export function appendFdbEntry(entry: FdbEntry): Request {
  return writeFdb("append", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, entry);
}

/** Makes the entry; EEXIST if the MAC has one. */
export function createFdbEntry(entry: FdbEntry): Request {
  return writeFdb("create", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, entry);
}

export function deleteFdbEntry(entry: FdbEntry): Request {
  return writeFdb("delete", RTM_DELNEIGH, 0, entry);
}

/** One entry, of the device's own table (`self`) or of its bridge's (`master`). Some devices answer for neither. */
export function getFdbEntry(index: number, mac: MacAddress, table: "self" | "master"): Query<FdbEntry> {
  return {
    type: RTM_GETNEIGH,
    flags: 0,
    describe: () => `look up FDB entry ${mac} on link ${index}`,
    write: (writer) => {
      header.write(writer, { family: AF_BRIDGE, index, flags: neighbourFlag[table] });
      schema.write(writer, { mac });
    },
    read: readFdbEntry,
  };
}

/**
 * FDB entries, of one device (its own table and its bridge's entries for it), of one bridge, or of all.
 * While the same device is written to, the list can lack entries and the kernel does not say so.
 */
export function listFdbEntries(filter: { readonly index?: number; readonly master?: number } = {}): Query<FdbEntry> {
  return {
    type: RTM_GETNEIGH,
    flags: 0,
    describe: () => "list FDB entries",
    write: (writer) => {
      header.write(writer, { family: AF_BRIDGE });
      schema.write(writer, { interfaceIndex: filter.index, master: filter.master });
    },
    read: readFdbEntry,
  };
}

/** Reads the payload of RTM_NEWNEIGH or RTM_DELNEIGH; `undefined` when it is a neighbour. */
export function readFdbEntry(bytes: Uint8Array, view: DataView, start: number, end: number): FdbEntry | undefined {
  const fixed = header.read(view, start, end);
  if (fixed.family !== AF_BRIDGE) return undefined;
  const values = schema.read(bytes, view, start + header.length, end);
  if (values.mac === undefined) return undefined;
  return {
    index: fixed.index,
    mac: values.mac,
    state: fixed.state,
    flags: fixed.flags,
    ...(values.destination === undefined ? {} : { vtep: values.destination }),
    ...(values.nexthop === undefined ? {} : { nexthop: values.nexthop }),
    ...(values.interfaceIndex === undefined ? {} : { viaIndex: values.interfaceIndex }),
    ...(values.vlan === undefined ? {} : { vlan: values.vlan }),
    ...(values.master === undefined ? {} : { master: values.master }),
    ...(values.protocol === undefined ? {} : { protocol: values.protocol }),
  };
}

function neighbourFamily(ip: IpAddress): number {
  return familyOf(ip) === 4 ? AF_INET : AF_INET6;
}
