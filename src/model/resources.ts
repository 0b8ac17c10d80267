import type { Cidr } from "../base/cidr.ts";
import type { IpAddress, Ipv4Address, Ipv6Address } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";

declare const vniBrand: unique symbol;
/** VXLAN network identifier, 1…16777215. RFC 7348 §5; NVGRE calls it VSID (RFC 7637 §3.2). Zero is not given out. */
export type Vni = number & { readonly [vniBrand]: true };

/** Headers that can carry a network between nodes. */
export type Encapsulation = "vxlan" | "geneve" | "nvgre" | "gre" | "ipip" | "direct";
/** The IP version of the underlay that carries a network. */
export type UnderlayFamily = "ipv4" | "ipv6";

/** Whose networks they are. A tenant's networks share one network namespace on each node. */
export interface Tenant {
  readonly name: string;
  /** `own`: a network namespace of its own on each node. */
  readonly placement: "own";
}

/** One flat subnet, or several, over all nodes that have an endpoint in it. */
export interface Network {
  /** Unique over all tenants. */
  readonly name: string;
  readonly tenant: string;
  readonly mode: "l2";
  readonly encapsulation: "vxlan";
  readonly vni: Vni;
  /** One at least; IPv4, IPv6 or both. An endpoint gets one address of each. */
  readonly subnets: readonly Cidr[];
  /** Addresses that no endpoint gets, at most one a subnet, because a router of the tenant has them. */
  readonly gateways: readonly IpAddress[];
  /** Octets of the largest inner IP packet. Absent: the smallest underlay MTU of all nodes less the headers. */
  readonly mtu?: number;
  /** UDP destination port of the tunnel. Default 4789 (RFC 7348 §5). */
  readonly port: number;
  /** Default `ipv4`. */
  readonly underlay: UnderlayFamily;
  /**
   * What becomes of broadcast, unknown unicast and multicast. `head-end` (default): one copy for each VTEP
   * that hosts the network (RFC 7432 §11). `none`: nothing leaves the node but known unicast.
   */
  readonly flood: "head-end" | "none";
  /** ARP and neighbour solicitations are answered by the node and never cross the underlay. Default true. */
  readonly arpSuppression: boolean;
}

/** A host that runs an agent. */
export interface Node {
  readonly name: string;
  /** Its VTEP addresses; one at least. */
  readonly vtepAddresses: { readonly ipv4?: Ipv4Address; readonly ipv6?: Ipv6Address };
  /** Octets of the largest IP packet that the node's underlay interface takes. */
  readonly underlayMtu: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Raised each time that a node of this name joins. An older generation may write nothing any more. */
  readonly generation: number;
}

/** How an endpoint hangs on its node. */
export type AttachmentKind = "netns";

/** One interface of a container, pod or VM. */
export interface Endpoint {
  /** 12 hexadecimal digits, chosen at random by the node that made it. */
  readonly id: string;
  readonly network: string;
  readonly node: string;
  readonly mac: MacAddress;
  /** One of each subnet's family. */
  readonly ips: readonly IpAddress[];
  readonly attachment: AttachmentKind;
  /** Raised with each change of owner of this MAC in this network; of two claims the higher wins. RFC 7432 §7.7. */
  readonly sequence: number;
}
