import { readFileSync, writeFileSync } from "node:fs";
import type { Report } from "./report.ts";

/**
 * How many packets a processor keeps for devices without a queue of their own, as veth are, before it drops: 1,000 unless
 * told otherwise. A setting of the whole machine; inside other network namespaces than its first it does not appear.
 * Documentation/admin-guide/sysctl/net.rst
 */
const backlog = "/proc/sys/net/core/netdev_max_backlog";

/** From so many ports on a few frames that are flooded at once may be too much. */
const manyPorts = 250;
/** Four frames to each port of the largest bridge. */
const enough = 4_096;

/**
 * Sees to it that what is flooded to all ports of a bridge arrives at all of them: a question for an address (ARP, neighbour
 * discovery) comes to each port at once, and the last ones would not hear it.
 */
export function ensureReceiveBacklog(ports: number, report: Report): void {
  if (ports < manyPorts) return;
  try {
    const present = Number(readFileSync(backlog, "utf8"));
    if (present >= enough) return;
    writeFileSync(backlog, String(enough));
    report({
      level: "info",
      kind: "adjusted",
      object: "host",
      message: `raised net.core.netdev_max_backlog from ${present} to ${enough}: a bridge has ${ports} ports, and a flooded frame goes to all of them at once`,
    });
  } catch {
    // It does not appear here, or may not be written to: then it is for the machine's administrator.
  }
}
