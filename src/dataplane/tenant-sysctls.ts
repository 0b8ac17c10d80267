import type { KernelNamespace } from "./kernel.ts";
import { ensureSysctls, type SysctlChange } from "./sysctls.ts";

/**
 * Every device that appears in a tenant's namespace is quiet from its first moment: no addresses, no router discovery.
 * The namespace routes between its networks; answers may come another way than questions went (a network that changes
 * its tunnels, nodes that share a link), so that the way back is no proof of a source.
 *
 * Tunnels tell the routes through them what the path below carries, and what is forwarded must heed it: nobody else
 * would tell the sender. What arrives as "fragmentation needed" tells nothing, because any endpoint can send it, and
 * the namespace sends no packets of its own that could be too big.
 */
const sysctls: Readonly<Record<string, string>> = {
  "ipv4/ip_forward": "1",
  "ipv4/ip_forward_use_pmtu": "1",
  "ipv4/ip_no_pmtu_disc": "2",
  "ipv6/conf/all/forwarding": "1",
  "ipv4/conf/all/rp_filter": "0",
  "ipv4/conf/default/rp_filter": "0",
  "ipv6/conf/default/addr_gen_mode": "1",
  "ipv6/conf/default/accept_ra": "0",
  "ipv6/conf/default/accept_dad": "0",
  "ipv6/conf/default/accept_redirects": "0",
  "ipv4/conf/default/accept_redirects": "0",
  // Bridged packets of tenants are not the business of IP filters. Present where br_netfilter is.
  "bridge/bridge-nf-call-iptables": "0",
  "bridge/bridge-nf-call-ip6tables": "0",
  "bridge/bridge-nf-call-arptables": "0",
};

/** Of a device that packets are routed through. Filters are the stricter of the device's and that of all. */
const ofDevice = (device: string): Readonly<Record<string, string>> => ({
  [`ipv4/conf/${device}/forwarding`]: "1",
  [`ipv4/conf/${device}/rp_filter`]: "0",
  [`ipv6/conf/${device}/forwarding`]: "1",
});

/**
 * Makes the settings of a tenant's namespace so if they are not so, and those of devices in it that route. Those that
 * this kernel lacks do not matter, nor those of devices that went away.
 */
export function ensureTenantSysctls(namespace: KernelNamespace, devices: readonly string[]): readonly SysctlChange[] {
  // Those of all devices come first: they set each device's, too.
  return ensureSysctls(namespace, [sysctls, ...devices.map(ofDevice)]);
}
