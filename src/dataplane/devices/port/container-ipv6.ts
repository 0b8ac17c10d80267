import { messageOf } from "../../../base/errors.ts";
import { familyOf } from "../../../base/ip.ts";
import type { LocalEndpoint } from "../../desired.ts";
import type { KernelNamespace } from "../../kernel.ts";

/** RFC 8200 §5: a link of a smaller MTU carries no IPv6, and Linux takes IPv6 off it. */
const smallestMtu = 1280;

/**
 * Makes a container's interface ready for addresses: quiet, and with IPv6 switched on where the endpoint has such
 * addresses, since whoever attached it there asked for them. `change`: it was switched on; `lack`: why it cannot be.
 */
export function ensureIpv6(
  endpoint: LocalEndpoint,
  container: KernelNamespace,
  name: string,
): { readonly change?: string; readonly lack?: string } {
  const key = `ipv6/conf/${name}/disable_ipv6`;
  const value = container.readSysctl(key);
  const ips = endpoint.addresses.map(({ address }) => address).filter((address) => familyOf(address) === 6);
  if (ips.length === 0 || value === "0") {
    makeQuiet(container, name);
    return {};
  }
  const lacking = (reason: string): string => `${ips.join(", ")} could not be given to ${name}: ${reason}`;
  if (value === undefined) {
    const isThere = container.readSysctl("ipv6/conf/all/disable_ipv6") !== undefined;
    const reason = isThere
      ? `the kernel has no IPv6 on it, as where the MTU is below ${smallestMtu} octets`
      : "this kernel was started without IPv6";
    return { lack: lacking(reason) };
  }
  try {
    makeQuiet(container, name);
    container.writeSysctl(key, "0");
    return { change: `IPv6 had been switched off on ${name}; switched on, since the network has IPv6` };
  } catch (error) {
    return { lack: lacking(`IPv6 is switched off there, and cannot be switched on: ${messageOf(error)}`) };
  }
}

/** It hears no router and asks nobody whether its addresses are its own: the server gave them. */
function makeQuiet(container: KernelNamespace, name: string): void {
  for (const setting of ["accept_ra", "accept_dad"]) {
    const key = `ipv6/conf/${name}/${setting}`;
    const value = container.readSysctl(key);
    if (value !== undefined && value !== "0") container.writeSysctl(key, "0");
  }
}

/** The endpoint with what it has of IPv4. */
export function withoutIpv6(endpoint: LocalEndpoint): LocalEndpoint {
  const { addresses, gateways = [] } = endpoint;
  return {
    ...endpoint,
    addresses: addresses.filter(({ address }) => familyOf(address) === 4),
    gateways: gateways.filter((gateway) => familyOf(gateway) === 4),
  };
}
