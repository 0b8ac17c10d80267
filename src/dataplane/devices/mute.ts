import type { KernelNamespace } from "../kernel.ts";

/** The host itself would send by a device that is up: router solicitations, multicast reports. */
export function makeMute(namespace: KernelNamespace, device: string): void {
  const key = `ipv6/conf/${device}/disable_ipv6`;
  const value = namespace.readSysctl(key);
  if (value !== undefined && value !== "1") namespace.writeSysctl(key, "1");
}
