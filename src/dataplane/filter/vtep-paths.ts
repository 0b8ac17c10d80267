import { cidrContains, cidrOf } from "../../base/cidr.ts";
import { familyOf, type IpAddress } from "../../base/ip.ts";
import {
  type EventMessage,
  EventSocket,
  eventGroup,
  getLink,
  lookUpRoute,
  type NetlinkSocket,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  readRoute,
  routeType,
} from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";

/** How the host's routes lead to the VTEPs of other nodes. */
export interface VtepPaths {
  /** On an Ethernet link of this host: no router is between. */
  readonly onLink: readonly IpAddress[];
  /** By a router, or a link that hides routers, behind this one interface. */
  readonly routed: readonly { readonly interfaceName: string; readonly vteps: readonly IpAddress[] }[];
  /** By several interfaces, or by none that is known. */
  readonly elsewhere: readonly IpAddress[];
}

/** Follows the routes to VTEPs: `onChange` is called when one of them may lead elsewhere now. */
export class VtepRoutes {
  readonly #socket: NetlinkSocket;
  readonly #events: EventSocket;
  readonly #known = new Map<IpAddress, string | undefined>();

  constructor(namespace: KernelNamespace, socket: NetlinkSocket, onChange: () => void) {
    this.#socket = socket;
    const forget = (): void => {
      this.#known.clear();
      onChange();
    };
    this.#events = new EventSocket({
      open: (options) => namespace.openTransport(options),
      groups: [eventGroup.ipv4Route, eventGroup.ipv6Route],
      onEvent: (message) => {
        if (this.#concernsVtep(message)) forget();
      },
      onOverrun: forget,
    });
  }

  /** Routes of rules and interfaces that went away without a word are asked for again. */
  distrust(): void {
    this.#known.clear();
  }

  async paths(vteps: readonly IpAddress[]): Promise<VtepPaths> {
    const wanted = new Set(vteps);
    for (const vtep of this.#known.keys()) if (!wanted.has(vtep)) this.#known.delete(vtep);
    const onLink: IpAddress[] = [];
    const elsewhere: IpAddress[] = [];
    const routed = new Map<string, IpAddress[]>();
    for (const vtep of vteps) {
      if (!this.#known.has(vtep)) this.#known.set(vtep, await this.#placeOf(vtep));
      const place = this.#known.get(vtep);
      if (place === undefined) elsewhere.push(vtep);
      else if (place === "") onLink.push(vtep);
      else routed.set(place, [...(routed.get(place) ?? []), vtep]);
    }
    const byName = [...routed].sort(([a], [b]) => (a < b ? -1 : 1));
    return { onLink, routed: byName.map(([interfaceName, members]) => ({ interfaceName, vteps: members })), elsewhere };
  }

  close(): void {
    this.#events.close();
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
    } catch {
      // No route, or it went away this moment, which an event tells.
      return undefined;
    }
  }

  #concernsVtep({ type, bytes, view, start, end }: EventMessage): boolean {
    if (type !== RTM_NEWROUTE && type !== RTM_DELROUTE) return false;
    const route = readRoute(bytes, view, start, end);
    if (route === undefined) return false;
    return [...this.#known.keys()].some((vtep) => cidrContains(route.destination, vtep));
  }
}
