import type { IpAddress } from "../../../base/ip.ts";
import { zeroMac } from "../../../base/mac.ts";
import { endsOf } from "../../../dataplane/encapsulation/link-ends.ts";
import { wantedTunnels } from "../../../dataplane/encapsulation/tunnel.ts";
import { encapsulations, type TunnelTransport } from "../../../model/encapsulation.ts";
import { type FdbEntry, getNexthop, type Link, lookUp } from "../../../netlink/index.ts";
import type { FrameAddresses, Handover } from "../step.ts";
import { type Carried, type Situation, stopped, type Trail } from "../trail.ts";
import { isUsable } from "./container.ts";

/** Which VTEP a tunnel takes a packet to. */
export async function enterTunnel(trail: Trail, situation: Extract<Situation, { at: "tunnel" }>): Promise<Situation> {
  const { network, link } = situation;
  const { settings, peers } = network.desired;
  const point = { space: { network: network.name }, index: link.index, isOutgoing: true } as const;
  if (!link.up) {
    trail.stops("tunnel", link.name, "is down", {
      cause: "somebody set it so",
      cure: `ip -n ${network.space.place} link set ${link.name} up`,
      point,
    });
    return stopped;
  }
  const { size } = trail.packet;
  if (size > link.mtu) {
    trail.stops("tunnel", link.name, `${size} octets are more than its MTU of ${link.mtu}`, {
      cause: "a network lets no larger packets pass than all of its nodes can carry",
      cure: `weft network show ${network.name} says why its MTU is what it is`,
      point,
    });
    return stopped;
  }
  const transport = wantedTunnels(settings, peers).get(link.name)?.transport ?? settings.transport;
  if (transport === undefined) {
    trail.unknown("tunnel", link.name, `network ${network.name} has no tunnels, and this device is there`, { point });
    return stopped;
  }
  const frame = await frameOf(trail, situation, transport);
  if (frame === "none") return stopped;
  const vtep = await vtepOf(trail, network, link, frame);
  if (vtep === undefined) return stopped;
  trail.passes("tunnel", link.name, vtep.detail, { point });
  const from = endsOf(link).local ?? settings.localVtep;
  const handover: Handover = {
    to: vtep.vtep,
    from,
    network: network.name,
    tunnel: { encapsulation: transport.encapsulation, port: transport.port },
    timeToLive: trail.packet.timeToLive,
    ...(frame === undefined ? {} : { frame }),
  };
  return { at: "underlay", handover };
}

/** What was routed gets a frame where the tunnel carries frames: to the MAC of the next hop. `none`: there is none. */
async function frameOf(
  trail: Trail,
  { network, link, frame, via }: Extract<Situation, { at: "tunnel" }>,
  { encapsulation }: TunnelTransport,
): Promise<FrameAddresses | undefined | "none"> {
  if (frame !== undefined || !encapsulations[encapsulation].carriesEthernet) return frame;
  const hop = via ?? trail.packet.destination;
  const entry = await network.space.neighbour(link.index, hop);
  if (entry?.mac === undefined || !isUsable(entry)) {
    trail.stops("neighbour", `${hop} on ${link.name}`, "no MAC is known for it", {
      cause: "the entry was taken away",
      cure: `weft neighbours --network ${network.name}; the agent sets entries again by itself when it runs`,
    });
    return "none";
  }
  trail.passes("neighbour", `${hop} on ${link.name}`, `is ${entry.mac}`);
  return { source: link.mac ?? zeroMac, destination: entry.mac };
}

async function vtepOf(
  trail: Trail,
  network: Carried,
  link: Link,
  frame: FrameAddresses | undefined,
): Promise<{ readonly vtep: IpAddress; readonly detail: string } | undefined> {
  const { remote } = endsOf(link);
  if (remote !== undefined) return { vtep: remote, detail: `leads to VTEP ${remote}` };
  const mac = frame?.destination ?? zeroMac;
  const entry = await network.space.fdb(link.index, mac);
  const at = `${mac} on ${link.name}`;
  const cure = `weft fdb --network ${network.name}; the agent sets entries again by itself when it runs`;
  if (entry === undefined) {
    const flooded = await network.space.fdb(link.index, zeroMac);
    const vtep = flooded?.vtep;
    // Of a MAC that it does not know a tunnel makes a copy for each of those: vxlan_xmit() of drivers/net/vxlan/vxlan_core.c.
    if (vtep !== undefined && network.desired.floodList.length > 0) {
      const known = network.desired.remotesByMac.get(mac)?.vtep;
      return {
        vtep: known ?? vtep,
        detail: `has no entry for ${mac} and floods the frame to ${network.desired.floodList.length} VTEPs`,
      };
    }
    trail.stops("tunnel", at, "the tunnel knows no VTEP for it", { cause: "the entry was taken away", cure });
    return undefined;
  }
  const vtep = entry.vtep ?? (await vtepOfNexthop(trail, entry));
  if (vtep === undefined) {
    trail.stops("tunnel", at, `nexthop ${entry.nexthop ?? 0}, which is not there`, {
      cause: "somebody deleted the nexthop",
      cure: "ip nexthop; the agent sets nexthops again by itself when it runs",
    });
    return undefined;
  }
  const by = entry.nexthop === undefined ? "" : `, by nexthop ${entry.nexthop}`;
  return { vtep, detail: `${mac} is behind VTEP ${vtep}${by}` };
}

/** Nexthops are in the namespace of the tunnel's socket. */
async function vtepOfNexthop({ host }: Trail, { nexthop }: FdbEntry): Promise<IpAddress | undefined> {
  if (nexthop === undefined) return undefined;
  const group = await lookUp(host.socket, getNexthop(nexthop));
  const [member] = group?.group ?? [];
  if (member === undefined) return group?.gateway;
  return (await lookUp(host.socket, getNexthop(member.id)))?.gateway;
}

/** What comes out of a tunnel of this node. */
export async function leaveTunnel(
  trail: Trail,
  network: Carried,
  handover: Handover & { readonly tunnel: TunnelTransport },
): Promise<Situation> {
  const { desired, space } = network;
  const { from, tunnel, frame } = handover;
  const named = [...wantedTunnels(desired.settings, [...desired.peers, from])].find(
    ([, { transport, peer }]) =>
      transport.encapsulation === tunnel.encapsulation &&
      transport.port === tunnel.port &&
      (peer === undefined || peer === from),
  );
  const link = named === undefined ? undefined : await space.linkNamed(named[0]);
  const what = `${tunnel.encapsulation}${tunnel.port > 0 ? `, UDP port ${tunnel.port}` : ""}`;
  if (named === undefined || link === undefined) {
    const detail =
      named === undefined
        ? `network ${network.name} takes none of ${what} here`
        : `there is no tunnel ${named[0]} in ${space.place}`;
    trail.stops("decapsulation", what, detail, {
      cause: "the nodes do not agree on how the network is carried, or somebody deleted the tunnel",
      cure: `weft network show ${network.name}; the agent makes tunnels again by itself when it runs`,
    });
    return stopped;
  }
  const point = { space: { network: network.name }, index: link.index, isOutgoing: false } as const;
  if (!link.up) {
    trail.stops("decapsulation", link.name, "is down", {
      cause: "somebody set it so",
      cure: `ip -n ${space.place} link set ${link.name} up`,
      point,
    });
    return stopped;
  }
  trail.passes("decapsulation", link.name, `takes it as VNI ${desired.settings.vni} of network ${network.name}`, {
    point,
  });
  if (link.master !== undefined && frame !== undefined) return { at: "bridge", network, by: link, frame };
  if (frame !== undefined && link.mac !== frame.destination) {
    trail.stops(
      "decapsulation",
      link.name,
      `it has ${link.mac ?? "no MAC"}, and the frame is for ${frame.destination}`,
    );
    return stopped;
  }
  return { at: "routing", space, by: link };
}
