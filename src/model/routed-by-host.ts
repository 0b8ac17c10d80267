import { noTunnel } from "./encapsulation.ts";
import type { Network } from "./resources.ts";

/** What {@link isRoutedByHost} asks, for people. */
export const routedByHost = `hostAccess, crossSubnet or encapsulation ${noTunnel}`;

/** Its subnets are in the host's own routing table. */
export function isRoutedByHost({
  hostAccess,
  encapsulation,
  crossSubnet,
}: Pick<Network, "hostAccess" | "encapsulation" | "crossSubnet">): boolean {
  return hostAccess || crossSubnet || encapsulation === noTunnel;
}
