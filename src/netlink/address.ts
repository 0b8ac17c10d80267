import { familyOf, type IpAddress } from "../base/ip.ts";
import { AttributeSchema, ipAddress, u8, u32 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import type { Query, Request } from "./request.ts";

/** linux/rtnetlink.h */
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

const AF_INET = 2;
const AF_INET6 = 10;

/** linux/if_addr.h: flags of an address. Of an IPv4 address the first means something else. */
const IFA_F_TEMPORARY = 0x01;
const IFA_F_NODAD = 0x02;
const IFA_F_OPTIMISTIC = 0x04;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;
const IFA_F_NOPREFIXROUTE = 0x200;

/** linux/if_addr.h: `struct ifaddrmsg`. */
const header = new FixedHeader("ifaddrmsg", [
  ["family", "u8"],
  ["prefixLength", "u8"],
  ["flags", "u8"],
  ["scope", "u8"],
  ["index", "u32"],
]);

/** linux/if_addr.h: `IFA_*`. */
const schema = new AttributeSchema("IFA", {
  /** The other end's address on point-to-point links, the same as `local` elsewhere. */
  address: ipAddress(1),
  local: ipAddress(2),
  flags: u32(8),
  protocol: u8(11),
});

export interface InterfaceAddressEntry {
  /** Index of the device. */
  readonly index: number;
  readonly address: IpAddress;
  /** The other end's address, on a point-to-point link. Part of what the entry is: deletion needs it too. */
  readonly peer?: IpAddress;
  /** Of `address`, or of `peer` if there is one. */
  readonly prefixLength: number;
  /** Used at once, without duplicate address detection (RFC 4862 §5.4). */
  readonly withoutDad?: boolean;
  /** The kernel makes no route to the prefix. Only when the address is new: IPv4 keeps what it was made with. */
  readonly withoutPrefixRoute?: boolean;
  /** 0 global, 253 link, 254 host. Set by the kernel unless given; IPv6 takes none but its own. */
  readonly scope?: number;
  /** Not learned from router advertisements or DHCP. Reported only. */
  readonly permanent?: boolean;
  /** Made up for some hours, so that this host is not recognised (RFC 8981). Reported only. */
  readonly temporary?: boolean;
  /** Its preferred lifetime is over: no new communication shall use it (RFC 4862 §5.5.4). Reported only. */
  readonly deprecated?: boolean;
  /** Not usable until duplicate address detection has ended (RFC 4862 §5.4). Reported only. */
  readonly tentative?: boolean;
  /** Another host has the address, as duplicate address detection found. Reported only. */
  readonly duplicate?: boolean;
}

/** Gives a device an address, or changes the one that it has. /31 and /127 are links of two hosts (RFC 3021, RFC 6164). */
export function replaceAddress(entry: InterfaceAddressEntry): Request {
  return {
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    describe: () => `set address ${entry.address}/${entry.prefixLength} on link ${entry.index}`,
    write: (writer) => {
      writeHeader(writer, entry);
      const flags = (entry.withoutDad ? IFA_F_NODAD : 0) | (entry.withoutPrefixRoute ? IFA_F_NOPREFIXROUTE : 0);
      schema.write(writer, { ...addressesOf(entry), flags: flags === 0 ? undefined : flags });
    },
  };
}

export function deleteAddress(entry: InterfaceAddressEntry): Request {
  return {
    type: RTM_DELADDR,
    flags: 0,
    describe: () => `delete address ${entry.address}/${entry.prefixLength} on link ${entry.index}`,
    write: (writer) => {
      writeHeader(writer, entry);
      schema.write(writer, addressesOf(entry));
    },
  };
}

/** Addresses of both families, of one device or of all. */
export function listAddresses(filter: { readonly index?: number } = {}): Query<InterfaceAddressEntry> {
  return {
    type: RTM_GETADDR,
    flags: 0,
    describe: () => "list addresses",
    write: (writer) => header.write(writer, filter.index === undefined ? {} : { index: filter.index }),
    read: readAddress,
  };
}

/** Reads the payload of RTM_NEWADDR or RTM_DELADDR. */
export function readAddress(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): InterfaceAddressEntry | undefined {
  const fixed = header.read(view, start, end);
  if (fixed.family !== AF_INET && fixed.family !== AF_INET6) return undefined;
  const values = schema.read(bytes, view, start + header.length, end);
  const address = values.local ?? values.address;
  if (address === undefined) return undefined;
  const flags = values.flags ?? fixed.flags;
  return {
    index: fixed.index,
    address,
    ...(values.address === undefined || values.address === address ? {} : { peer: values.address }),
    prefixLength: fixed.prefixLength,
    scope: fixed.scope,
    withoutDad: (flags & IFA_F_NODAD) !== 0,
    ...((flags & IFA_F_NOPREFIXROUTE) === 0 ? {} : { withoutPrefixRoute: true }),
    permanent: (flags & IFA_F_PERMANENT) !== 0,
    ...(fixed.family === AF_INET6 && (flags & IFA_F_TEMPORARY) !== 0 ? { temporary: true } : {}),
    ...((flags & IFA_F_DEPRECATED) === 0 ? {} : { deprecated: true }),
    ...((flags & (IFA_F_TENTATIVE | IFA_F_OPTIMISTIC | IFA_F_DADFAILED)) === IFA_F_TENTATIVE
      ? { tentative: true }
      : {}),
    ...((flags & IFA_F_DADFAILED) === 0 ? {} : { duplicate: true }),
  };
}

function addressesOf({ address, peer = address }: InterfaceAddressEntry): { address: IpAddress; local: IpAddress } {
  return { address: peer, local: address };
}

function writeHeader(writer: Parameters<Request["write"]>[0], entry: InterfaceAddressEntry): void {
  header.write(writer, {
    family: familyOf(entry.address) === 4 ? AF_INET : AF_INET6,
    prefixLength: entry.prefixLength,
    index: entry.index,
    ...(entry.scope === undefined ? {} : { scope: entry.scope }),
  });
}
