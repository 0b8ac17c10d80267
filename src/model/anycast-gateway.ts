import type { Network } from "./resources.ts";

/** Every node that hosts the network answers for its gateways itself, with the same MAC address. */
export function hasAnycastGateway({
  mode,
  gateway,
  egress,
  hostAccess,
}: Pick<Network, "mode" | "gateway" | "egress" | "hostAccess">): boolean {
  return mode === "l3" || egress || hostAccess || gateway === "distributed";
}
