import { type Cidr, cidrContains, cidrFamily, cidrOf, networkAddress, prefixLengthOf } from "../../base/cidr.ts";
import { familyOf, type IpAddress } from "../../base/ip.ts";
import { eventGroup } from "../../netlink/events.ts";
import {
  type Route,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  type Rule,
  readRoute,
  replaceRoute,
  routeType,
} from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Device } from "./device.ts";
import type { DeviceUser, Links } from "./links.ts";
import { type Family, operationOf, Refusal, readAs, refuseByFlags, told } from "./request.ts";

/** linux/rtnetlink.h: RT_TABLE_MAIN, RT_TABLE_LOCAL, RTPROT_KERNEL. */
const mainTable = 254;
const localTable = 255;
const kernelProtocol = 2;
/** What an IPv6 route has that was written without a metric, one to the link, and one to this host. net/ipv6_route.h, net/addrconf.h */
const ipv6Metric = { user: 1024, link: 256, local: 0 } as const;
/** The loopback device, by which IPv6 routes to nowhere lead. */
const loopbackIndex = 1;

export type PresentRoute = Route & { readonly table: number; readonly type: number };

/** The routes of one namespace. */
export class Routes implements Family, DeviceUser {
  readonly #links: Links;
  readonly #rules: { readonly all: readonly Rule[] };
  readonly #tell: (group: number, message: FakeMessage) => void;
  readonly #present = new Map<string, PresentRoute>();

  constructor(
    links: Links,
    rules: { readonly all: readonly Rule[] },
    tell: (group: number, message: FakeMessage) => void,
  ) {
    this.#links = links;
    this.#rules = rules;
    this.#tell = tell;
  }

  get all(): Iterable<PresentRoute> {
    return this.#present.values();
  }

  /** Makes a route, or makes the one that is there so. */
  set(route: Route): void {
    this.#put(this.#made(route));
  }

  /** The kernel's own routes for an address: to this host, and to what is on the link. */
  addOf(
    { index }: Pick<Device, "index">,
    { address, prefixLength }: { address: IpAddress; prefixLength: number },
  ): void {
    for (const route of ownRoutes(index, address, prefixLength)) {
      if (this.#present.has(keyOf(route))) continue;
      this.#put(route);
    }
  }

  /** The address has gone. `left`: the others. */
  removeOf(
    { index, address, prefixLength }: { index: number; address: IpAddress; prefixLength: number },
    left: readonly { index: number; address: IpAddress; prefixLength: number }[],
  ): void {
    const needed = new Set(
      left.flatMap((other) => ownRoutes(other.index, other.address, other.prefixLength)).map(keyOf),
    );
    for (const route of ownRoutes(index, address, prefixLength)) {
      const present = this.#present.get(keyOf(route));
      if (present !== undefined && !needed.has(keyOf(route))) this.#remove(present);
    }
  }

  /** Routes by the device go; the kernel tells of those of IPv6 alone. net/ipv4/fib_frontend.c: `fib_disable_ip` */
  onDown({ index }: Device): void {
    for (const route of [...this.#present.values()]) {
      if (!route.nexthops.some((nexthop) => nexthop.index === index)) continue;
      if (cidrFamily(route.destination) === 6) this.#remove(route);
      else this.#present.delete(keyOf(route));
    }
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWROUTE);
    if (operation === undefined || operation === "set") return undefined;
    if (operation === "dump")
      return { messages: [...this.#present.values()].map((route) => told(RTM_NEWROUTE, replaceRoute(route))) };
    const asked = readAs(request, readRoute);
    switch (operation) {
      case "get":
        return { messages: [told(RTM_NEWROUTE, replaceRoute(this.#lookUp(networkAddress(asked.destination))))] };
      case "new": {
        refuseByFlags(request, this.#present.has(keyOf({ table: mainTable, ...asked })));
        this.set(asked);
        return {};
      }
      case "delete": {
        const present = [...this.#present.values()].find((route) => isMeant(asked, route));
        if (present === undefined) throw new Refusal("ESRCH");
        this.#remove(present);
        return {};
      }
    }
  }

  /** The route that packets to an address take: of the tables in the order of the rules the narrowest, of these the one of the lowest metric. */
  #lookUp(address: IpAddress): PresentRoute {
    for (const { table, family } of this.#rules.all) {
      if (family !== familyOf(address)) continue;
      const [best] = [...this.#present.values()]
        .filter((route) => route.table === table && isIn(route.destination, address))
        .sort((a, b) => prefixLengthOf(b.destination) - prefixLengthOf(a.destination) || metricOf(a) - metricOf(b));
      if (best?.type === routeType.unreachable) throw new Refusal("EHOSTUNREACH");
      if (best !== undefined) return best;
    }
    throw new Refusal("ENETUNREACH");
  }

  #made(asked: Route): PresentRoute {
    const { destination, table = mainTable, type = routeType.unicast } = asked;
    const family = cidrFamily(destination);
    const leadsNowhere = type !== routeType.unicast && type !== routeType.local;
    for (const { index = 0, gateway, onLink } of leadsNowhere ? [] : asked.nexthops) {
      const device = this.#links.need(index);
      if (!device.up) throw new Refusal("ENETDOWN", "Nexthop device is not up");
      if (family === 6 && device.settings[6].size === 0) throw new Refusal("ENODEV");
      if (gateway !== undefined && onLink !== true && !this.#isOnLink(gateway, index))
        throw new Refusal("ENETUNREACH", "Nexthop has invalid gateway");
    }
    return {
      ...asked,
      table,
      type,
      ...(family === 6 ? { priority: asked.priority ?? ipv6Metric.user } : {}),
      ...(family === 6 && leadsNowhere ? { nexthops: [{ index: loopbackIndex }] } : {}),
    };
  }

  #isOnLink(gateway: IpAddress, index: number): boolean {
    if (/^fe[89ab]/.test(gateway)) return true;
    return [...this.#present.values()].some(
      ({ destination, type, nexthops: [hop] }) =>
        type === routeType.unicast && hop?.index === index && hop.gateway === undefined && isIn(destination, gateway),
    );
  }

  #put(route: PresentRoute): void {
    this.#present.set(keyOf(route), route);
    this.#tell(groupOf(route), told(RTM_NEWROUTE, replaceRoute(route)));
  }

  #remove(route: PresentRoute): void {
    this.#present.delete(keyOf(route));
    this.#tell(groupOf(route), told(RTM_DELROUTE, replaceRoute(route)));
  }
}

/** What makes two routes one: the later replaces the earlier. */
function keyOf(route: Route): string {
  return `${route.table} ${route.destination} ${metricOf(route)}`;
}

function metricOf({ priority, destination }: Route): number {
  return priority ?? (cidrFamily(destination) === 6 ? ipv6Metric.user : 0);
}

function groupOf({ destination }: Route): number {
  return cidrFamily(destination) === 4 ? eventGroup.ipv4Route : eventGroup.ipv6Route;
}

function isIn(destination: Cidr, address: IpAddress): boolean {
  return cidrFamily(destination) === familyOf(address) && cidrContains(destination, address);
}

/** What a request to delete says nothing of may be whatever it is; of IPv6 the type does not matter. */
function isMeant(
  asked: Route,
  { destination, table, protocol, type, priority, nexthops: [hop] }: PresentRoute,
): boolean {
  const [wanted] = asked.nexthops;
  return (
    destination === asked.destination &&
    table === (asked.table ?? mainTable) &&
    (asked.protocol === 0 || protocol === asked.protocol) &&
    (cidrFamily(destination) === 6 || !asked.type || type === asked.type) &&
    (asked.priority === undefined || asked.priority === 0 || priority === asked.priority) &&
    (wanted?.index === undefined || hop?.index === wanted.index) &&
    (wanted?.gateway === undefined || hop?.gateway === wanted.gateway)
  );
}

/** net/ipv4/fib_frontend.c: `fib_add_ifaddr`; net/ipv6/addrconf.c: `addrconf_add_linklocal`, `modify_prefix_route`. Broadcasts left out. */
function ownRoutes(index: number, address: IpAddress, prefixLength: number): PresentRoute[] {
  const family = familyOf(address);
  const width = family === 4 ? 32 : 128;
  const shared = { protocol: kernelProtocol, nexthops: [{ index }] };
  const local = { ...shared, destination: cidrOf(address, width), table: localTable, type: routeType.local };
  const link = { ...shared, destination: cidrOf(address, prefixLength), table: mainTable, type: routeType.unicast };
  const isShared = prefixLength < width;
  if (family === 4)
    return [{ ...local, preferredSource: address }, ...(isShared ? [{ ...link, preferredSource: address }] : [])];
  return [{ ...local, priority: ipv6Metric.local }, ...(isShared ? [{ ...link, priority: ipv6Metric.link }] : [])];
}
