import { familyOf, type IpAddress } from "../base/ip.ts";
import { type Attribute, AttributeSchema, flag, ipAddress, u16, u32 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";

/** linux/rtnetlink.h */
export const RTM_NEWNEXTHOP = 104;
export const RTM_DELNEXTHOP = 105;
const RTM_GETNEXTHOP = 106;

/** linux/nexthop.h: `struct nhmsg`. */
const header = new FixedHeader("nhmsg", [
  ["family", "u8"],
  ["scope", "u8"],
  ["protocol", "u8"],
  ["reserved", "pad8"],
  ["flags", "u32"],
]);

export interface NexthopGroupMember {
  readonly id: number;
  /** 1…256. */
  readonly weight: number;
}

/** linux/nexthop.h: `struct nexthop_grp`, 8 octets each; the weight is sent less one. */
function groupMembers(code: number): Attribute<readonly NexthopGroupMember[]> {
  return {
    code,
    write: (writer, members) => {
      for (const { id, weight } of members) {
        const start = writer.reserve(8);
        writer.view.setUint32(start, id, true);
        writer.view.setUint8(start + 4, weight - 1);
      }
    },
    read: (_bytes, view, offset, length) => {
      const members: NexthopGroupMember[] = [];
      for (let position = offset; position + 8 <= offset + length; position += 8)
        members.push({ id: view.getUint32(position, true), weight: view.getUint8(position + 4) + 1 });
      return members;
    },
  };
}

const schema = new AttributeSchema("NHA", {
  id: u32(1),
  group: groupMembers(2),
  groupType: u16(3),
  interfaceIndex: u32(5),
  gateway: ipAddress(6),
  fdb: flag(11),
});

/** A next hop that FDB entries and routes refer to by number, so that changing it changes all of them. */
export interface Nexthop {
  readonly id: number;
  /** Who made it: RTPROT_* of linux/rtnetlink.h. */
  readonly protocol: number;
  /** For FDB entries: the gateway is a VTEP. */
  readonly fdb?: boolean;
  readonly gateway?: IpAddress;
  readonly group?: readonly NexthopGroupMember[];
  readonly interfaceIndex?: number;
}

const AF_INET = 2;
const AF_INET6 = 10;

/** EEXIST if there is one of this number, whoever made it. */
export function createNexthop(nexthop: Nexthop): Request {
  return newNexthop("create", nexthop, NLM_F_CREATE | NLM_F_EXCL);
}

/** Whoever made the one that is there. */
export function replaceNexthop(nexthop: Nexthop): Request {
  return newNexthop("set", nexthop, NLM_F_CREATE | NLM_F_REPLACE);
}

function newNexthop(attempted: string, nexthop: Nexthop, flags: number): Request {
  const { protocol, ...attributes } = nexthop;
  return {
    type: RTM_NEWNEXTHOP,
    flags,
    describe: () =>
      `${attempted} nexthop ${nexthop.id} to ${nexthop.gateway ?? `group of ${nexthop.group?.map((member) => member.id).join(", ")}`}`,
    write: (writer) => {
      header.write(writer, {
        protocol,
        family: nexthop.gateway === undefined ? 0 : familyOf(nexthop.gateway) === 4 ? AF_INET : AF_INET6,
      });
      schema.write(writer, attributes);
    },
  };
}

export function deleteNexthop(id: number): Request {
  return {
    type: RTM_DELNEXTHOP,
    flags: 0,
    describe: () => `delete nexthop ${id}`,
    write: (writer) => {
      header.write(writer, {});
      schema.write(writer, { id });
    },
  };
}

export function getNexthop(id: number): Query<Nexthop> {
  return {
    type: RTM_GETNEXTHOP,
    flags: 0,
    describe: () => `look up nexthop ${id}`,
    write: (writer) => {
      header.write(writer, {});
      schema.write(writer, { id });
    },
    read: readNexthop,
  };
}

export function listNexthops(): Query<Nexthop> {
  return {
    type: RTM_GETNEXTHOP,
    flags: 0,
    describe: () => "list nexthops",
    write: (writer) => header.write(writer, {}),
    read: readNexthop,
  };
}

/** Reads the payload of RTM_NEWNEXTHOP or RTM_DELNEXTHOP. */
export function readNexthop(bytes: Uint8Array, view: DataView, start: number, end: number): Nexthop | undefined {
  const fixed = header.read(view, start, end);
  const { id, ...values } = schema.read(bytes, view, start + header.length, end);
  if (id === undefined) return undefined;
  return {
    id,
    protocol: fixed.protocol,
    ...(values.fdb ? { fdb: true } : {}),
    ...(values.gateway === undefined ? {} : { gateway: values.gateway }),
    ...(values.group === undefined ? {} : { group: values.group }),
    ...(values.interfaceIndex === undefined ? {} : { interfaceIndex: values.interfaceIndex }),
  };
}
