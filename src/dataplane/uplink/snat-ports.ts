/** Numbers that a connection through NAT may get as its source port. */
export interface PortRange {
  readonly low: number;
  readonly high: number;
}

/** Below are ports of services. The kernel's own choice begins here, too: ip_local_port_range. */
const lowest = 32_768;
const highest = 65_535;

/**
 * The widest range without a tunnel port. A packet whose source port is a tunnel's would look like the tunnel's own
 * answer to other nodes and to this node's connection tracking, and would take the port from it.
 */
export function snatPorts(tunnelPorts: readonly number[]): PortRange {
  const bounds = [...tunnelPorts.filter((port) => port >= lowest && port <= highest), highest + 1];
  bounds.sort((a, b) => a - b);
  let widest: PortRange = { low: lowest, high: lowest - 1 };
  let low = lowest;
  for (const bound of bounds) {
    if (bound - low > widest.high - widest.low + 1) widest = { low, high: bound - 1 };
    low = bound + 1;
  }
  if (widest.high < widest.low) throw new RangeError(`every port from ${lowest} on is a tunnel's`);
  return widest;
}
