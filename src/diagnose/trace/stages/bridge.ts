import { bridgeName, endpointOfPort, isTunnelOf } from "../../../dataplane/kernel-names.ts";
import { neighbourState } from "../../../netlink/index.ts";
import type { Hook, Packet } from "../../firewall/packet.ts";
import { type Situation, stopped, type Trail } from "../trail.ts";
import { innerPacket, passFirewall } from "./firewall.ts";

/** linux/if_bridge.h: BR_STATE_FORWARDING. */
const forwarding = 3;

const fromBridge: readonly Hook[] = ["bridge output", "bridge postrouting"];
const throughBridge: readonly Hook[] = ["bridge prerouting", "bridge forward", "bridge postrouting"];

/** By which of its ports a bridge forwards a frame. */
export async function crossBridge(
  trail: Trail,
  { network, by, frame }: Extract<Situation, { at: "bridge" }>,
): Promise<Situation> {
  const { space, desired } = network;
  const { vni } = desired.settings;
  const name = bridgeName(vni);
  const bridge = await space.linkNamed(name);
  if (bridge === undefined || !bridge.up) {
    const detail = bridge === undefined ? `there is no such device in ${space.place}` : "it is down";
    const cure =
      bridge === undefined ? "the agent makes it again by itself" : `ip -n ${space.place} link set ${name} up`;
    trail.stops("bridge", name, detail, { cause: "somebody deleted it or set it so", cure });
    return stopped;
  }
  const state = by.info.bridgePort?.state ?? forwarding;
  if (by.index !== bridge.index && state !== forwarding) {
    const cure = `bridge -n ${space.place} link set dev ${by.name} state ${forwarding}`;
    trail.stops("bridge", name, `its port ${by.name} does not forward: state ${state}`, { cure });
    return stopped;
  }
  const entry = await space.fdb(bridge.index, frame.destination);
  if (entry === undefined) {
    const detail = `knows ${frame.destination} by no port`;
    if (!desired.settings.floodsUnknown) {
      trail.stops("bridge", name, `${detail}, and does not flood`, {
        cause: "the entry was taken away, or the server has not told this node of the endpoint",
        cure: `weft fdb --network ${network.name}; the agent sets entries again by itself when it runs`,
      });
      return stopped;
    }
    // A copy goes by each port: the one that matters goes where the endpoint is.
    const vtep = desired.remotesByMac.get(frame.destination)?.vtep;
    const tunnel = vtep === undefined ? undefined : network.programmed.dataplane.tunnels.towards(vtep);
    const link = tunnel === undefined ? undefined : await space.link(tunnel.index);
    if (link === undefined) {
      trail.unknown("bridge", name, `${detail}, and floods the frame`);
      return stopped;
    }
    trail.passes("bridge", name, `${detail}, and floods the frame, also by ${link.name}`);
    return { at: "tunnel", network, link, frame };
  }
  const port = await space.link(entry.index);
  const isOwn =
    entry.index === bridge.index || ((entry.state & neighbourState.permanent) !== 0 && port?.mac === frame.destination);
  const passing = { ...innerPacket(trail.packet), ethernet: frame };
  const pass = (hooks: readonly Hook[], by: Partial<Packet>): Promise<void> =>
    passFirewall(trail, "tenant-firewall", { space, packet: { ...passing, ...by }, hooks });
  const isRouted = by.index === bridge.index;
  if (isOwn) {
    await pass(["bridge prerouting", "bridge input"], { in: by.name });
    trail.passes("bridge", name, `${frame.destination} is its own: the packet is routed here`);
    return { at: "routing", space, by: bridge };
  }
  if (port === undefined) {
    trail.stops("bridge", name, `its entry for ${frame.destination} leads to a device that is gone`);
    return stopped;
  }
  if (port.index === by.index && by.info.bridgePort?.hairpin !== true) {
    trail.stops("bridge", name, `${frame.destination} is behind ${port.name}, which the frame came in by`, {
      cause: "another node sends here what is not here: its entries are not those of this moment",
      cure: `weft fdb --network ${network.name}, on both nodes`,
    });
    return stopped;
  }
  const isIsolated = port.info.bridgePort?.isolated === true && by.info.bridgePort?.isolated === true;
  if (isIsolated) {
    trail.stops(
      "bridge",
      name,
      `${port.name} and ${by.name} are isolated from each other: nothing is forwarded between tunnels`,
    );
    return stopped;
  }
  trail.passes("bridge", name, `${frame.destination} is behind ${port.name}`);
  await pass(isRouted ? fromBridge : throughBridge, { ...(isRouted ? {} : { in: by.name }), out: port.name });
  const endpoint = endpointOfPort(port.name);
  if (endpoint !== undefined) return { at: "delivery", network, endpoint, frame };
  if (isTunnelOf(vni, port.name)) return { at: "tunnel", network, link: port, frame };
  trail.unknown("bridge", name, `${port.name} is no device of weft's: where it leads is not known`);
  return stopped;
}
