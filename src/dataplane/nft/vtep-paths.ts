import { cidrOf } from "../../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily, ipFromBigInt, ipToBigInt } from "../../base/ip.ts";
import { isErrno } from "../../linux/index.ts";
import { getLink, lookUpRoute, type NetlinkSocket, type Route, routeType, type Watch } from "../../netlink/index.ts";
import { spanOf } from "../uplink/span.ts";

/** How the host's routes lead to the VTEPs of other nodes. */
export interface VtepPaths {
  /** On an Ethernet link of this host: no router is between. */
  readonly onLink: readonly IpAddress[];
  /** By a router, or a link that hides routers, behind this one interface. */
  readonly routed: readonly { readonly interfaceName: string; readonly vteps: readonly IpAddress[] }[];
  /** By several interfaces, or by none that is known. */
  readonly elsewhere: readonly IpAddress[];
}

/** What the kernel answers of an address that no unicast route leads to. net/ipv4/fib_semantics.c: `fib_props` */
const noWay = ["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "ESRCH", "ENODEV"];

/** Follows the routes to VTEPs: `onChange` is called when one of them may lead elsewhere now. */
export class VtepRoutes {
  readonly #socket: NetlinkSocket;
  readonly #known = new Map<IpAddress, string | undefined>();
  /** Those that are known, as numbers in order; absent: they have changed. */
  #numbers: Readonly<Record<IpFamily, readonly bigint[]>> | undefined;

  constructor(watch: Watch, socket: NetlinkSocket, onChange: () => void) {
    this.#socket = socket;
    watch.subscribe("route", ({ route }) => {
      if (this.#forget(route)) onChange();
    });
    watch.subscribe("overrun", () => {
      this.distrust();
      onChange();
    });
  }

  /** Routes of rules and interfaces that went away without a word are asked for again. */
  distrust(): void {
    this.#known.clear();
    this.#numbers = undefined;
  }

  async paths(vteps: readonly IpAddress[]): Promise<VtepPaths> {
    const wanted = new Set(vteps);
    for (const vtep of this.#known.keys()) if (!wanted.has(vtep)) this.#known.delete(vtep);
    const onLink: IpAddress[] = [];
    const elsewhere: IpAddress[] = [];
    const routed = new Map<string, IpAddress[]>();
    for (const vtep of vteps) {
      let place = this.#known.get(vtep);
      if (!this.#known.has(vtep)) {
        // Known from here on: a route that changes while it is asked for changes what was answered.
        this.#known.set(vtep, undefined);
        this.#numbers = undefined;
        place = await this.#placeOf(vtep).catch((error: unknown) => {
          this.#known.delete(vtep);
          throw error;
        });
        if (this.#known.has(vtep)) this.#known.set(vtep, place);
      }
      if (place === undefined) elsewhere.push(vtep);
      else if (place === "") onLink.push(vtep);
      else routed.set(place, [...(routed.get(place) ?? []), vtep]);
    }
    const byName = [...routed].sort(([a], [b]) => (a < b ? -1 : 1));
    return { onLink, routed: byName.map(([interfaceName, members]) => ({ interfaceName, vteps: members })), elsewhere };
  }

  /** The interface behind which a router leads to the VTEP; empty: it is on a link; `undefined`: neither. */
  async #placeOf(vtep: IpAddress): Promise<string | undefined> {
    try {
      const { type, nexthops } = await this.#socket.get(lookUpRoute(cidrOf(vtep, familyOf(vtep) === 4 ? 32 : 128)));
      const [nexthop] = nexthops;
      if (type !== routeType.unicast || nexthops.length !== 1 || nexthop?.index === undefined) return undefined;
      const link = await this.#socket.get(getLink({ index: nexthop.index }));
      // What has no MAC address leads to one peer, whoever is behind it.
      return nexthop.gateway === undefined && link.mac !== undefined ? "" : link.name;
    } catch (error) {
      // No route, one that refuses, or it went away this moment, which an event tells.
      if (isErrno(error, ...noWay)) return undefined;
      throw error;
    }
  }

  /**
   * Forgets what is known of VTEPs that the route may lead to, and tells whether there are any. A host may have many routes that
   * change all the time, and there may be many VTEPs.
   */
  #forget({ destination }: Route): boolean {
    this.#numbers ??= { 4: inOrder(this.#known.keys(), 4), 6: inOrder(this.#known.keys(), 6) };
    const { family, first, last } = spanOf(destination);
    const numbers = this.#numbers[family];
    let [low, high] = [0, numbers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((numbers[middle] ?? last) < first) low = middle + 1;
      else high = middle;
    }
    const start = low;
    for (; low < numbers.length; low++) {
      const number = numbers[low];
      if (number === undefined || number > last) break;
      this.#known.delete(ipFromBigInt(number, family));
    }
    if (low === start) return false;
    this.#numbers = undefined;
    return true;
  }
}

function inOrder(vteps: Iterable<IpAddress>, family: IpFamily): bigint[] {
  const numbers = [...vteps].filter((vtep) => familyOf(vtep) === family).map(ipToBigInt);
  return numbers.sort((a, b) => (a < b ? -1 : 1));
}
