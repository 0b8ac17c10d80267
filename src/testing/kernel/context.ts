import type { IpAddress } from "../../base/ip.ts";
import type { eventGroup, Link, Nexthop, Route } from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";

/** Whoever may listen to what a namespace tells. */
export type Group = keyof typeof eventGroup | "nftables";

/** A device: what the kernel reports of it, and what it keeps to itself. */
export interface FakeLink {
  link: Link;
  readonly namespace: Context;
  /** The namespace of a tunnel's outer packets. */
  readonly outer: Context;
  /** The other end of a veth pair. */
  peer?: FakeLink;
}

/** What the parts of a namespace know of each other. */
export interface Context {
  readonly machine: {
    readonly devices: readonly FakeLink[];
    readonly namespaces: readonly Context[];
    byFd(fd: number): Context | undefined;
  };
  readonly links: {
    readonly all: ReadonlyMap<number, FakeLink>;
    byName(name: string): FakeLink | undefined;
    insert(made: { readonly kind: string; readonly link: Partial<Link>; readonly outer: Context }): FakeLink;
    tell(found: FakeLink): void;
    remove(found: FakeLink): void;
  };
  readonly fdb: {
    handle(request: FakeRequest): FakeAnswer | undefined;
    addGroup(index: number, vtep: IpAddress, viaIndex: number | undefined): void;
    leaveBridge(index: number): void;
    leaveNexthop(id: number): void;
  };
  readonly routes: {
    set(route: Route): void;
    forget(isMeant: (route: Route) => boolean): void;
    leave(index: number): void;
  };
  readonly nexthops: { readonly all: ReadonlyMap<number, Nexthop> };
  readonly sysctls: { addDevice(name: string): void; removeDevice(name: string): void };
  /** The number by which this namespace knows another, given to it now if it has none. */
  idOf(other: Context): number;
  byId(id: number): Context | undefined;
  /** The device has gone, and all that hung on it. */
  leave(index: number): void;
  /** Tells all who listen. `marks`: of a neighbour or FDB entry that is new. */
  publish(group: Group, message: FakeMessage, marks?: number): void;
}
