import type { NetworkState } from "../api/convert.ts";
import type { AgentEvent } from "./event-log.ts";
import { waysNow, wayText } from "./ways.ts";

/** What an operator may want to know when the way or MTU of a network goes into another phase. */
export function wayEvent(before: NetworkState | undefined, after: NetworkState): Omit<AgentEvent, "time"> | undefined {
  if (before === undefined || before.change?.phase === after.change?.phase) return undefined;
  const { way, standby, mtu, deviceMtu } = waysNow(after);
  const received = standby.length === 0 ? "" : `, receives on ${standby.map(wayText).join(" and ")}, too`;
  const sizes = `packets of ${mtu} octets at most${deviceMtu === undefined ? "" : `, lets ${deviceMtu} pass`}`;
  const left = (after.change ?? after).leftBehind ?? [];
  return {
    level: left.length === 0 ? "info" : "warning",
    kind: "changing",
    object: { kind: "network", tenant: after.network.tenant, network: after.network.name },
    message: `sends on ${wayText(way)}${received}; ${sizes}${left.length === 0 ? "" : `; left behind: ${left.join(", ")}`}`,
  };
}
