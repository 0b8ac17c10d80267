import { createSocket } from "node:dgram";
import { once } from "node:events";
import { cidrContains, cidrFamily, cidrOf, prefixLengthOf } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress, parseIp } from "../base/ip.ts";
import { impossibleVtep } from "../model/vtep-address.ts";
import {
  type InterfaceAddressEntry,
  listAddresses,
  listRoutes,
  type NetlinkSocket,
  type Route,
  routeType,
} from "../netlink/index.ts";
import { flawOf, globalScope } from "./vtep-choice.ts";

/** linux/rtnetlink.h */
const RT_TABLE_MAIN = 254;

/**
 * The VTEP address of a node that was told none: what this host uses towards the server, or, beside the server, what it
 * uses towards the world.
 */
export async function defaultVtep(socket: NetlinkSocket, server: string): Promise<IpAddress> {
  const towards = await addressTowards(server);
  const present = await socket.dump(listAddresses());
  const routes = impossibleVtep(towards) === undefined ? [] : await socket.dump(listRoutes());
  return chooseDefault(server, towards, present, routes);
}

/** `towards`: the address that this host uses towards the server. Of a family that has stable addresses it is one of them. */
export function chooseDefault(
  server: string,
  towards: IpAddress,
  present: readonly InterfaceAddressEntry[],
  routes: readonly Route[],
): IpAddress {
  if (impossibleVtep(towards) === undefined) return stableFor(towards, present);
  const usable = present.filter(
    (entry) =>
      entry.scope === globalScope && impossibleVtep(entry.address) === undefined && flawOf(entry) === undefined,
  );
  for (const { destination, preferredSource, nexthops } of routes.filter(isDefault).sort(byPreference)) {
    if (preferredSource !== undefined) return preferredSource;
    const index = nexthops[0]?.index;
    const family = cidrFamily(destination);
    const entry = usable.find((each) => each.index === index && familyOf(each.address) === family);
    if (entry !== undefined) return entry.address;
  }
  const addresses = usable.map(({ address }) => address);
  throw new WeftError({
    code: "failed-precondition",
    attempted: "choose the VTEP address",
    reason: `the server ${server} is on this host, which has no default route either: nothing says which address other hosts reach`,
    hint:
      addresses.length > 0
        ? `give one by --underlay; this host has ${addresses.join(", ")}`
        : "give this host an address that other hosts reach, and name it by --underlay",
  });
}

/** The address itself, unless it is temporary or deprecated: then one that is not, of the same prefix or interface. */
function stableFor(address: IpAddress, present: readonly InterfaceAddressEntry[]): IpAddress {
  const own = present.find((entry) => entry.address === address);
  if (own === undefined || flawOf(own) === undefined) return address;
  const prefix = cidrOf(address, own.prefixLength);
  const others = present.filter(
    (entry) =>
      entry.index === own.index &&
      entry.scope === globalScope &&
      familyOf(entry.address) === familyOf(address) &&
      flawOf(entry) === undefined &&
      entry.duplicate !== true,
  );
  return (others.find((entry) => cidrContains(prefix, entry.address)) ?? others[0] ?? own).address;
}

function isDefault({ destination, table, type }: Route): boolean {
  return prefixLengthOf(destination) === 0 && table === RT_TABLE_MAIN && type === routeType.unicast;
}

/** IPv4 first, as networks have it by default; then what the kernel prefers. */
function byPreference(a: Route, b: Route): number {
  return cidrFamily(a.destination) - cidrFamily(b.destination) || (a.priority ?? 0) - (b.priority ?? 0);
}

/** The address that this host uses towards another. Nothing is sent. */
async function addressTowards(host: string): Promise<IpAddress> {
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
