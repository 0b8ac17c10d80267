import { type Cidr, cidrContains, cidrFamily, networkAddress, prefixLengthOf } from "../../base/cidr.ts";
import {
  createRule,
  type Route,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  readRoute,
  replaceRoute,
  routeType,
} from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Context } from "./context.ts";
import { errno, isDump, viewOf } from "./errno.ts";

const RTM_GETROUTE = RTM_NEWROUTE + 2;
const RTM_GETRULE = RTM_NEWRULE + 2;
/** linux/rtnetlink.h: RT_TABLE_MAIN, RT_TABLE_LOCAL. */
const [mainTable, localTable] = [254, 255];
/** net/ipv6_route.h: IP6_RT_PRIO_USER, the metric of an IPv6 route that was given none. */
const ipv6Metric = 1024;

/** Routes of a namespace, and the rules that every namespace has. */
export class FakeRoutes {
  readonly #namespace: Context;
  readonly #all = new Map<string, Route>();

  constructor(namespace: Context) {
    this.#namespace = namespace;
  }

  get all(): Route[] {
    return [...this.#all.values()];
  }

  handle({ type, flags, payload }: FakeRequest): FakeAnswer | undefined {
    if (type === RTM_GETRULE) return { messages: rulesOf(payload[0] === 2 ? 4 : 6) };
    if (type < RTM_NEWROUTE || type > RTM_GETROUTE) return undefined;
    if (type === RTM_GETROUTE && isDump(flags))
      return { messages: this.all.map((route) => message(RTM_NEWROUTE, route)) };
    const route = readRoute(payload, viewOf(payload), 0, payload.length);
    if (route === undefined) return { errno: errno.EINVAL };
    if (type === RTM_GETROUTE) return this.#lookUp(route.destination);
    if (type === RTM_DELROUTE) return this.#delete(route);
    for (const { index } of route.nexthops) {
      const link = index === undefined ? undefined : this.#namespace.links.all.get(index)?.link;
      if (link === undefined) return { errno: errno.ENODEV };
      if (!link.up) return { errno: errno.ENETUNREACH };
    }
    this.set(route);
    return {};
  }

  set(given: Route): void {
    const isIpv6 = cidrFamily(given.destination) === 6;
    const route = { table: mainTable, ...given, ...(isIpv6 ? { priority: given.priority ?? ipv6Metric } : {}) };
    this.#all.set(keyOf(route), route);
    this.#tell(RTM_NEWROUTE, route);
  }

  forget(isMeant: (route: Route) => boolean): void {
    for (const [key, route] of this.#all)
      if (isMeant(route)) {
        this.#all.delete(key);
        this.#tell(RTM_DELROUTE, route);
      }
  }

  /** The device has gone, or down. Of IPv4 routes that go with it nobody is told. net/ipv4/fib_frontend.c: `fib_disable_ip` */
  leave(index: number): void {
    for (const [key, route] of this.#all)
      if (route.nexthops.some((hop) => hop.index === index)) {
        this.#all.delete(key);
        if (cidrFamily(route.destination) === 6) this.#tell(RTM_DELROUTE, route);
      }
  }

  #lookUp(destination: Cidr): FakeAnswer {
    const address = networkAddress(destination);
    const fitting = this.all
      .filter((route) => route.table === mainTable && cidrContains(route.destination, address))
      .sort((a, b) => prefixLengthOf(b.destination) - prefixLengthOf(a.destination));
    const [best] = fitting;
    return best === undefined ? { errno: errno.ENETUNREACH } : { messages: [message(RTM_NEWROUTE, best)] };
  }

  #delete(wanted: Route): FakeAnswer {
    const { destination, table = mainTable, protocol, priority, type = routeType.unicast } = wanted;
    for (const [key, route] of this.#all) {
      if (route.destination !== destination || (route.table ?? mainTable) !== table) continue;
      if (protocol !== 0 && route.protocol !== protocol) continue;
      if (priority !== undefined && route.priority !== priority) continue;
      if (type !== routeType.unspecified && (route.type ?? routeType.unicast) !== type) continue;
      this.#all.delete(key);
      this.#tell(RTM_DELROUTE, route);
      return {};
    }
    return { errno: errno.ESRCH };
  }

  #tell(type: number, route: Route): void {
    const group = cidrFamily(route.destination) === 4 ? "ipv4Route" : "ipv6Route";
    this.#namespace.publish(group, message(type, route));
  }
}

/** Each device has an IPv6 route of its own to the prefix of its address. */
function keyOf({ destination, table, priority = 0, protocol, nexthops: [hop] }: Route): string {
  const isOfDevice = cidrFamily(destination) === 6 && protocol === 2;
  return `${destination} ${table} ${priority} ${isOfDevice ? hop?.index : ""}`;
}

function message(type: number, route: Route): FakeMessage {
  return { type, write: replaceRoute(route).write };
}

function rulesOf(family: 4 | 6): FakeMessage[] {
  return [
    { priority: 0, table: localTable },
    { priority: 32_766, table: mainTable },
  ].map((rule) => ({ type: RTM_NEWRULE, write: createRule({ ...rule, family, protocol: 2 }).write }));
}
