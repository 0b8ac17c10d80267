import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { TunnelTransport } from "../../model/encapsulation.ts";

/** What a packet can meet on its way. Names stay what they are once they were published; docs/diagnosis.md explains each. */
export type StepName =
  | "container"
  | "container-route"
  | "container-firewall"
  | "container-mtu"
  | "address-resolution"
  | "port"
  | "protection"
  | "policy"
  | "bandwidth"
  | "bridge"
  | "tenant-firewall"
  | "routing"
  | "time-to-live"
  | "neighbour"
  | "peering"
  | "uplink"
  | "translation"
  | "tunnel"
  | "encapsulation"
  | "host-firewall"
  | "underlay-route"
  | "underlay-mtu"
  | "underlay-neighbour"
  | "underlay-interface"
  | "underlay"
  | "source-filter"
  | "decapsulation"
  | "delivery";

/** `unknown`: the tables of this node do not say. */
export type StepResult = "passes" | "stops" | "unknown";

/** One thing that a packet meets. */
export interface Step {
  readonly node: string;
  readonly name: StepName;
  /** The device, table or object that it is. */
  readonly at: string;
  readonly result: StepResult;
  /** What the tables say. */
  readonly detail: string;
  /** Of one that stops it: why it is likely to be so, and what to do. */
  readonly cause?: string;
  readonly cure?: string;
  /** Marked packets that were seen there; absent: nobody looked. */
  readonly observed?: Observed;
}

export interface Observed {
  /** Different ones, of those that were sent. */
  readonly seen: number;
  /** When the first came by, in microseconds since 1970 by the node's own clock; 0: none did. */
  readonly first: number;
}

/** A step, and where a packet that passes it can be seen. */
export interface WatchedStep extends Step {
  readonly point?: WatchPoint;
}

/** An interface, and which way packets cross it. */
export interface WatchPoint {
  readonly space: { readonly netns: string } | { readonly network: string } | "host";
  /** Absent: any interface of the namespace. */
  readonly index?: number;
  readonly isOutgoing: boolean;
  /** Octets from the outermost IP header to the packet's own; absent: there is none outside. */
  readonly outer?: number;
}

export const tracedProtocols = ["icmp", "udp", "tcp"] as const;
export type TracedProtocol = (typeof tracedProtocols)[number];

/** The packet that is followed. */
export interface TracedPacket {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: TracedProtocol;
  /** Of ICMP the identifier of the echo, twice. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Octets from the IP header on. */
  readonly size: number;
  /** Of IPv6 the hop limit. */
  readonly timeToLive: number;
  /** It answers one that went the other way. */
  readonly isAnswer: boolean;
}

/** The addresses of a frame. */
export interface FrameAddresses {
  readonly source: MacAddress;
  readonly destination: MacAddress;
}

/** How a packet leaves one node for another. */
export interface Handover {
  /** Of the other node. */
  readonly to: IpAddress;
  /** This node's address in the outer header; of a packet without one, the last next hop's. */
  readonly from: IpAddress;
  readonly network: string;
  /** Absent: it goes as it is. */
  readonly tunnel?: TunnelTransport;
  /** Absent: it carries no Ethernet header. */
  readonly frame?: FrameAddresses;
  readonly timeToLive: number;
}

/** Where a packet is at the end of what one node knows. */
export type End =
  | { readonly kind: "delivered" }
  /** It leaves for what is no network of weft's. */
  | { readonly kind: "outside" }
  | { readonly kind: "stopped" }
  | { readonly kind: "handover"; readonly handover: Handover };

/** Where a packet begins on a node. */
export type Start =
  /** In the container of the endpoint that has the address. */
  | { readonly kind: "endpoint"; readonly address: IpAddress }
  /** In the host's own namespace. */
  | { readonly kind: "host" }
  | { readonly kind: "arrival"; readonly handover: Handover };
