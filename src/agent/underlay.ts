import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type Cidr, cidrContains, cidrOf } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress, type Ipv4Address, type Ipv6Address, parseIp } from "../base/ip.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import type { UnderlaySelector } from "../model/underlay-selector.ts";
import {
  EventSocket,
  eventGroup,
  type InterfaceAddressEntry,
  type Link,
  listAddresses,
  listLinks,
  type NetlinkSocket,
} from "../netlink/index.ts";

/** This node's place on the underlay. */
export interface UnderlayState {
  readonly vteps: { readonly ipv4?: Ipv4Address; readonly ipv6?: Ipv6Address };
  /** The interface that has the first VTEP address. */
  readonly interfaceIndex: number;
  readonly interfaceName: string;
  /** The smallest MTU of the interfaces that have VTEP addresses. */
  readonly mtu: number;
  /** What is on the links of the interfaces that have VTEP addresses. */
  readonly prefixes: readonly Cidr[];
  /** All interfaces of this host by name. */
  readonly interfaces: ReadonlyMap<string, number>;
}

/** linux/rtnetlink.h: RT_SCOPE_UNIVERSE. */
const globalScope = 0;

/**
 * Looks the VTEP addresses up on this host's interfaces, one of each family at most; says which selector has none.
 * `before`: the addresses until now, which stay as long as they are there and meant.
 */
export async function readUnderlay(
  socket: NetlinkSocket,
  selectors: readonly UnderlaySelector[],
  before: UnderlayState["vteps"] = {},
): Promise<UnderlayState> {
  const present = await socket.dump(listAddresses());
  const links = await socket.dump(listLinks());
  const vteps: { ipv4?: Ipv4Address; ipv6?: Ipv6Address } = {};
  const chosen: Link[] = [];
  for (const selector of selectors) {
    const candidates = present.filter((entry) => isMeant(selector, entry, links));
    if (candidates.length === 0) throw nothingFound(selector);
    for (const family of [4, 6] as const) {
      const ofFamily = candidates.filter(({ address }) => familyOf(address) === family);
      const entry = ofFamily.find(({ address }) => address === before[`ipv${family}`]) ?? ofFamily[0];
      const link = links.find(({ index }) => index === entry?.index);
      if (entry === undefined || link === undefined || vteps[`ipv${family}`] !== undefined) continue;
      if (family === 4) vteps.ipv4 = entry.address as Ipv4Address;
      else vteps.ipv6 = entry.address as Ipv6Address;
      chosen.push(link);
    }
  }
  const [first] = chosen;
  if (first === undefined)
    throw new WeftError({
      code: "invalid-argument",
      attempted: "choose the VTEP address",
      reason: "no address was given",
      hint: "give one by --underlay",
    });
  const indexes = new Set(chosen.map(({ index }) => index));
  return {
    vteps,
    interfaceIndex: first.index,
    interfaceName: first.name,
    mtu: Math.min(...chosen.map(({ mtu }) => mtu)),
    prefixes: present
      .filter(({ index }) => indexes.has(index))
      .map(({ address, prefixLength }) => cidrOf(address, prefixLength)),
    interfaces: new Map(links.map(({ name, index }) => [name, index])),
  };
}

function isMeant(
  selector: UnderlaySelector,
  { index, address, scope }: InterfaceAddressEntry,
  links: readonly Link[],
): boolean {
  switch (selector.kind) {
    case "address":
      return address === selector.address;
    case "prefix":
      return cidrContains(selector.prefix, address);
    case "interface":
      return scope === globalScope && links.find((link) => link.index === index)?.name === selector.name;
  }
}

function nothingFound(selector: UnderlaySelector): WeftError {
  switch (selector.kind) {
    case "address":
      return new WeftError({
        code: "failed-precondition",
        attempted: `use ${selector.address} as VTEP address`,
        reason: "no interface of this host has it",
        hint: "give an address that `ip address` shows, by --underlay",
      });
    case "prefix":
      return new WeftError({
        code: "failed-precondition",
        attempted: `find a VTEP address in ${selector.prefix}`,
        reason: "no interface of this host has an address of it",
        hint: "give a prefix that holds an address that `ip address` shows, by --underlay",
      });
    case "interface":
      return new WeftError({
        code: "failed-precondition",
        attempted: `use the address of interface ${selector.name} as VTEP address`,
        reason: "this host has no such interface, or it has no address of global scope",
        hint: "see `ip address`, and give an interface or an address by --underlay",
      });
  }
}

/** Calls back when an interface or address of the underlay changes. */
export function watchUnderlay(namespace: NetworkNamespace, onChange: () => void): { close(): void } {
  return new EventSocket({
    namespace,
    groups: [eventGroup.link, eventGroup.ipv4Address, eventGroup.ipv6Address],
    onEvent: onChange,
    onOverrun: onChange,
  });
}

/** The address that this host uses towards another: what a VTEP should have where nothing else is said. Nothing is sent. */
export async function addressTowards(host: string): Promise<IpAddress> {
  const attempted = `find this host's address towards ${host}`;
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  try {
    const connected = once(socket, "connect");
    socket.connect(9, host);
    await connected;
    const address = parseIp(socket.address().address);
    if (address.ok) return address.value;
    throw new WeftError({ code: "internal", attempted, reason: address.error });
  } catch (error) {
    if (error instanceof WeftError) throw error;
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: error instanceof Error ? error.message : String(error),
      hint: "give the VTEP address by --underlay",
      cause: error,
    });
  } finally {
    socket.close();
  }
}
