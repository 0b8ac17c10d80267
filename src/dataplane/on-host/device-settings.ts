import { changeLink, type Link, type NetlinkSocket } from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";
import { ensureSysctls, quietSysctls, type SysctlChange } from "../sysctls.ts";
import { forwardingOf } from "../uplink/pair.ts";

/** `in6_addr_gen_mode` of linux/if_link.h: IN6_ADDR_GEN_MODE_NONE. */
const noAddresses = 1;

/** A device in the host's own namespace gives itself no address when it comes up. In a tenant's namespace none does. */
export async function keepWithoutAddresses(
  { index, ipv6AddressGenerationMode: mode }: Link,
  socket: NetlinkSocket,
): Promise<void> {
  if (mode !== undefined && mode !== noAddresses)
    await socket.execute(changeLink({ index }, { ipv6AddressGeneration: "none" }));
}

/** Settings of devices in the host's own namespace that packets of endpoints are routed by: quiet, and forwarding. */
export function ensureRoutingSettings(namespace: KernelNamespace, devices: readonly string[]): readonly SysctlChange[] {
  return ensureSysctls(
    namespace,
    devices.map((device) => ({
      ...quietSysctls(device),
      // Answers may come another way than questions went, while a network changes its tunnels. The filter judges sources.
      [`ipv4/conf/${device}/rp_filter`]: "2",
      [forwardingOf(4, device)]: "1",
      [forwardingOf(6, device)]: "1",
    })),
  );
}
