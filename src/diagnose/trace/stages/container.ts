import { cidrContains } from "../../../base/cidr.ts";
import type { IpAddress } from "../../../base/ip.ts";
import type { MacAddress } from "../../../base/mac.ts";
import { bridgeName, endpointPortName } from "../../../dataplane/kernel-names.ts";
import { type Link, type Neighbour, neighbourState } from "../../../netlink/index.ts";
import { fromHost, toHost } from "../../firewall/packet.ts";
import type { Space } from "../space.ts";
import { type Carried, type Situation, stopped, type Trail } from "../trail.ts";
import { innerPacket, passFirewall } from "./firewall.ts";

/** How a packet comes out of the container of an endpoint. */
export async function leaveContainer(
  trail: Trail,
  { network, endpoint }: Extract<Situation, { at: "container" }>,
): Promise<Situation> {
  const local = network.desired.local(endpoint);
  const place = trail.subject.placeOf(endpoint);
  const at = `endpoint ${endpoint}`;
  if (local === undefined) {
    trail.stops("container", at, `network ${network.name} has no such endpoint on this node`);
    return stopped;
  }
  if (place?.kind !== "netns") {
    trail.unknown(
      "container",
      at,
      "what it does with the packet is not this node's to know: it is no container of its own",
    );
    const destination = await nextHopMac(trail, network);
    if (destination === undefined) return stopped;
    return { at: "port", network, endpoint, frame: { source: local.mac, destination } };
  }
  const { netns } = place;
  const space = trail.open(netns);
  if (typeof space === "string") {
    trail.stops("container", at, space, {
      cause: "the container has ended",
      cure: `weft detach ${network.name} --netns ${netns} --interface ${place.interface}`,
    });
    return stopped;
  }
  const { source, destination } = trail.packet;
  const routed = await space.route({ source, destination });
  const cure = `ip route get ${destination} from ${source}, in ${netns}`;
  if (routed.kind === "none" || routed.kind === "refused") {
    const detail =
      routed.kind === "none" ? routed.reason : `its route ${routed.route.destination} says that there is no way`;
    const cause =
      local.addresses.some(({ address }) => address === source) && (local.gateways ?? []).length > 0
        ? "a route of the container was taken away, or its interface is down"
        : "no route leads there, and the network gives none by itself: it has no gateway";
    trail.stops("container-route", netns, detail, { cause, cure });
    return stopped;
  }
  if (routed.kind === "local") {
    trail.stops("container-route", netns, `${destination} is an address of the container itself`, { cure });
    return stopped;
  }
  const [hop] = routed.route.nexthops;
  const link = hop?.index === undefined ? undefined : await space.link(hop.index);
  if (link === undefined) {
    trail.stops("container-route", netns, `its route ${routed.route.destination} leads to no interface`, { cure });
    return stopped;
  }
  const way = `${routed.route.destination}${hop?.gateway === undefined ? "" : ` via ${hop.gateway}`} dev ${link.name}`;
  if (link.name !== place.interface) {
    const other = `it leaves by ${link.name}, and not by ${place.interface}, which is in network ${network.name}`;
    trail.stops("container-route", netns, `${way}: ${other}`, {
      cause: "the container has another interface, whose route to there comes first",
      cure,
    });
    return stopped;
  }
  trail.passes("container-route", netns, way);
  const { size } = trail.packet;
  if (size > link.mtu) {
    trail.stops("container-mtu", link.name, `${size} octets are more than its MTU of ${link.mtu}`, {
      cause: "packets in one piece are no larger than the MTU of the interface",
      cure: `send at most ${link.mtu} octets; weft network show ${network.name} says why it is no more`,
    });
    return stopped;
  }
  const point = { space: { netns }, index: link.index, isOutgoing: true } as const;
  if (!link.up || !link.carrier) {
    const detail = link.up ? `${link.name} has no carrier: its port on the node is down` : `${link.name} is down`;
    const cure = `ip link set ${link.name} up, in ${netns}`;
    trail.stops("container", link.name, detail, { cause: "somebody set it so", cure, point });
    return stopped;
  }
  const sent = { ...innerPacket(trail.packet), out: link.name };
  await passFirewall(trail, "container-firewall", { space, packet: sent, hooks: fromHost });
  const mac = await resolve(trail, network, { space, link, endpoint, ip: hop?.gateway ?? destination });
  trail.passes("container", link.name, `leaves as a frame of ${link.mac ?? "no MAC"}`, { point });
  if (mac === undefined) return stopped;
  return { at: "port", network, endpoint, frame: { source: link.mac ?? local.mac, destination: mac } };
}

interface Sought {
  readonly space: Space;
  readonly link: Link;
  readonly endpoint: string;
  readonly ip: IpAddress;
}

/** Which MAC the container sends to. */
async function resolve(
  trail: Trail,
  network: Carried,
  { space, link, endpoint, ip }: Sought,
): Promise<MacAddress | undefined> {
  const known = await space.neighbour(link.index, ip);
  const at = `${ip} on ${link.name}`;
  if (known?.mac !== undefined && isUsable(known)) {
    trail.passes("address-resolution", at, `the container has ${known.mac}`);
    return known.mac;
  }
  await mayAsk(trail, network, endpoint, link);
  const answer = await whoAnswers(network, ip);
  if ("mac" in answer) {
    trail.passes("address-resolution", at, `${answer.mac}, answered by ${answer.by}`);
    return answer.mac;
  }
  if (answer.isCertain)
    trail.stops("address-resolution", at, answer.reason, {
      cause: `${ip} is the address of nobody in network ${network.name}, or its node is not known here`,
      cure: `weft neighbours --network ${network.name}; ip route in the container says who is asked`,
    });
  else trail.unknown("address-resolution", at, answer.reason);
  return undefined;
}

/** Whether its question comes out of its port: the guard looks at that, too. */
async function mayAsk(trail: Trail, network: Carried, endpoint: string, link: Link): Promise<void> {
  const port = network.programmed.dataplane.ports.indexOf(endpoint);
  if (port === undefined || link.mac === undefined) return;
  const { source } = trail.packet;
  const reason = await network.programmed.dataplane.guard.reasonToDrop(port, { mac: link.mac, ip: source });
  if (reason !== "mac" && reason !== "ip") return;
  const what = reason === "mac" ? `${link.mac} is none of its MAC addresses` : `${source} is none of its addresses`;
  trail.stops("protection", endpointPortName(endpoint), `it may not even ask who has the next hop: ${what}`, {
    cause: "endpoints send with addresses of their own alone",
    cure: `ip link set ${link.name} address ${network.desired.local(endpoint)?.mac ?? "MAC"}, in the container`,
  });
}

const valid =
  neighbourState.reachable |
  neighbourState.stale |
  neighbourState.delay |
  neighbourState.probe |
  neighbourState.permanent |
  neighbourState.noArp;

export function isUsable({ state }: Pick<Neighbour, "state">): boolean {
  return (state & valid) !== 0;
}

type Answer =
  | { readonly mac: MacAddress; readonly by: string }
  | { readonly reason: string; readonly isCertain: boolean };

/** Who answers a question for an address, by ARP or neighbour discovery, on the link that a network is. */
async function whoAnswers({ desired, space }: Carried, ip: IpAddress): Promise<Answer> {
  const { settings } = desired;
  const name = bridgeName(settings.vni);
  const bridge = await space.linkNamed(name);
  if (bridge === undefined) return { reason: `nobody: there is no bridge ${name}`, isCertain: true };
  const isGateway = (await space.addressesOf(bridge.index)).some(({ address }) => address === ip);
  if (isGateway && bridge.mac !== undefined) return { mac: bridge.mac, by: `bridge ${name}, which is the gateway` };
  const near = desired.localsByIp.get(ip);
  if (near !== undefined) return { mac: near.mac, by: `endpoint ${near.id} itself, on this node` };
  const entry = await space.neighbour(bridge.index, ip);
  if (entry?.mac !== undefined && (entry.state & neighbourState.permanent) !== 0) {
    const isKnown = (await space.fdb(bridge.index, entry.mac)) !== undefined;
    if (isKnown || !settings.arpSuppression) return { mac: entry.mac, by: `bridge ${name}, from its neighbours` };
    return {
      reason: `nobody: bridge ${name} knows ${entry.mac} by no port, and does not answer for it`,
      isCertain: true,
    };
  }
  const mac = desired.macOf(ip);
  if (mac !== undefined && !settings.arpSuppression) return { mac, by: "the endpoint itself: questions are flooded" };
  const isCertain = settings.learning === "control-plane" && settings.arpSuppression;
  return { reason: `nobody that this node knows has ${ip}`, isCertain };
}

/** The MAC that an endpoint sends to that knows of no router but the network's. */
async function nextHopMac(trail: Trail, network: Carried): Promise<MacAddress | undefined> {
  const { desired, space } = network;
  const { destination } = trail.packet;
  const isOnLink =
    desired.settings.mode === "l2" && desired.settings.subnets.some((each) => cidrContains(each, destination));
  if (!isOnLink) {
    const bridge = await space.linkNamed(bridgeName(desired.settings.vni));
    return bridge?.mac;
  }
  const answer = await whoAnswers(network, destination);
  if ("mac" in answer) return answer.mac;
  trail.stops("address-resolution", destination, answer.reason);
  return undefined;
}

/** How a packet comes into the container of an endpoint. */
export async function enterContainer(
  trail: Trail,
  { endpoint, frame }: Extract<Situation, { at: "delivery" }>,
): Promise<Situation> {
  const { packet, subject } = trail;
  const place = subject.placeOf(endpoint);
  const delivered: Situation = { at: "end", end: { kind: "delivered" } };
  if (place?.kind !== "netns") {
    trail.passes(
      "delivery",
      endpointPortName(endpoint),
      `is endpoint ${endpoint}'s; what is behind it is not this node's to know`,
    );
    return delivered;
  }
  const { netns } = place;
  const space = trail.open(netns);
  if (typeof space === "string") {
    trail.stops("container", `endpoint ${endpoint}`, space, { cause: "the container has ended" });
    return stopped;
  }
  const link = await space.linkNamed(place.interface);
  if (link === undefined) {
    trail.stops("container", place.interface, `there is no such interface in ${netns}`, {
      cause: "somebody deleted, renamed or moved it",
      cure: "weft status says what has become of it; the agent makes it again by itself",
    });
    return stopped;
  }
  const point = { space: { netns }, index: link.index, isOutgoing: false } as const;
  if (!link.up) {
    const cure = `ip link set ${link.name} up, in ${netns}`;
    trail.stops("container", link.name, `${link.name} is down`, { cause: "somebody set it so", cure, point });
    return stopped;
  }
  trail.passes("container", link.name, `comes in as a frame for ${frame.destination}`, { point });
  if (link.mac !== frame.destination) {
    trail.stops("delivery", link.name, `it takes frames for ${link.mac ?? "no MAC"} alone`, {
      cause: `somebody gave it another MAC than endpoint ${endpoint} has`,
      cure: `ip link set ${link.name} address ${frame.destination}, in ${netns}`,
    });
    return stopped;
  }
  const received = { ...innerPacket(packet), in: link.name, isForHost: true } as const;
  await passFirewall(trail, "container-firewall", { space, packet: received, hooks: toHost });
  const routed = await space.route({ source: packet.source, destination: packet.destination, by: link.index });
  if (routed.kind === "local") {
    trail.passes("delivery", netns, `${packet.destination} is the container's own`);
    return delivered;
  }
  if (routed.kind === "unicast") {
    trail.passes("delivery", netns, `the container routes it on: ${routed.route.destination}`);
    return delivered;
  }
  const present = (await space.addressesOf(link.index)).some(({ address }) => address === packet.destination);
  trail.stops("delivery", netns, routed.kind === "none" ? routed.reason : "the container refuses it by a route", {
    cause: present ? "a setting or route of the container" : `${packet.destination} is not on ${link.name}`,
    cure: present ? `ip route, in ${netns}` : `ip address add ${packet.destination} dev ${link.name}, in ${netns}`,
  });
  return stopped;
}
