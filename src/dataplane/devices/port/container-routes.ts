import { addressAt, type Cidr, cidr, cidrContains, cidrFamily, cidrOf, prefixLengthOf } from "../../../base/cidr.ts";
import { familyOf, type IpAddress } from "../../../base/ip.ts";
import { isErrno } from "../../../linux/index.ts";
import { toNodeAddress } from "../../../model/node-address.ts";
import {
  deleteRoute,
  listRoutes,
  type NetlinkSocket,
  type Request,
  type Route,
  replaceRoute,
} from "../../../netlink/index.ts";
import { deviceMtuOf, type LocalEndpoint, type NetworkSettings } from "../../desired.ts";
import { weftProtocol } from "../../kernel-names.ts";

/** linux/rtnetlink.h: RT_TABLE_MAIN. */
const mainTable = 254;
/** net/ipv6_route.h: IP6_RT_PRIO_USER, what an IPv6 route has that was written without a metric. An IPv4 route has 0. */
const unspecifiedMetric = { 4: 0, 6: 1024 } as const;
const everything = { 4: cidr("0.0.0.0/0"), 6: cidr("::/0") } as const;

/**
 * Metrics of default routes, to which the attachment's priority is added. They are higher than those that people and programs
 * use: a default route of somebody else's wins. What leads to the world wins over what leads no further than the
 * tenant's other networks.
 */
const outsideMetric = 100_000;
const insideMetric = 200_000;

/**
 * Routes of a container whose node is its gateway: to the network's subnets, which reach beyond the block that is on its
 * link, and to everything else. Each attachment has a default route of its own, so that of several networks the next one
 * serves at once when the best one goes. While the MTU changes they, and such to what is on the link, bound what is sent.
 * Routes of weft's that are not wanted on this interface go; nobody else's is touched.
 */
export async function ensureContainerRoutes(
  endpoint: LocalEndpoint,
  routePriority: number,
  network: NetworkSettings,
  index: number,
  inside: NetlinkSocket,
): Promise<void> {
  const { written, removed } = planContainerRoutes(
    endpoint,
    routePriority,
    network,
    index,
    await inside.dump(listRoutes()),
  );
  const requests: Request[] = [...written.map(replaceRoute), ...removed.map(deleteRoute)];
  const { failures } = await inside.batch(requests);
  const failure = failures.find(({ error }) => !isErrno(error, "ESRCH"));
  if (failure !== undefined) throw failure.error;
}

/** What is to be written and then removed, so that of the `present` routes those of weft's on this interface are as wanted. */
export function planContainerRoutes(
  endpoint: LocalEndpoint,
  routePriority: number,
  network: NetworkSettings,
  index: number,
  present: readonly Route[],
): { readonly written: readonly Route[]; readonly removed: readonly Route[] } {
  const isOwn = ({ protocol, nexthops }: Route): boolean =>
    protocol === weftProtocol && nexthops.length === 1 && nexthops[0]?.index === index;
  const main = present.filter(({ table }) => table === mainTable);
  const written: Route[] = [];
  const kept = new Set<Route>();
  for (const wanted of wantedRoutes(endpoint, routePriority, network, index)) {
    const rivals = main.filter((route) => route.destination === wanted.destination);
    const there = rivals.find((route) => isOwn(route) && isAsWanted(route, wanted, network));
    if (there !== undefined) kept.add(there);
    else {
      const atItsPlace = rivals.filter((route) => metricOf(route) === metricOf(wanted));
      for (const replaced of atItsPlace.filter(isOwn)) kept.add(replaced);
      if (atItsPlace.every(isOwn)) written.push(wanted);
    }
  }
  return { written, removed: main.filter((route) => isOwn(route) && !kept.has(route)) };
}

/** What a container has on the interface of this index, while nothing else has it. */
export function* wantedRoutes(
  endpoint: LocalEndpoint,
  routePriority: number,
  network: NetworkSettings,
  index: number,
): Generator<Route> {
  const isOnLink = (subnet: Cidr): boolean =>
    endpoint.addresses.some(
      ({ address, prefixLength }) => `${prefixLength}` === subnet.split("/")[1] && cidrContains(subnet, address),
    );
  const priority = (network.egress ? outsideMetric : insideMetric) + routePriority;
  const isBound = deviceMtuOf(network) > network.mtu;
  const seen = new Set<Cidr>();
  // By this interface, whichever the default route is: the port tells who asks.
  if (network.answersAtNodeAddress && endpoint.addresses.some(({ address }) => familyOf(address) === 4))
    yield {
      ...{ destination: toNodeAddress, protocol: weftProtocol, nexthops: [{ index }] },
      priority: insideMetric + routePriority,
    };
  // The kernel's own route to what is on the link stays as it is: one of the same prefix might be another interface's.
  for (const { address, prefixLength } of isBound ? endpoint.addresses : [])
    for (const destination of halvesOf(cidrOf(address, prefixLength))) {
      if (seen.has(destination)) continue;
      seen.add(destination);
      const source = familyOf(address) === 4 ? { preferredSource: address } : {};
      yield { destination, protocol: weftProtocol, nexthops: [{ index }], ...source, ...boundOf(destination, network) };
    }
  // Of several blocks of an endpoint's addresses the first one's gateway serves.
  for (const gateway of endpoint.gateways ?? []) {
    const isOnItsLink = endpoint.addresses.some(({ address, prefixLength }) =>
      cidrContains(cidrOf(address, prefixLength), gateway),
    );
    const nexthops = [{ index, gateway, ...(isOnItsLink ? {} : { onLink: true }) }];
    const toAll = everything[familyOf(gateway)];
    const toSubnets = network.subnets.filter((subnet) => cidrContains(subnet, gateway) && !isOnLink(subnet));
    for (const destination of [...toSubnets, toAll]) {
      if (seen.has(destination)) continue;
      seen.add(destination);
      const bound = isBound ? boundOf(destination, network) : {};
      const route = { destination, protocol: weftProtocol, nexthops, ...bound };
      yield destination === toAll ? { ...route, priority } : route;
    }
  }
}

/**
 * A default route that leads to the world as weft wrote it before it gave metrics stays as long as its network does:
 * with another metric connections might leave by another network.
 */
function isAsWanted(route: Route, wanted: Route, { egress }: NetworkSettings): boolean {
  if (gatewayOf(route) !== gatewayOf(wanted) || route.mtu !== wanted.mtu) return false;
  const isOfEarlierVersion = egress && metricOf(route) === unspecifiedMetric[cidrFamily(route.destination)];
  return metricOf(route) === metricOf(wanted) || isOfEarlierVersion;
}

/**
 * What a route has while the device lets larger packets pass than are to be sent. An IPv6 route's MTU that is the device's would
 * grow with that (net/ipv6/route.c, `rt6_mtu_change_route`).
 */
function boundOf(destination: Cidr, { mtu }: NetworkSettings): Pick<Route, "mtu" | "isMtuLocked"> {
  return cidrFamily(destination) === 6 ? { mtu, isMtuLocked: true } : { mtu };
}

/** The two prefixes that are narrower by a bit; none of a single address. */
function halvesOf(prefix: Cidr): readonly Cidr[] {
  const width = cidrFamily(prefix) === 4 ? 32 : 128;
  const length = prefixLengthOf(prefix) + 1;
  if (length > width) return [];
  return [0n, 1n << BigInt(width - length)].map((offset) => cidrOf(addressAt(prefix, offset), length));
}

function gatewayOf({ nexthops: [hop] }: Route): IpAddress | undefined {
  return hop?.gateway;
}

function metricOf({ priority, destination }: Route): number {
  return priority ?? unspecifiedMetric[cidrFamily(destination)];
}
