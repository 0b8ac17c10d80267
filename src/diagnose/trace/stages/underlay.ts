import { hostPrefix } from "../../../base/cidr.ts";
import { familyOf, type IpAddress } from "../../../base/ip.ts";
import { overheadOf } from "../../../model/mtu.ts";
import { type Link, lookUp, lookUpPathMtu, neighbourState, type Route } from "../../../netlink/index.ts";
import { fromHost, toHost } from "../../firewall/packet.ts";
import type { Handover } from "../step.ts";
import { type Situation, stopped, type Trail } from "../trail.ts";
import { outerPacket, passFirewall } from "./firewall.ts";
import { leaveTunnel } from "./tunnel.ts";

/** How an outer packet leaves the host. */
export async function leaveHost(
  trail: Trail,
  { handover }: Extract<Situation, { at: "underlay" }>,
): Promise<Situation> {
  const { from, to, tunnel } = handover;
  const size = trail.packet.size + outerOctets(handover);
  if (tunnel !== undefined) {
    const ports = tunnel.port > 0 ? `, UDP port ${tunnel.port}` : "";
    const detail = `${from} to ${to}${ports}, ${size} octets that may not be cut up`;
    trail.passes("encapsulation", tunnel.encapsulation, detail);
  }
  const isPresent = (await trail.host.route({ destination: from, source: from })).kind === "local";
  if (!isPresent) {
    trail.stops("underlay-route", from, "no interface of this host has the VTEP address", {
      cause: "it was taken away",
      cure: `ip address add ${from}/LENGTH dev INTERFACE; or start the agent with the right --underlay`,
    });
    return stopped;
  }
  const routed = await trail.host.route({ destination: to, source: from });
  const cure = `ip route get ${to} from ${from}; add the route, or see the routing daemon`;
  if (routed.kind !== "unicast") {
    const detail =
      routed.kind === "none"
        ? routed.reason
        : routed.kind === "local"
          ? "it is an address of this host itself"
          : `the route ${routed.route.destination} says that there is no way`;
    const cause = routed.kind === "local" ? "two nodes have one VTEP address" : "a route was taken away";
    trail.stops("underlay-route", to, detail, { cause, cure });
    return stopped;
  }
  const vni = trail.subject.dataplane.networks.get(handover.network)?.settings.vni;
  const out = routed.route.nexthops[0]?.index;
  const by = out === undefined ? undefined : await trail.host.link(out);
  if (tunnel !== undefined && vni !== undefined && by !== undefined) {
    const packet = { ...outerPacket({ ...handover, tunnel }, trail.packet, vni, size), out: by.name };
    await passFirewall(trail, "host-firewall", { space: trail.host, packet, hooks: fromHost });
  }
  const left = await leaveByRoute(trail, { to, from, size, route: routed.route });
  return left ? { at: "end", end: { kind: "handover", handover } } : stopped;
}

/** Octets that an encapsulation adds to the packet of an endpoint. */
function outerOctets({ tunnel, to }: Handover): number {
  if (tunnel === undefined) return 0;
  return overheadOf({ encapsulation: tunnel.encapsulation, underlay: familyOf(to) === 4 ? "ipv4" : "ipv6" }).octets;
}

interface Leaving {
  /** Where it goes next: a VTEP, or anybody. */
  readonly to: IpAddress;
  readonly from: IpAddress;
  /** Octets from its outermost IP header on. */
  readonly size: number;
  readonly route: Route;
}

/** From the route that was found to the wire. Tells whether it gets there. */
export async function leaveByRoute(trail: Trail, { to, from, size, route }: Leaving): Promise<boolean> {
  const { host } = trail;
  const [hop] = route.nexthops;
  const link = hop?.index === undefined ? undefined : await host.link(hop.index);
  if (link === undefined) {
    trail.stops("underlay-route", to, `the route ${route.destination} leads to no interface`);
    return false;
  }
  const several = route.nexthops.length > 1 ? `, the first of ${route.nexthops.length}` : "";
  const way = `${route.destination}${hop?.gateway === undefined ? "" : ` via ${hop.gateway}`} dev ${link.name}${several}`;
  trail.passes("underlay-route", to, way);
  const learned = (await lookUp(host.socket, lookUpPathMtu(hostPrefix(to), from)).catch(() => undefined))?.mtu;
  const mtu = Math.min(link.mtu, route.mtu ?? link.mtu, learned ?? link.mtu);
  if (size > mtu) {
    const isLearned = mtu < Math.min(link.mtu, route.mtu ?? link.mtu);
    trail.stops("underlay-mtu", isLearned ? `path to ${to}` : link.name, `${size} octets are more than ${mtu}`, {
      cause: isLearned
        ? "a router on the way told of a smaller MTU"
        : "the underlay carries less than the network's MTU wants",
      cure: isLearned
        ? `see what the way carries: tracepath -n ${to}; set the MTU of the interfaces on the way, or the network's mtu`
        : `ip link set ${link.name} mtu ${size}, or set the network's mtu to ${trail.packet.size - (size - mtu)}`,
    });
  } else trail.passes("underlay-mtu", link.name, `${size} octets of ${mtu}`);
  await neighbourOf(trail, link, hop?.gateway ?? to);
  const point = { space: "host", isOutgoing: true, outer: size - trail.packet.size } as const;
  if (!link.up || !link.carrier) {
    trail.stops("underlay-interface", link.name, link.up ? "has no carrier" : "is down", {
      cause: link.up ? "the cable or the switch" : "somebody set it so",
      cure: link.up ? `ethtool ${link.name}` : `ip link set ${link.name} up`,
      point,
    });
    return false;
  }
  trail.passes("underlay-interface", link.name, "is up, with a carrier", { point });
  return true;
}

async function neighbourOf(trail: Trail, link: Link, ip: IpAddress): Promise<void> {
  const at = `${ip} on ${link.name}`;
  const entry = await trail.host.neighbour(link.index, ip);
  if (entry === undefined)
    trail.passes("underlay-neighbour", at, "is asked for its MAC when there is something to send");
  else if ((entry.state & neighbourState.failed) !== 0)
    trail.stops("underlay-neighbour", at, "does not answer", {
      cause: "it is down, or not on this link",
      cure: `ping ${ip}; ip neigh show ${ip}`,
    });
  else
    trail.passes("underlay-neighbour", at, entry.mac === undefined ? "is being asked for its MAC" : `is ${entry.mac}`);
}

/** How a packet of another node comes into the host. */
export async function arrive(trail: Trail, { handover }: Extract<Situation, { at: "arrival" }>): Promise<Situation> {
  const { host } = trail;
  const { from, to, tunnel, network: name } = handover;
  trail.packet = { ...trail.packet, timeToLive: handover.timeToLive };
  const destination = tunnel === undefined ? trail.packet.destination : to;
  const source = tunnel === undefined ? trail.packet.source : from;
  const back = await host.route({ destination: from, source: to });
  const index = back.kind === "unicast" ? back.route.nexthops[0]?.index : undefined;
  const link = index === undefined ? undefined : await host.link(index);
  const point = { space: "host", isOutgoing: false, outer: outerOctets(handover) } as const;
  if (link === undefined) {
    const detail = back.kind === "none" ? back.reason : "there is no way back";
    trail.stops("underlay", from, `from ${from}: ${detail}`, {
      cause: "this host has no route to the other node, or no interface with its own VTEP address",
      cure: `ip route get ${from} from ${to}`,
      point,
    });
    return stopped;
  }
  if (!link.up || !link.carrier) {
    trail.stops("underlay", link.name, link.up ? "has no carrier" : "is down", {
      cure: link.up ? `ethtool ${link.name}` : `ip link set ${link.name} up`,
      point,
    });
    return stopped;
  }
  trail.passes("underlay", link.name, `is where packets of ${from} come in, as the way back says`, { point });
  if (tunnel === undefined) return { at: "routing", space: host, by: link };
  const taken = await host.route({ destination, source, by: link.index });
  if (taken.kind !== "local")
    trail.stops(
      "underlay-route",
      link.name,
      taken.kind === "none" ? taken.reason : `${to} is no address of this host`,
      {
        cause: "the address was taken away, or a reverse path filter expects its sender elsewhere",
        cure: `ip route get ${to} from ${from} iif ${link.name}; sysctl net.ipv4.conf.${link.name}.rp_filter`,
      },
    );
  const network = trail.carried(name);
  if (network === undefined) {
    trail.stops("source-filter", `network ${name}`, "this node does not host it, and takes none of its packets", {
      cause: "the other node has another state than this one",
      cure: "weft status, on both nodes",
    });
    return stopped;
  }
  const size = trail.packet.size + outerOctets(handover);
  const outer = outerPacket({ ...handover, tunnel }, trail.packet, network.desired.settings.vni, size);
  const packet = { ...outer, in: link.name, isForHost: true } as const;
  await passFirewall(trail, "host-firewall", { space: host, packet, hooks: toHost });
  if (!network.desired.hasPeer(from))
    trail.stops("source-filter", `network ${name}`, `${from} is the VTEP of no node that sends packets of it`, {
      cause: "the server has not told this node of the other one",
      cure: "weft status, on both nodes; weft network show says which nodes have the network in place",
    });
  return await leaveTunnel(trail, network, { ...handover, tunnel });
}
