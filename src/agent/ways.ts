import type { NetworkState } from "../api/convert.ts";
import { noTunnel, type TunnelTransport } from "../model/encapsulation.ts";
import { type WayFields, waysInPhase } from "../model/phase.ts";

/** How the packets of a network travel between nodes. */
export interface Way {
  /** Absent: in no tunnel. */
  readonly transport?: TunnelTransport;
  /** Nodes that share a link reach each other without a tunnel. */
  readonly isDirect: boolean;
}

/** The way that packets are sent, and others on which they are still, or already, received. */
export interface WayNow {
  readonly way: Way;
  readonly standby: readonly Way[];
  /** Octets of the largest inner packet that endpoints send: while ways change, what fits all of them. */
  readonly mtu: number;
  /** The same that devices let pass, where that is more. */
  readonly deviceMtu?: number;
}

/** How a network travels now: while its way changes, as the phase says that the server leads all nodes through. */
export function waysNow({ network, change, effectiveMtu: mtu }: NetworkState): WayNow {
  const { sent, standby } = waysInPhase(network, change);
  const more = change !== undefined && change.deviceMtu > mtu ? { deviceMtu: change.deviceMtu } : {};
  return { way: wayOf(sent), standby: standby.map(wayOf), mtu, ...more };
}

function wayOf({ encapsulation, port, crossSubnet }: WayFields): Way {
  return encapsulation === noTunnel
    ? { isDirect: true }
    : { transport: { encapsulation, port }, isDirect: crossSubnet };
}

/** `vxlan:4789`, `gre`, `direct`; crossSubnet adds ` or direct`. */
export function wayText({ transport, isDirect }: Way): string {
  if (transport === undefined) return noTunnel;
  const { encapsulation, port } = transport;
  return `${encapsulation}${port === 0 ? "" : `:${port}`}${isDirect ? ` or ${noTunnel}` : ""}`;
}
