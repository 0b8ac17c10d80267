import type { InterfaceAddress } from "../base/cidr.ts";
import { familyOf } from "../base/ip.ts";
import { linkLocalOf } from "../base/link-local.ts";
import { networkMac } from "../model/endpoint-mac.ts";
import { bridgeName } from "../model/names.ts";
import {
  type BridgeSettings,
  changeLink,
  createLink,
  deleteAddress,
  getLink,
  type Link,
  listAddresses,
  type Request,
  replaceAddress,
} from "../netlink/index.ts";
import type { NetworkSettings } from "./desired.ts";
import { applyChanges, type DevicePlace, isMarked, wrongKind } from "./device-changes.ts";
import { aliasOf, weftGroup } from "./ownership.ts";

/** The bridge of a network with the addresses that it answers for as a gateway. */
export async function ensureBridge(
  network: NetworkSettings,
  place: DevicePlace,
  present: Link | undefined,
  changes: string[],
): Promise<{ readonly link: Link; readonly created: boolean }> {
  const name = bridgeName(network.vni);
  let link = present;
  if (link === undefined) {
    await place.socket.execute(
      createLink("bridge", {
        name,
        // An explicit MAC: one that follows the ports would change with them and flush all neighbours.
        mac: networkMac(network.vni),
        mtu: network.mtu,
        group: weftGroup,
        info: { bridge: bridgeSettings(network) },
      }),
    );
    changes.push(`bridge ${name} had been removed; made again`);
    link = await place.socket.get(getLink({ name }));
  } else if (link.info.kind !== "bridge" || !isMarked(link, place.instance))
    throw wrongKind(name, link, "bridge", place);
  const requests = [...bridgeChanges(network, place.instance, link), ...(await addressChanges(network, place, link))];
  await applyChanges(name, place.socket, requests, present !== undefined, changes);
  return { link, created: present === undefined };
}

/**
 * Ageing is told in hundredths of a second. Without a querier on the link snooping would cut multicast off after some
 * minutes. Ports are in no VLAN: for each VLAN of a port the bridge would hold every entry once more (net/bridge/br_fdb.c,
 * `br_fdb_add`).
 */
function bridgeSettings(network: NetworkSettings) {
  return { multicastSnooping: false, ageingTime: network.ageing * 100, vlanDefaultPvid: 0 } satisfies BridgeSettings;
}

function isAs(wanted: ReturnType<typeof bridgeSettings>, actual: BridgeSettings | undefined): boolean {
  return (
    actual?.multicastSnooping === wanted.multicastSnooping &&
    actual.ageingTime === wanted.ageingTime &&
    (actual.vlanDefaultPvid ?? 0) === wanted.vlanDefaultPvid
  );
}

/** What makes the bridge as it shall be; nothing if it is. */
export function* bridgeChanges(network: NetworkSettings, instance: string, link: Link): Generator<Request> {
  const reference = { index: link.index };
  if (link.mac !== networkMac(network.vni)) yield changeLink(reference, { mac: networkMac(network.vni) });
  if (link.alias !== aliasOf(instance)) yield changeLink(reference, { alias: aliasOf(instance) });
  if (link.group !== weftGroup) yield changeLink(reference, { group: weftGroup });
  if (link.mtu !== network.mtu) yield changeLink(reference, { mtu: network.mtu });
  const wanted = bridgeSettings(network);
  if (!isAs(wanted, link.info.bridge)) yield changeLink(reference, { info: { kind: "bridge", bridge: wanted } });
  if (!link.up) yield changeLink(reference, { up: true });
}

/**
 * The addresses of the bridge: the gateways, and beside IPv6 ones a link-local address, without which the kernel
 * solicits no neighbour (net/ipv6/ndisc.c, `ndisc_solicit`).
 */
export function bridgeAddresses({ gateways, vni }: NetworkSettings): readonly InterfaceAddress[] {
  return gateways.some(({ address }) => familyOf(address) === 6)
    ? [...gateways, { address: linkLocalOf(networkMac(vni)), prefixLength: 64 }]
    : gateways;
}

/** Addresses that the bridge lacks are added first, then others are taken away: the bridge is weft's alone. */
async function addressChanges(network: NetworkSettings, place: DevicePlace, link: Link): Promise<Request[]> {
  const present = await place.socket.dump(listAddresses({ index: link.index }));
  const wanted = bridgeAddresses(network);
  const isIn = (list: readonly InterfaceAddress[], { address, prefixLength }: InterfaceAddress): boolean =>
    list.some((other) => other.address === address && other.prefixLength === prefixLength);
  return [
    ...wanted
      .filter((address) => !isIn(present, address))
      .map(({ address, prefixLength }) =>
        replaceAddress({ index: link.index, address, prefixLength, withoutDad: true }),
      ),
    ...present
      .filter((address) => !isIn(wanted, address))
      .map(({ address, prefixLength }) => deleteAddress({ index: link.index, address, prefixLength })),
  ];
}
