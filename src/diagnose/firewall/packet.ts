import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";

/** linux/netfilter/nf_conntrack_common.h and nf_tables.h: bits of `ct state`. */
export const conntrackState = { invalid: 0x1, established: 0x2, related: 0x4, new: 0x8, untracked: 0x40 } as const;
export type ConntrackState = keyof typeof conntrackState;

/** Bits of the flags of TCP, RFC 9293 §3.1. */
export const tcpFlag = { fin: 0x1, syn: 0x2, rst: 0x4, psh: 0x8, ack: 0x10, urg: 0x20 } as const;

/** `ephemeral`: any from 32,768 on, as Linux gives them to those who ask (net.ipv4.ip_local_port_range). */
export type Port = number | "ephemeral";

/** What is known of a packet. A condition on what is absent here cannot be decided. */
export interface Packet {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** IANA protocol number: behind IPv6 extension headers, too. */
  readonly protocol: number;
  /** Of TCP, UDP and what else has ports. */
  readonly sourcePort?: Port;
  readonly destinationPort?: Port;
  /** {@link tcpFlag} */
  readonly tcpFlags?: number;
  /** Of ICMP or ICMPv6. */
  readonly icmp?: { readonly type: number; readonly code: number };
  /** What follows the 8 octets of the header of UDP, or the beginning of any other protocol's header, as far as known. */
  readonly payload?: Uint8Array | readonly (number | undefined)[];
  /** The interface that it comes by; none: this host sends it. Which hooks it passes says whether it has one. */
  readonly in?: string;
  readonly out?: string;
  /** Of the frame that carries it. */
  readonly ethernet?: { readonly source: MacAddress; readonly destination: MacAddress };
  /** The mark that it has in the kernel before the first hook. */
  readonly mark?: number;
  /** Its destination is an address of this host's, and no group's. */
  readonly isForHost?: true;
  /** What connection tracking calls it where nothing exempts it; `new`: it is the first of its connection. */
  readonly conntrack?: ConntrackState;
  /** Which part of a packet it is; absent: the whole. */
  readonly fragment?: "first" | "later";
  /** Octets from the IP header on. */
  readonly length?: number;
}

const ipHooks = ["ingress", "prerouting", "input", "forward", "output", "postrouting", "egress"] as const;
const bridgeHooks = ["prerouting", "input", "forward", "output", "postrouting"] as const;

/** A hook of netfilter's that a packet passes: of the interface that it comes by or leaves by, of IP, or of a bridge as a frame. */
export type Hook = (typeof ipHooks)[number] | `bridge ${(typeof bridgeHooks)[number]}`;

/** The hooks of IP of a packet for the host, of one that it forwards, and of one that it sends. */
export const toHost: readonly Hook[] = ["ingress", "prerouting", "input"];
export const throughHost: readonly Hook[] = ["ingress", "prerouting", "forward", "postrouting", "egress"];
export const fromHost: readonly Hook[] = ["output", "postrouting", "egress"];
