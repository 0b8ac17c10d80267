import { type Cidr, cidrOf } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress, type Ipv4Address, type Ipv6Address } from "../base/ip.ts";
import type { UnderlaySelector } from "../model/underlay-selector.ts";
import { listAddresses, listLinks, type NetlinkSocket, type Watch } from "../netlink/index.ts";
import { leadsNowhere, readPaths } from "./underlay-paths.ts";
import { chooseVteps } from "./vtep-choice.ts";

/** This node's place on the underlay. */
export interface UnderlayState {
  readonly vteps: { readonly ipv4?: Ipv4Address; readonly ipv6?: Ipv6Address };
  /**
   * The interface that carries tunnels: the one that has the first VTEP address, or, where that is on a loopback or dummy
   * interface, one that packets to the other nodes leave by.
   */
  readonly interfaceIndex: number;
  readonly interfaceName: string;
  /**
   * Octets of the largest packet that goes to every other node in one piece, as far as this host knows: the smallest MTU
   * of the interfaces that have VTEP addresses, of the routes to the other nodes' and of the links that these lead to.
   */
  readonly mtu: number;
  /** For VTEPs that there is a route to: whether they are on a link of this node. */
  readonly onLink: ReadonlyMap<IpAddress, boolean>;
  /** What is on the links of the interfaces that have VTEP addresses: of VTEPs that nobody has looked up yet. */
  readonly prefixes: readonly Cidr[];
  /** All interfaces of this host by name. */
  readonly interfaces: ReadonlyMap<string, number>;
  /** What speaks against addresses that were given all the same. */
  readonly remarks: readonly string[];
  /** Duplicate address detection of an address is under way, and until it has ended there is none of that family. */
  readonly isAwaited: boolean;
}

export interface UnderlayQuestion {
  readonly selectors: readonly UnderlaySelector[];
  /** VTEP addresses of the other nodes. */
  readonly peers?: Iterable<IpAddress>;
  /** What it was until now: addresses stay as long as they are there and meant, and so does the interface. */
  readonly before?: UnderlayState;
}

/**
 * Looks the VTEP addresses up on this host's interfaces, one of each family at most, and the ways from there to the other
 * nodes. Throws when a selector has none.
 */
export async function readUnderlay(socket: NetlinkSocket, question: UnderlayQuestion): Promise<UnderlayState> {
  const { selectors, peers = [], before } = question;
  const present = await socket.dump(listAddresses());
  const links = await socket.dump(listLinks());
  const known = [before?.vteps.ipv4, before?.vteps.ipv6].filter((address) => address !== undefined);
  const { chosen, isAwaited } = chooseVteps(selectors, present, links, known);
  const [first] = chosen;
  if (first === undefined)
    throw new WeftError({
      code: "invalid-argument",
      attempted: "choose the VTEP address",
      reason: "no address was given",
      hint: "give one by --underlay",
    });
  const vteps: { ipv4?: Ipv4Address; ipv6?: Ipv6Address } = {};
  const onLink = new Map<IpAddress, boolean>();
  let mtu = Number.POSITIVE_INFINITY;
  let carrier = first.link.index;
  for (const { address, link } of chosen) {
    if (familyOf(address) === 4) vteps.ipv4 = address as Ipv4Address;
    else vteps.ipv6 = address as Ipv6Address;
    const paths = await readPaths(socket, address, peers, links);
    for (const [peer, isOnLink] of paths.onLink) onLink.set(peer, isOnLink);
    mtu = Math.min(mtu, leadsNowhere(link) || paths.onLink.size > 0 ? paths.mtu : link.mtu);
    if (!leadsNowhere(link)) mtu = Math.min(mtu, link.mtu);
    else if (address === first.address)
      carrier =
        before !== undefined && paths.interfaces.has(before.interfaceIndex)
          ? before.interfaceIndex
          : (paths.interfaceIndex ?? carrier);
  }
  const indexes = new Set(chosen.map(({ link }) => link.index));
  return {
    vteps,
    interfaceIndex: carrier,
    interfaceName: links.find(({ index }) => index === carrier)?.name ?? "",
    mtu,
    onLink,
    prefixes: present
      .filter(({ index }) => indexes.has(index))
      .map(({ address, prefixLength }) => cidrOf(address, prefixLength)),
    interfaces: new Map(links.map(({ name, index }) => [name, index])),
    remarks: chosen.flatMap(({ remark }) => remark ?? []),
    isAwaited,
  };
}

/** Calls back when an interface, an address, a route or a rule of the underlay changes. */
export function followUnderlay(watch: Watch, onChange: () => void): void {
  for (const kind of ["link", "address", "route", "rule", "overrun"] as const) watch.subscribe(kind, onChange);
}
