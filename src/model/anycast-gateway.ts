import type { IpAddress } from "../base/ip.ts";
import type { Network } from "./resources.ts";

type Fields = Pick<Network, "mode" | "gateway" | "egress" | "hostAccess">;

/** Every node that hosts the network answers for its gateways itself, with the same MAC address. */
export function hasAnycastGateway({ mode, gateway, egress, hostAccess }: Fields): boolean {
  return mode === "l3" || egress || hostAccess || gateway === "distributed";
}

/** Of an l2 network: the addresses that each of its nodes has itself. Without, a router of the tenant has them, or nobody. */
export function nodeGateways(network: Fields & Pick<Network, "gateways">): readonly IpAddress[] {
  return hasAnycastGateway(network) ? network.gateways : [];
}
