import type { FindingCode } from "./codes.ts";
import type { Finding } from "./finding.ts";
import type { Subject } from "./subject.ts";

/** What is weft's own, wherever it is: the agent compares everything with the kernel once more, and looks into all containers. */
const own: ReadonlySet<FindingCode> = new Set([
  "object-not-in-place",
  "bridge-missing",
  "tunnel-missing",
  "tunnel-differs",
  "flood-entry-missing",
  "fdb-entry-missing",
  "fdb-entry-differs",
  "neighbour-missing",
  "neighbour-differs",
  "route-missing",
  "route-differs",
  "endpoint-interface-missing",
  "endpoint-link-down",
  "endpoint-address-missing",
  "endpoint-mtu-differs",
  "endpoint-default-route-missing",
]);

/**
 * Mends of what was found that which is safe to mend without asking: what weft keeps by itself, and settings of the host that nothing but
 * tunnels can depend on. Tells whether it has done anything, so that a second look is worth it.
 */
export async function fix(subject: Subject, findings: readonly Finding[]): Promise<boolean> {
  const isOwn = findings.some(({ code }) => own.has(code));
  if (isOwn) await subject.dataplane.audit();
  let isDone = isOwn;
  for (const { code, object } of findings) {
    if (code !== "rp-filter-strict" || object.key === undefined) continue;
    // Loose: an address that no route leads to is still refused (Documentation/networking/ip-sysctl.rst).
    subject.host.writeSysctl(`ipv4/conf/${object.key}/rp_filter`, "2");
    isDone = true;
  }
  return isDone;
}
