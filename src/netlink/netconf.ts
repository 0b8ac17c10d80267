/** Switches of IP that the kernel tells of: forwarding, rp_filter and others. linux/netconf.h. */

/** linux/rtnetlink.h: one of them was changed. */
export const RTM_NEWNETCONF = 80;
/** NETCONFA_IFINDEX_ALL and NETCONFA_IFINDEX_DEFAULT, in place of a device. */
export const netconfIndex = { all: -1, default: -2 } as const;

/** Octets of `struct netconfmsg`, aligned. */
const headerLength = 4;
const NETCONFA_IFINDEX = 1;
const NETCONFA_FORWARDING = 2;
const NETCONFA_RP_FILTER = 3;

export interface Netconf {
  /** The device, or what of {@link netconfIndex} stands for more than one. */
  readonly index: number;
  /** 0 or 1; absent: not told. */
  readonly forwarding?: number;
  /** 0, 1 or 2; absent: not told, as of IPv6. */
  readonly reversePathFilter?: number;
}

export function readNetconf(view: DataView, start: number, end: number): Netconf {
  const values = new Map<number, number>();
  // All are numbers of 32 bits.
  for (let at = start + headerLength; at + 8 <= end; at += 8) {
    if (view.getUint16(at, true) !== 8) break;
    values.set(view.getUint16(at + 2, true), view.getInt32(at + 4, true));
  }
  const forwarding = values.get(NETCONFA_FORWARDING);
  const reversePathFilter = values.get(NETCONFA_RP_FILTER);
  return {
    index: values.get(NETCONFA_IFINDEX) ?? netconfIndex.all,
    ...(forwarding === undefined ? {} : { forwarding }),
    ...(reversePathFilter === undefined ? {} : { reversePathFilter }),
  };
}
