/** Switches of IP that the kernel tells of: forwarding, rp_filter and others (linux/netconf.h). */

/** linux/rtnetlink.h: one of them was changed. */
export const RTM_NEWNETCONF = 80;
/** linux/netconf.h: NETCONFA_IFINDEX, the first attribute behind `struct netconfmsg`. */
const NETCONFA_IFINDEX = 1;
/** linux/netconf.h: NETCONFA_IFINDEX_ALL and NETCONFA_IFINDEX_DEFAULT, in place of a device. */
export const netconfIndex = { all: -1, default: -2 } as const;

/** The device that a message of this kind is about, or what of {@link netconfIndex} stands for more than one. */
export function readNetconfIndex(view: DataView, start: number, end: number): number {
  const attribute = start + 4;
  const isIndex = attribute + 8 <= end && view.getUint16(attribute + 2, true) === NETCONFA_IFINDEX;
  return isIndex ? view.getInt32(attribute + 4, true) : netconfIndex.all;
}
