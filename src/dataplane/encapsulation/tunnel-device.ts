import type { MacAddress } from "../../base/mac.ts";
import { ip6TunnelFlag } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";

/** The part of a device's description that is its kind's own. */
type KindField = "vxlan" | "geneve" | "gre" | "ipTunnel";

/** One tunnel device as it shall be. */
export interface TunnelDevice {
  readonly name: string;
  /** `vxlan`, `geneve`, … as the kernel calls it. */
  readonly kind: string;
  /** The module of the kernel that brings the kind. */
  readonly module: string;
  readonly field: KindField;
  /** Fields of the kind. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Of these the fields that the kernel does not change on a device that exists: another value takes another device. */
  readonly fixed: readonly string[];
  /**
   * Whether a change of a living device names all fields, because the kernel takes what is left out for unset; else it
   * leaves out those that are fixed, which the kernel refuses even if they are the same.
   */
  readonly isSetWhole: boolean;
  /** Whether the MTU stays as it is when other settings change. */
  readonly keepsMtu: boolean;
  /** Absent: the device carries IP packets and has no MAC address. */
  readonly mac?: MacAddress;
  /** The kernel takes the namespace for outer packets from the link namespace, and not from who asks for the device. */
  readonly byLinkNamespace: boolean;
}

/** Hops of outer packets where the kernel's own default is that of the inner packet, which may be at its end. RFC 1700. */
export const outerTtl = 64;

/** The type of service of outer packets as Linux takes it: DSCP in the upper six bits, or that of the inner packet. */
const inherited = 1;
export function outerTos({ dscp = 0 }: NetworkSettings): number {
  return dscp === "inherit" ? inherited : dscp << 2;
}

/** The same where IPv6 carries the tunnels of IP and GRE. The encapsulation limit of RFC 2473 §4.1.1 would take 8 octets of each packet. */
export function outerIpv6({ dscp = 0 }: NetworkSettings): { readonly flags: number; readonly flowInfo: number } {
  const inherits = dscp === "inherit";
  return {
    flags: ip6TunnelFlag.ignoreEncapsulationLimit | (inherits ? ip6TunnelFlag.useInnerTrafficClass : 0),
    flowInfo: inherits ? 0 : dscp << 22,
  };
}
