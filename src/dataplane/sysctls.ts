import type { KernelNamespace } from "./kernel.ts";

/** A setting that was not as it must be, and is now. */
export interface SysctlChange {
  /** `net.ipv4.ip_forward` */
  readonly name: string;
  readonly found: string;
  readonly wanted: string;
}

/** Makes settings so if they are not so, one after the other. Those that this kernel lacks do not matter. */
export function ensureSysctls(
  namespace: KernelNamespace,
  settings: readonly Readonly<Record<string, string>>[],
): readonly SysctlChange[] {
  const changes: SysctlChange[] = [];
  for (const [key, wanted] of settings.flatMap((each) => Object.entries(each))) {
    const found = namespace.readSysctl(key);
    if (found === undefined || found === wanted) continue;
    namespace.writeSysctl(key, wanted);
    changes.push({ name: `net.${key.replaceAll("/", ".")}`, found, wanted });
  }
  return changes;
}

/**
 * Of a device of weft's in a namespace where devices are as somebody else's settings have it: it has IPv6, hears no router, tries out no
 * address, and neither heeds redirects nor sends them.
 */
export function quietSysctls(device: string): Readonly<Record<string, string>> {
  return {
    [`ipv6/conf/${device}/disable_ipv6`]: "0",
    [`ipv6/conf/${device}/accept_ra`]: "0",
    [`ipv6/conf/${device}/accept_dad`]: "0",
    [`ipv6/conf/${device}/accept_redirects`]: "0",
    [`ipv4/conf/${device}/accept_redirects`]: "0",
    [`ipv4/conf/${device}/send_redirects`]: "0",
  };
}
