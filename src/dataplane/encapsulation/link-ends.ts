import type { IpAddress } from "../../base/ip.ts";
import type { Link } from "../../netlink/index.ts";

/** The VTEPs that a tunnel of the kernel's leads from and to, as far as the device says so: one that serves all leads to none. */
export function endsOf({ info: { vxlan, geneve, gre, ipTunnel } }: Pick<Link, "info">): {
  readonly local: IpAddress | undefined;
  readonly remote: IpAddress | undefined;
} {
  return {
    local: set(vxlan?.local ?? vxlan?.local6 ?? gre?.local ?? ipTunnel?.local),
    remote: set(geneve?.remote ?? geneve?.remote6 ?? gre?.remote ?? ipTunnel?.remote),
  };
}

/** The kernel tells addresses that are not set as zero. */
function set(address: IpAddress | undefined): IpAddress | undefined {
  return address === "0.0.0.0" || address === "::" ? undefined : address;
}
