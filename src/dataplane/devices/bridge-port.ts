import type { BridgePortSettings } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";

/**
 * A tunnel as a port of the network's bridge. It learns only in networks of flood-and-learn. It answers ARP and
 * neighbour solicitations for endpoints that the control plane named. Tunnels are isolated from each other: what came
 * in by one leaves by none (split horizon), so that a mesh has no loops. Broadcast, unknown unicast and multicast pass
 * only if the network floods, and by one of its tunnels alone while it changes from one to another; to a node that only
 * routes into the network they do not (`floods`).
 */
export function tunnelPort(network: NetworkSettings, floods: boolean): BridgePortSettings {
  const flood = network.flood !== "none" && floods;
  return {
    learning: network.learning === "data-plane",
    neighbourSuppress: network.arpSuppression,
    isolated: true,
    unicastFlood: flood && network.floodsUnknown,
    multicastFlood: flood,
    broadcastFlood: flood,
  };
}

/**
 * An endpoint's port: what sits there is known, and frames from any other MAC teach the bridge nothing, unless the network learns. Of
 * one that stands by, for an endpoint that is on another node yet, the bridge takes nothing, and it gets nothing: its MAC leads to a
 * tunnel, and a locked port takes frames only of MACs that lead to it.
 *
 * In the host's own namespace what an endpoint sends to a service may be for itself. Where the host's rules see what bridges forward
 * (`br_netfilter`, as Kubernetes asks for) such a frame is not routed back to it, but forwarded to the port that it came from.
 */
export function endpointPort(
  network: NetworkSettings,
  { standsBy, isOnHost }: { readonly standsBy: boolean; readonly isOnHost: boolean },
): BridgePortSettings {
  return {
    learning: network.learning === "data-plane" || network.localLearning,
    unicastFlood: network.floodsUnknown && !standsBy,
    multicastFlood: !standsBy,
    broadcastFlood: !standsBy,
    locked: standsBy,
    hairpin: isOnHost,
  };
}

/** Whether a bridge treats a port as wanted. */
export function isPortAs(wanted: BridgePortSettings, actual: BridgePortSettings | undefined): boolean {
  return (Object.keys(wanted) as (keyof BridgePortSettings)[]).every((field) => actual?.[field] === wanted[field]);
}
