import { hostPrefix } from "../../base/cidr.ts";
import { messageOf } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { isErrno } from "../../linux/index.ts";
import {
  type FdbEntry,
  getFdbEntry,
  getLink,
  getNeighbour,
  type InterfaceAddressEntry,
  type Link,
  listAddresses,
  lookUp,
  lookUpRoute,
  type Neighbour,
  type NetlinkSocket,
  type Route,
  routeType,
} from "../../netlink/index.ts";

/** A namespace that a packet comes through, and what its kernel would do. */
export class Space {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  /** As operators know it: `weft-blue`, `/run/netns/c1`. */
  readonly place: string;

  constructor(namespace: KernelNamespace, socket: NetlinkSocket, place = namespace.label) {
    this.namespace = namespace;
    this.socket = socket;
    this.place = place;
  }

  link(index: number): Promise<Link | undefined> {
    return lookUp(this.socket, getLink({ index }));
  }

  linkNamed(name: string): Promise<Link | undefined> {
    return lookUp(this.socket, getLink({ name }));
  }

  async addressesOf(index: number): Promise<readonly InterfaceAddressEntry[]> {
    return (await this.socket.dump(listAddresses({ index }))).filter((entry) => entry.index === index);
  }

  /** `by`: the interface that it came in by; absent: it is sent from here. */
  async route(packet: {
    readonly destination: IpAddress;
    readonly source: IpAddress;
    readonly by?: number;
  }): Promise<Routed> {
    try {
      const { destination, source, by } = packet;
      const route = await this.socket.get(lookUpRoute(hostPrefix(destination), source, by));
      const type = route.type ?? routeType.unicast;
      if (type === routeType.unicast) return { kind: "unicast", route };
      return { kind: type === routeType.local ? "local" : "refused", route };
    } catch (error) {
      return { kind: "none", reason: reasonOf(error) };
    }
  }

  neighbour(index: number, ip: IpAddress): Promise<Neighbour | undefined> {
    return lookUp(this.socket, getNeighbour(index, ip));
  }

  /** Of a tunnel's own table, or of a bridge's by the index of the bridge. */
  async fdb(index: number, mac: MacAddress): Promise<FdbEntry | undefined> {
    return await lookUp(this.socket, getFdbEntry(index, mac, "self"));
  }
}

export type Routed =
  | { readonly kind: "unicast" | "local" | "refused"; readonly route: Route }
  | { readonly kind: "none"; readonly reason: string };

/** Errors of net/ipv4/route.c and net/ipv6/route.c that say what is the matter with a packet, not with the question. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return messageOf(error);
  if (isErrno(error, "ENETUNREACH", "ESRCH")) return "there is no route";
  if (isErrno(error, "EHOSTUNREACH")) return "there is no route, or forwarding is off there";
  if (isErrno(error, "EXDEV")) return "the reverse path filter refuses its source: rp_filter";
  if (isErrno(error, "EINVAL")) return "its source is no address that may come from there";
  return messageOf(error);
}
