import { cidrContains } from "../../../base/cidr.ts";
import { familyOf } from "../../../base/ip.ts";
import { bridgeName, hostDevice, isTunnelOf, peeringDevice, tenantDevice } from "../../../dataplane/kernel-names.ts";
import type { Link, Route } from "../../../netlink/index.ts";
import { fromHost, type Hook, type Packet, throughHost, toHost } from "../../firewall/packet.ts";
import type { Space } from "../space.ts";
import { type Situation, stopped, type Trail } from "../trail.ts";
import { isUsable } from "./container.ts";
import { innerPacket, passFirewall } from "./firewall.ts";
import { leaveByRoute } from "./underlay.ts";

/** Where a namespace routes a packet. */
export async function routeOn(trail: Trail, { space, by }: Extract<Situation, { at: "routing" }>): Promise<Situation> {
  const { source, destination, size } = trail.packet;
  const at = space.place;
  const routed = await space.route({ source, destination, ...(by === undefined ? {} : { by: by.index }) });
  const isHost = space.namespace.inode === trail.host.namespace.inode;
  const pass = (hooks: readonly Hook[], out: Partial<Packet>): Promise<void> => {
    const packet = { ...innerPacket(trail.packet), ...(by === undefined ? {} : { in: by.name }), ...out };
    return passFirewall(trail, isHost ? "host-firewall" : "tenant-firewall", { space, packet, hooks });
  };
  if (routed.kind === "local") {
    await pass(toHost, { isForHost: true });
    trail.passes("delivery", at, `${destination} is its own: it is answered here`);
    return { at: "end", end: { kind: "delivered" } };
  }
  const cure = `ip route get ${destination} from ${source}${by === undefined ? "" : ` iif ${by.name}`}, in ${at}`;
  if (routed.kind !== "unicast") {
    const detail =
      routed.kind === "none" ? routed.reason : `the route ${routed.route.destination} says that there is no way`;
    trail.stops("routing", at, detail, { cause: whyUnrouted(trail, space), cure });
    return stopped;
  }
  if (by !== undefined) {
    const { timeToLive } = trail.packet;
    if (timeToLive <= 1) {
      trail.stops("time-to-live", at, "it is at its end", {
        cause: "each router on the way takes one",
        cure: `send with more than ${timeToLive}`,
      });
      return stopped;
    }
    trail.packet = { ...trail.packet, timeToLive: timeToLive - 1 };
  }
  const { route } = routed;
  const [hop] = route.nexthops;
  const link = hop?.index === undefined ? undefined : await space.link(hop.index);
  if (link === undefined) {
    trail.stops("routing", at, `the route ${route.destination} leads to no interface`, { cure });
    return stopped;
  }
  const way = `${route.destination}${hop?.gateway === undefined ? "" : ` via ${hop.gateway}`} dev ${link.name}`;
  const mtu = route.mtu ?? link.mtu;
  if (size > mtu)
    trail.stops("routing", at, `${way}, which lets ${mtu} octets pass, and not ${size}`, {
      cause: "the sender is told so, and sends smaller packets if nothing keeps the message from it",
      cure: `send at most ${mtu} octets`,
    });
  else trail.passes("routing", at, way);
  await pass(by === undefined ? fromHost : throughHost, { out: link.name });
  return await onward(trail, space, route, link, by);
}

function whyUnrouted(trail: Trail, space: Space): string {
  const networks = trail.carriedIn(space).filter(({ desired }) => desired.settings.placement === "own");
  const isLeft = networks.length > 0 && networks.every(({ desired }) => !desired.settings.egress);
  return isLeft
    ? "the address is in no network that is routed here, and none of these has egress"
    : "a route is missing";
}

/** By the device that the route leads to. */
async function onward(trail: Trail, space: Space, route: Route, link: Link, by: Link | undefined): Promise<Situation> {
  const via = route.nexthops[0]?.gateway;
  const networks = trail.carriedIn(space);
  for (const network of networks) {
    const { vni } = network.desired.settings;
    if (isTunnelOf(vni, link.name)) return { at: "tunnel", network, link, ...(via === undefined ? {} : { via }) };
    if (link.name !== bridgeName(vni)) continue;
    const hop = via ?? trail.packet.destination;
    const entry = await space.neighbour(link.index, hop);
    const at = `${hop} on ${link.name}`;
    if (entry?.mac === undefined || !isUsable(entry)) {
      trail.stops("neighbour", at, "no MAC is known for it", {
        cause: `no endpoint of network ${network.name} that this node knows has the address`,
        cure: `weft neighbours --network ${network.name}; weft endpoint list --network ${network.name}`,
      });
      return stopped;
    }
    trail.passes("neighbour", at, `is ${entry.mac}`);
    return { at: "bridge", network, by: link, frame: { source: link.mac ?? entry.mac, destination: entry.mac } };
  }
  const isHost = space.namespace.inode === trail.host.namespace.inode;
  const tenant = networks[0]?.desired.settings.tenant;
  if (isHost) return (await intoTenant(trail, link)) ?? (await outOfHost(trail, route));
  if (tenant !== undefined && link.name === tenantDevice) return outOfTenant(trail, space, tenant, link, by);
  const peer = tenant === undefined ? undefined : await intoPeer(trail, tenant, link);
  if (peer !== undefined) return peer;
  trail.unknown("routing", space.place, `${link.name} is no device of weft's: where it leads is not known`);
  return stopped;
}

/** By the uplink of a tenant whose networks are here. */
async function intoTenant(trail: Trail, link: Link): Promise<Situation | undefined> {
  const { dataplane, instance } = trail.subject;
  for (const [name, { settings }] of dataplane.networks) {
    if (hostDevice({ instance, tenant: settings.tenant }) !== link.name) continue;
    const space = trail.carried(name)?.space;
    const end = await space?.linkNamed(tenantDevice);
    const point = { space: "host", index: link.index, isOutgoing: true } as const;
    if (space === undefined || end === undefined || !end.up || !link.up) {
      trail.stops("uplink", link.name, "its other end is not there, or one of both is down", { point });
      return stopped;
    }
    trail.passes("uplink", link.name, `leads into ${space.place}`, { point });
    return { at: "routing", space, by: end };
  }
  return undefined;
}

/** By the uplink to the host: under another address, unless it goes from block to block. */
async function outOfTenant(
  trail: Trail,
  space: Space,
  tenant: string,
  link: Link,
  by: Link | undefined,
): Promise<Situation> {
  const { packet, subject, host } = trail;
  const end = await host.linkNamed(hostDevice({ instance: subject.instance, tenant }));
  const networks = trail.carriedIn(space);
  const point = { space: { network: networks[0]?.name ?? "" }, index: link.index, isOutgoing: true } as const;
  if (end === undefined || !end.up || !link.up) {
    trail.stops("uplink", link.name, "its other end is not there, or one of both is down", {
      cause: "somebody deleted it or set it so",
      cure: "the agent makes it again by itself when it runs",
      point,
    });
    return stopped;
  }
  const from = networks.find(({ desired }) =>
    desired.settings.subnets.some((subnet) => cidrContains(subnet, packet.source)),
  );
  const isDirect = [...(from?.desired.blocks.values() ?? [])].some(
    ({ cidr, isFromLink }) => isFromLink && cidrContains(cidr, packet.destination),
  );
  trail.passes("uplink", link.name, "leads to the host", { point });
  if (!isDirect && !packet.isAnswer && by !== undefined) {
    const settings = from?.desired.settings;
    if (settings?.egress !== true) {
      trail.stops("uplink", link.name, `network ${settings?.name ?? "of its source"} has no egress`, {
        cause: "endpoints reach the outside where their network says so",
        cure: `weft network set ${settings?.name ?? "NETWORK"} --egress`,
      });
      return stopped;
    }
    const blocked = settings.egressBlocked.find((prefix) => cidrContains(prefix, packet.destination));
    if (blocked !== undefined) {
      trail.stops("uplink", link.name, `${blocked} is kept from network ${settings.name}`, {
        cause: "egressBlocked names it",
        cure: `weft network show ${settings.name}`,
      });
      return stopped;
    }
    const floating = from?.desired.floating.find(({ inside }) => inside === packet.source)?.outside;
    const own = (await space.addressesOf(link.index)).find(
      ({ address, scope }) => familyOf(address) === familyOf(packet.source) && scope !== linkScope,
    )?.address;
    const source = floating ?? own;
    if (source === undefined) {
      trail.stops("translation", link.name, "the uplink has no address of this family");
      return stopped;
    }
    trail.packet = { ...packet, source };
    trail.passes("translation", space.place, `${packet.source} becomes ${source}`);
  }
  return { at: "routing", space: host, by: end };
}

/** linux/rtnetlink.h: RT_SCOPE_LINK. */
const linkScope = 253;

/** Into the namespace of another tenant with networks that are peers. */
async function intoPeer(trail: Trail, tenant: string, link: Link): Promise<Situation | undefined> {
  for (const [name, { settings }] of trail.subject.dataplane.networks) {
    if (peeringDevice(settings.tenant) !== link.name) continue;
    const space = trail.carried(name)?.space;
    const end = await space?.linkNamed(peeringDevice(tenant));
    if (space === undefined || end === undefined) continue;
    if (!end.up || !link.up) {
      trail.stops("peering", link.name, "one of its two ends is down", { cause: "somebody set it so" });
      return stopped;
    }
    trail.passes("peering", link.name, `leads into ${space.place}, of tenant ${settings.tenant}`);
    return { at: "routing", space, by: end };
  }
  return undefined;
}

/** To another node without a tunnel, or to the outside. */
async function outOfHost(trail: Trail, route: Route): Promise<Situation> {
  const { packet, subject } = trail;
  const to = route.nexthops[0]?.gateway ?? packet.destination;
  for (const { settings, blocks } of subject.dataplane.networks.values())
    for (const { cidr, vtep, isDirect } of blocks.values()) {
      if (!isDirect || vtep !== to || !cidrContains(cidr, packet.destination)) continue;
      if (!(await leaveByRoute(trail, { to, from: settings.localVtep, size: packet.size, route }))) return stopped;
      const { timeToLive } = trail.packet;
      const handover = { to: vtep, from: settings.localVtep, network: settings.name, timeToLive };
      return { at: "end", end: { kind: "handover", handover } };
    }
  const left = await leaveByRoute(trail, { to, from: packet.source, size: packet.size, route });
  return left ? { at: "end", end: { kind: "outside" } } : stopped;
}
