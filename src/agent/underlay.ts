import { createSocket } from "node:dgram";
import { once } from "node:events";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress, type Ipv4Address, type Ipv6Address, parseIp } from "../base/ip.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import { EventSocket, eventGroup, getLink, listAddresses, type NetlinkSocket } from "../netlink/index.ts";

/** This node's place on the underlay. */
export interface UnderlayState {
  readonly vteps: { readonly ipv4?: Ipv4Address; readonly ipv6?: Ipv6Address };
  /** The interface that has the first VTEP address. */
  readonly interfaceIndex: number;
  readonly interfaceName: string;
  /** The smallest MTU of the interfaces that have VTEP addresses. */
  readonly mtu: number;
}

/** Looks the VTEP addresses up on this host's interfaces; says which one is missing. */
export async function readUnderlay(socket: NetlinkSocket, addresses: readonly IpAddress[]): Promise<UnderlayState> {
  const present = await socket.dump(listAddresses());
  const vteps: { ipv4?: Ipv4Address; ipv6?: Ipv6Address } = {};
  let chosen: { readonly index: number; readonly name: string } | undefined;
  let mtu = Number.POSITIVE_INFINITY;
  for (const address of addresses) {
    const entry = present.find((candidate) => candidate.address === address);
    if (entry === undefined)
      throw new WeftError({
        code: "failed-precondition",
        attempted: `use ${address} as VTEP address`,
        reason: "no interface of this host has it",
        hint: "give an address that `ip address` shows, by --underlay",
      });
    const link = await socket.get(getLink({ index: entry.index }));
    chosen ??= { index: link.index, name: link.name };
    mtu = Math.min(mtu, link.mtu);
    if (familyOf(address) === 4) vteps.ipv4 = address as Ipv4Address;
    else vteps.ipv6 = address as Ipv6Address;
  }
  if (chosen === undefined)
    throw new WeftError({
      code: "invalid-argument",
      attempted: "choose the VTEP address",
      reason: "no address was given",
      hint: "give one by --underlay",
    });
  return { vteps, interfaceIndex: chosen.index, interfaceName: chosen.name, mtu };
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
