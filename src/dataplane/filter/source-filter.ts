import { familyOf, type IpAddress } from "../../base/ip.ts";
import type { NftObject, NftTable } from "./nftables.ts";

export interface SourceFilter {
  readonly instance: string;
  /** UDP ports of tunnels that the kernel would receive on from everyone. */
  readonly ports: readonly number[];
  /** Of these the ports of networks whose senders nobody knows, because they find each other by multicast. */
  readonly openPorts: readonly number[];
  /** Groups that this node listens to. */
  readonly groups: readonly IpAddress[];
  readonly localVteps: readonly IpAddress[];
  readonly remoteVteps: readonly IpAddress[];
}

/** Before connection tracking and everything else: netfilter's raw priority. linux/netfilter_ipv4.h */
const NF_IP_PRI_RAW = -300;

const udpPort = (set: string): NftObject => match({ payload: { protocol: "udp", field: "dport" } }, set);

/**
 * Only VTEPs of the networks on this node may send to a tunnel port, and only to this node's own VTEP address. The kernel's tunnel
 * socket is bound to all addresses and asks nobody: without this filter everyone who reaches the node can put
 * frames into any network (CVE-2020-10136 is the same for IPIP). Other encapsulations need none: each of their tunnels
 * is for one VTEP, and the kernel takes packets from that one alone.
 */
export function sourceFilterTable(filter: SourceFilter): NftTable {
  const accept = (family: 4 | 6): NftObject => {
    const protocol = family === 4 ? "ip" : "ip6";
    return {
      rule: {
        chain: "prerouting",
        expr: [
          udpPort("@ports"),
          match({ payload: { protocol, field: "daddr" } }, `@local${family}`),
          match({ payload: { protocol, field: "saddr" } }, `@remote${family}`),
          { accept: null },
        ],
      },
    };
  };
  /** To a port of multicast discovery anybody may send, by a group or directly. */
  const acceptOpen = (family: 4 | 6, destinations: string): NftObject => ({
    rule: {
      chain: "prerouting",
      expr: [
        udpPort("@open"),
        match({ payload: { protocol: family === 4 ? "ip" : "ip6", field: "daddr" } }, `@${destinations}${family}`),
        { accept: null },
      ],
    },
  });
  const isOpen = filter.openPorts.length > 0;
  const addressSet = (name: string, family: 4 | 6, addresses: readonly IpAddress[]): NftObject =>
    set(
      `${name}${family}`,
      family === 4 ? "ipv4_addr" : "ipv6_addr",
      addresses.filter((address) => familyOf(address) === family),
    );
  return {
    family: "inet",
    name: sourceFilterName(filter.instance),
    objects: [
      set("ports", "inet_service", filter.ports),
      addressSet("local", 4, filter.localVteps),
      addressSet("local", 6, filter.localVteps),
      addressSet("remote", 4, filter.remoteVteps),
      addressSet("remote", 6, filter.remoteVteps),
      ...(isOpen
        ? [
            set("open", "inet_service", filter.openPorts),
            addressSet("group", 4, filter.groups),
            addressSet("group", 6, filter.groups),
          ]
        : []),
      { chain: { name: "prerouting", type: "filter", hook: "prerouting", prio: NF_IP_PRI_RAW, policy: "accept" } },
      accept(4),
      accept(6),
      ...(isOpen
        ? ([4, 6] as const).flatMap((family) => [acceptOpen(family, "local"), acceptOpen(family, "group")])
        : []),
      { rule: { chain: "prerouting", expr: [udpPort("@ports"), { counter: null }, { drop: null }] } },
    ],
  };
}

/** `weft` for the usual instance, `weft-INSTANCE` for another. */
export function sourceFilterName(instance: string): string {
  return instance === "weft" ? "weft" : `weft-${instance}`;
}

export function match(left: object, right: unknown): NftObject {
  return { match: { op: "==", left, right } };
}

/** A set; an empty one has no `elem`, neither when it is made nor when it is listed. */
function set(name: string, type: string, elements: readonly (string | number)[]): NftObject {
  return { set: { name, type, ...(elements.length === 0 ? {} : { elem: [...elements] }) } };
}
