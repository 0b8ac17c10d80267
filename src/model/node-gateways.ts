import type { IpAddress } from "../base/ip.ts";
import type { Network } from "./resources.ts";

type Fields = Pick<Network, "egress" | "hostAccess" | "gateway" | "gateways">;

/** Of an l2 network: the addresses that each of its nodes has itself. Without, a router of the tenant has them, or nobody. */
export function nodeGateways({ egress, hostAccess, gateway, gateways }: Fields): readonly IpAddress[] {
  return egress || hostAccess || gateway === "distributed" ? gateways : [];
}
