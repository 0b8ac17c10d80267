import { readFileSync } from "node:fs";
import { type IpAddress, ipFromBytes } from "../base/ip.ts";
import type { NetworkNamespace } from "./namespace.ts";

/** A group that an interface listens to. */
export interface MulticastMembership {
  readonly interfaceName: string;
  readonly group: IpAddress;
}

/**
 * The multicast groups that the interfaces of a namespace have joined, as the kernel prints them in net/igmp and
 * net/igmp6 of /proc (net/ipv4/igmp.c `igmp_mc_seq_show`, net/ipv6/mcast.c `igmp6_mc_seq_show`): netlink tells of
 * those of IPv4 only since Linux 6.14.
 */
export function listMulticastGroups(namespace: NetworkNamespace): MulticastMembership[] {
  const read = (name: string): string => {
    try {
      return readFileSync(`/proc/thread-self/net/${name}`, "utf8");
    } catch (error) {
      // A kernel without IPv6 has no such file.
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
      throw error;
    }
  };
  const [igmp, igmp6] = namespace.run(() => [read("igmp"), read("igmp6")] as const);
  return [...parseIgmp(igmp), ...parseIgmp6(igmp6)];
}

/** A line for each interface, `2 eth0 : 1 V3`, and under it one for each group, its octets from the last to the first. */
export function* parseIgmp(text: string): Generator<MulticastMembership> {
  let interfaceName = "";
  for (const line of text.split("\n").slice(1)) {
    const device = /^\d+\s+(.*?)\s*:\s/.exec(line)?.[1];
    const group = /^\s+([0-9A-F]{8})\s/.exec(line)?.[1];
    if (device !== undefined) interfaceName = device;
    else if (group !== undefined) yield { interfaceName, group: ipFromBytes(Buffer.from(group, "hex").reverse()) };
  }
}

/** `2 eth0 ff020000000000000000000000000001 1 0000000C 0` */
export function* parseIgmp6(text: string): Generator<MulticastMembership> {
  for (const line of text.split("\n")) {
    const [, interfaceName, group] = /^\d+\s+(\S+)\s+([0-9a-f]{32})\s/.exec(line) ?? [];
    if (interfaceName !== undefined && group !== undefined)
      yield { interfaceName, group: ipFromBytes(Buffer.from(group, "hex")) };
  }
}
