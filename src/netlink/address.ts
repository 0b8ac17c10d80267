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

/** linux/if_addr.h: flags of an address. */
const IFA_F_NODAD = 0x02;
const IFA_F_PERMANENT = 0x80;

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
  readonly prefixLength: number;
  /** Used at once, without duplicate address detection (RFC 4862 §5.4). */
  readonly withoutDad?: boolean;
  /** 0 global, 253 link, 254 host. Set by the kernel unless given. */
  readonly scope?: number;
  /** Not learnt from router advertisements or DHCP. Reported only. */
  readonly permanent?: boolean;
}

/** Gives a device an address, or changes the flags of the one that it has. */
export function replaceAddress(entry: InterfaceAddressEntry): Request {
  return {
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    describe: () => `set address ${entry.address}/${entry.prefixLength} on link ${entry.index}`,
    write: (writer) => {
      writeHeader(writer, entry);
      schema.write(writer, {
        address: entry.address,
        local: entry.address,
        ...(entry.withoutDad ? { flags: IFA_F_NODAD } : {}),
      });
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
      schema.write(writer, { address: entry.address, local: entry.address });
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
    prefixLength: fixed.prefixLength,
    scope: fixed.scope,
    withoutDad: (flags & IFA_F_NODAD) !== 0,
    permanent: (flags & IFA_F_PERMANENT) !== 0,
  };
}

function writeHeader(writer: Parameters<Request["write"]>[0], entry: InterfaceAddressEntry): void {
  header.write(writer, {
    family: familyOf(entry.address) === 4 ? AF_INET : AF_INET6,
    prefixLength: entry.prefixLength,
    index: entry.index,
    ...(entry.scope === undefined ? {} : { scope: entry.scope }),
  });
}
