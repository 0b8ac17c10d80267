import type { Link } from "../../netlink/index.ts";

/**
 * Devices that appear by themselves in each new namespace once the module of their kind is loaded (`fb_tunnels_only_for_init_net`
 * in the kernel's Documentation/admin-guide/sysctl/net.rst): nobody made them, and nobody can delete them.
 */
const fallbackTunnels: ReadonlySet<string> = new Set([
  "tunl0",
  "gre0",
  "gretap0",
  "erspan0",
  "sit0",
  "ip_vti0",
  "ip6_vti0",
  "ip6tnl0",
  "ip6gre0",
]);

/** Whether somebody made the device: it is neither the loopback device nor one that the kernel puts everywhere. */
export function isMade(link: Link): boolean {
  return link.info.kind !== undefined && !fallbackTunnels.has(link.name);
}
