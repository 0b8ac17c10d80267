import { netlinkProtocol } from "../linux/index.ts";
import { type InterfaceAddressEntry, RTM_NEWADDR, readAddress } from "./address.ts";
import { type EventMessage, EventSocket, type EventSocketOptions, eventGroup } from "./events.ts";
import { type Link, RTM_NEWLINK, readBridgePort, readLink, readLinkHeader } from "./link.ts";
import type { BridgePortSettings } from "./link-kinds/bridge.ts";
import { type FdbEntry, type Neighbour, RTM_NEWNEIGH, readFdbEntry, readNeighbour } from "./neighbour.ts";
import { type Netconf, RTM_NEWNETCONF, readNetconf } from "./netconf.ts";
import { type Nexthop, RTM_NEWNEXTHOP, readNexthop } from "./nexthop.ts";
import { type HtbClass, RTM_NEWQDISC, RTM_NEWTCLASS, readHtbClass } from "./qdisc.ts";
import { type Route, RTM_NEWROUTE, readRoute } from "./route.ts";
import { RTM_NEWRULE } from "./rule.ts";
import { RTM_NEWTFILTER, header as trafficControlHeader } from "./traffic-control.ts";

/** What a watch tells, by kind. `isGone`: the object was so, and is no more. */
export interface WatchEvents {
  /** A device is so now; `undefined`: gone. By its index. */
  readonly link: { readonly index: number; readonly link: Link | undefined };
  /** A bridge treats one of its ports so now. By the port's index. */
  readonly bridgePort: { readonly index: number; readonly settings: BridgePortSettings };
  /** By the index of the device. */
  readonly address: { readonly address: InterfaceAddressEntry; readonly isGone: boolean };
  /** By the index of the device. */
  readonly neighbour: { readonly neighbour: Neighbour; readonly isGone: boolean };
  /** By the index of the device: a tunnel, a bridge port. */
  readonly fdb: { readonly entry: FdbEntry; readonly isGone: boolean };
  /** By its metric; 0: none. */
  readonly route: { readonly route: Route; readonly isGone: boolean };
  readonly rule: { readonly isGone: boolean };
  /** By the index of the device, or what of `netconfIndex` stands for more than one. */
  readonly netconf: Netconf;
  readonly nexthop: { readonly nexthop: Nexthop; readonly isGone: boolean };
  /** A qdisc of the device, a class (`htbClass`: of this kind) or a filter of one, came, changed or went. By the index of the device. */
  readonly trafficControl: { readonly index: number; readonly isGone: boolean; readonly htbClass?: HtbClass };
  /**
   * Something in an nftables table changed, by whoever has the port: {@link NetlinkSocket.portId}. By its name. Both absent: some
   * changes were lost, perhaps of this table.
   */
  readonly nft: { readonly table?: string; readonly port?: number };
  /** Events of other kinds than `nft` were lost: whoever listens must look at the whole state anew. */
  readonly overrun: undefined;
}

export type WatchKind = keyof WatchEvents;
export type WatchHandler<Kind extends WatchKind> = (event: WatchEvents[Kind]) => void;

/** The multicast groups by which the kernel tells of a kind. Bridges tell of their ports among the links, FDBs among the neighbours. */
const groupsOf = {
  link: [eventGroup.link],
  neighbour: [eventGroup.neighbour],
  address: [eventGroup.ipv4Address, eventGroup.ipv6Address],
  route: [eventGroup.ipv4Route, eventGroup.ipv6Route],
  rule: [eventGroup.ipv4Rule, eventGroup.ipv6Rule],
  netconf: [eventGroup.ipv4Netconf, eventGroup.ipv6Netconf],
  nexthop: [eventGroup.nexthop],
  trafficControl: [eventGroup.trafficControl],
} as const;

/** linux/netfilter/nfnetlink.h: changes of nftables' rules; `struct nfgenmsg` before the attributes. */
const NFNLGRP_NFTABLES = 7;
const nfgenmsgLength = 4;
/** linux/netfilter/nf_tables.h: the end of a transaction, which names no table. */
const NFT_MSG_NEWGEN = 15;
/** The first attribute of all messages about a table and what is in it: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, … */
const tableAttribute = 1;

export interface WatchOptions extends Pick<EventSocketOptions, "namespace" | "open" | "filter"> {
  readonly groups: readonly (keyof typeof groupsOf)[];
}

/**
 * The one watch of a namespace: reads what its kernel tells of and hands it to those who asked for it. They are looked up,
 * so that an event costs the same however many there are. Of devices that nobody asked for no more than the header is read.
 */
export class Watch {
  readonly #sockets: readonly EventSocket[];
  readonly #handlers = new Map<WatchKind, Map<number | string | undefined, Set<WatchHandler<never>>>>();

  constructor({ groups, filter, ...place }: WatchOptions) {
    const objects = new EventSocket({
      ...place,
      groups: groups.flatMap((kind) => groupsOf[kind]),
      ...(filter === undefined ? {} : { filter }),
      onEvent: (message) => this.#onObject(message),
      onOverrun: () => this.#tell("overrun", undefined),
    });
    try {
      const filters = new EventSocket({
        ...place,
        protocol: netlinkProtocol.netfilter,
        groups: [NFNLGRP_NFTABLES],
        onEvent: (message) => this.#onFilter(message),
        onOverrun: () => this.#onFiltersLost(),
      });
      this.#sockets = [objects, filters];
    } catch (error) {
      objects.close();
      throw error;
    }
  }

  /**
   * Calls back with each event of the kind, or with those of one key: what that is, {@link WatchEvents} says of each kind.
   * Events are valid for as long as anybody holds them. Returns what ends it.
   */
  subscribe<Kind extends WatchKind>(kind: Kind, handler: WatchHandler<Kind>, key?: number | string): () => void {
    const ofKind = this.#handlers.get(kind) ?? new Map<number | string | undefined, Set<WatchHandler<never>>>();
    const handlers = ofKind.get(key) ?? new Set();
    this.#handlers.set(kind, ofKind.set(key, handlers.add(handler)));
    return () => {
      handlers.delete(handler);
      if (handlers.size === 0 && ofKind.get(key) === handlers) ofKind.delete(key);
    };
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #isWanted(kind: WatchKind, key?: number): boolean {
    const ofKind = this.#handlers.get(kind);
    return ofKind?.has(undefined) === true || ofKind?.has(key) === true;
  }

  #tell<Kind extends WatchKind>(kind: Kind, event: WatchEvents[Kind], key?: number | string): void {
    const ofKind = this.#handlers.get(kind);
    for (const handler of ofKind?.get(undefined) ?? []) (handler as WatchHandler<Kind>)(event);
    if (key !== undefined) for (const handler of ofKind?.get(key) ?? []) (handler as WatchHandler<Kind>)(event);
  }

  #onObject({ type, bytes, view, start, end }: EventMessage): void {
    // linux/rtnetlink.h: types come in fours, NEW, DEL, GET, SET.
    const isGone = (type & 3) === 1;
    switch (type & ~3) {
      case RTM_NEWLINK: {
        const { index, isBridgePort } = readLinkHeader(view, start, end);
        if (!this.#isWanted(isBridgePort ? "bridgePort" : "link", index)) return;
        if (!isBridgePort) {
          this.#tell("link", { index, link: isGone ? undefined : readLink(bytes, view, start, end) }, index);
          return;
        }
        // A port that leaves its bridge tells so as a device, too.
        const port = isGone ? undefined : readBridgePort(bytes, view, start, end);
        if (port !== undefined) this.#tell("bridgePort", port, index);
        return;
      }
      case RTM_NEWADDR: {
        const address = readAddress(bytes, view, start, end);
        if (address !== undefined) this.#tell("address", { address, isGone }, address.index);
        return;
      }
      case RTM_NEWNEIGH: {
        const entry = readFdbEntry(bytes, view, start, end);
        const neighbour = entry === undefined ? readNeighbour(bytes, view, start, end) : undefined;
        if (entry !== undefined) this.#tell("fdb", { entry, isGone }, entry.index);
        if (neighbour !== undefined) this.#tell("neighbour", { neighbour, isGone }, neighbour.index);
        return;
      }
      case RTM_NEWROUTE: {
        const route = readRoute(bytes, view, start, end);
        if (route !== undefined) this.#tell("route", { route, isGone }, route.priority ?? 0);
        return;
      }
      case RTM_NEWRULE:
        this.#tell("rule", { isGone });
        return;
      case RTM_NEWNETCONF: {
        const netconf = readNetconf(view, start, end);
        if (!isGone) this.#tell("netconf", netconf, netconf.index);
        return;
      }
      case RTM_NEWNEXTHOP: {
        const nexthop = readNexthop(bytes, view, start, end);
        if (nexthop !== undefined) this.#tell("nexthop", { nexthop, isGone });
        return;
      }
      case RTM_NEWTCLASS: {
        const htbClass = readHtbClass(bytes, view, start, end);
        if (htbClass !== undefined)
          this.#tell("trafficControl", { index: htbClass.index, isGone, htbClass }, htbClass.index);
        return;
      }
      case RTM_NEWQDISC:
      case RTM_NEWTFILTER: {
        const { index } = trafficControlHeader.read(view, start, end);
        this.#tell("trafficControl", { index, isGone }, index);
      }
    }
  }

  #onFilter({ type, portId, bytes, view, start, end }: EventMessage): void {
    if ((type & 0xff) === NFT_MSG_NEWGEN) return;
    const attribute = start + nfgenmsgLength;
    if (end < attribute + 4 || view.getUint16(attribute + 2, true) !== tableAttribute) return;
    const length = view.getUint16(attribute, true);
    if (length < 5 || attribute + length > end) return;
    const table = decoder.decode(bytes.subarray(attribute + 4, attribute + length - 1));
    this.#tell("nft", { table, port: portId }, table);
  }

  /** Whichever table it was, all hear of it. */
  #onFiltersLost(): void {
    for (const handlers of this.#handlers.get("nft")?.values() ?? [])
      for (const handler of handlers) (handler as WatchHandler<"nft">)({});
  }
}

const decoder = new TextDecoder();
