import type { Cidr } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { LabelSelector, Labels } from "./label-selector.ts";

/** As the endpoint sees it: `ingress` is what is sent to it, `egress` what it sends. */
export type PolicyDirection = "ingress" | "egress";
export const policyDirections: readonly PolicyDirection[] = ["ingress", "egress"];

/** `log`: what matches is counted, and the rules that follow decide. */
export type PolicyAction = "allow" | "deny" | "log";

/** Who may talk to whom, in the eyes of some endpoints of a tenant. What is answered to what was allowed is allowed. */
export interface Policy {
  /** Unique over all tenants. */
  readonly name: string;
  readonly tenant: string;
  /** 0…65535, the lower decide first. Default 1000. Of one priority, what denies comes before what allows. */
  readonly priority: number;
  /** The networks whose endpoints it is for. None: all of the tenant. */
  readonly networks: readonly string[];
  /** The endpoints that it is for, by their labels. Absent: all. */
  readonly endpoints?: LabelSelector;
  /**
   * Directions in which nothing may pass of these endpoints but what some policy allows. Default: those that have a rule that
   * allows.
   */
  readonly isolates: readonly PolicyDirection[];
  /** Of those that match, the first that allows or denies decides. */
  readonly rules: readonly PolicyRule[];
  /** The program that keeps it as it is, such as `kubernetes`. Absent: people do. */
  readonly managedBy?: string;
}

export interface PolicyRule {
  /** Unique in the policy. Default: the direction and its place among the rules, `ingress-1`. */
  readonly name: string;
  readonly direction: PolicyDirection;
  readonly action: PolicyAction;
  /** Who is at the other end, one of them. None: whoever it is. */
  readonly peers: readonly PolicyPeer[];
  /** What is said, one of them. None: all. */
  readonly ports: readonly PolicyPort[];
}

export type PolicyPeer = EndpointPeer | SubnetPeer | NodePeer;

/** Endpoints of the tenant. */
export interface EndpointPeer {
  /** Absent: whatever labels they have. */
  readonly endpoints?: LabelSelector;
  /** None: in whatever network. */
  readonly networks: readonly string[];
}

/** Whoever has an address of the subnet, but for those `except`. */
export interface SubnetPeer {
  readonly subnet: Cidr;
  readonly except: readonly Cidr[];
}

/** The node that the endpoint is on, by the addresses that it has itself in the tenant's networks and by its VTEP address. */
export interface NodePeer {
  readonly node: "own";
}

export function isNodePeer(peer: PolicyPeer): peer is NodePeer {
  return "node" in peer;
}

export function isEndpointPeer(peer: PolicyPeer): peer is EndpointPeer {
  return !isSubnetPeer(peer) && !isNodePeer(peer);
}

export function isSubnetPeer(peer: PolicyPeer): peer is SubnetPeer {
  return "subnet" in peer;
}

export interface PolicyPort {
  /** `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or the number of an IP protocol as text. */
  readonly protocol: string;
  /** Of tcp, udp and sctp: destination ports, `443` or `8000-8100`. None: all. */
  readonly ports: readonly string[];
  /** Of icmp and icmpv6: the types of messages. None: all. */
  readonly types: readonly number[];
}

/** What policies know an endpoint of a tenant by, wherever it is. */
export interface PolicyMember {
  readonly id: string;
  readonly tenant: string;
  readonly network: string;
  readonly ips: readonly IpAddress[];
  readonly labels: Labels;
}

/** IANA protocol numbers of those that have names here. */
export const protocolNumbers: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 };

/** IANA's number of {@link PolicyPort.protocol}. */
export function protocolNumber(protocol: string): number {
  return protocolNumbers[protocol] ?? Number(protocol);
}

/** Whether what is said in a protocol goes to ports. */
export function hasPorts(protocol: number): boolean {
  return [protocolNumbers.tcp, protocolNumbers.udp, protocolNumbers.sctp].includes(protocol);
}

/** Whether messages of a protocol have types. */
export function hasTypes(protocol: number): boolean {
  return protocol === protocolNumbers.icmp || protocol === protocolNumbers.icmpv6;
}

/** First and last of `443` or `8000-8100`. */
export function portRange(text: string): readonly [first: number, last: number] {
  const [first = "", last = first] = text.split("-");
  return [Number(first), Number(last)];
}
