import { type Cidr, cidrFamily, hostPrefix, networkAddress, prefixLengthOf } from "../../base/cidr.ts";
import { familyOf, type IpAddress, ipFromBytes, writeIp } from "../../base/ip.ts";
import { linkLocalOf } from "../../base/link-local.ts";
import { type MacAddress, macFromBytes, writeMac } from "../../base/mac.ts";
import type { Vni } from "../../model/index.ts";
import type { LocalEndpoint, NetworkSettings } from "../desired.ts";

/** Keys and values of the guard's maps, in the form of the structures in guard.c. Numbers are little-endian, addresses as in packets. */

/** Why the guard drops frames: `enum reason` of guard.c, in the same order. */
export const guardReasons = [
  "malformed",
  "mac",
  "ip",
  "arp",
  "neighbour-discovery",
  "router-advertisement",
  "redirect",
  "dhcp-server",
  "vlan-tag",
  "tunnel",
  "storm",
  "unknown-unicast",
] as const;
/** Why frames are dropped: those of the guard, and policies, by the direction as the endpoint sees it. */
export const dropReasons = [...guardReasons, "policy-ingress", "policy-egress"] as const;
export type DropReason = (typeof dropReasons)[number];

/** Frames of one port that were dropped, by reason; those that there are. */
export type Dropped = Partial<Record<DropReason, number>>;

/** A port, by the number of its tenant's namespace and the index of its device there. */
export interface PortPlace {
  readonly tenant: number;
  readonly index: number;
}

/** `enum kind` of guard.c. */
export const addressKind = {
  ownMac: 1,
  ownIpv4: 4,
  ownIpv6: 6,
  takenIpv4: 0x14,
  takenIpv6: 0x16,
  tunnelPort: 0x20,
} as const;
/** Where `struct port` of guard.c has the MAC. */
const portMacAt = 20;

/** `enum port_flags` of guard.c. */
const portFlag = {
  trusted: 1,
  learned: 2,
  tagged: 4,
  prefixes: 8,
  answered: 16,
  atNodeAddress: 32,
  taught: 64,
  counted: 128,
} as const;

/** Octets of `struct address_key`, of which 16 are the address. */
const addressKeyLength = 28;
const octetsAt = 12;
/** Of `struct mac_key`. */
const [macAt, isWholeAt] = [8, 14];
/** Of `struct prefix_key`: how many bits count, then a `struct address_key`. */
const prefixLengthAt = 4;
/** Bits of tenant, scope and kind, which count always. */
const scopeBits = octetsAt * 8;
/** The row of a network among the storms. */
export const networkBit = 0x8000_0000;

export const presentValue = new Uint8Array(4);
/** `struct storm`, `struct dropped`. */
export const noStorm = new Uint8Array(24);
export const nothingDropped = new Uint8Array(8 * guardReasons.length);

/** What a port may send. */
export interface PortRows {
  readonly port: Uint8Array;
  /** Keys of the map of addresses. */
  readonly addresses: readonly Uint8Array[];
  /** Keys of the map of prefixes. */
  readonly prefixes: readonly Uint8Array[];
  /** The network, among the storms. */
  readonly network: Uint8Array;
}

export function portKey({ tenant, index }: PortPlace): Uint8Array {
  const key = new Uint8Array(8);
  const view = new DataView(key.buffer);
  view.setUint32(0, tenant, true);
  view.setUint32(4, index, true);
  return key;
}

export function stormKeyOfNetwork(tenant: number, vni: Vni): Uint8Array {
  return portKey({ tenant, index: (vni | networkBit) >>> 0 });
}

/** Whether ports of the network may have addresses that nobody has. */
export function mayHaveNobodys({ antiSpoof, localLearning }: NetworkSettings): boolean {
  return antiSpoof && localLearning;
}

/**
 * Whether frames to MACs that nobody has are limited. Not where bridges know what nobody tells: with data-plane learning they hear it through
 * tunnels, and where endpoints send with what they like and nothing is learned nobody knows which MACs there are. Nor where none comes
 * through anyway.
 */
export function countsUnknown(settings: NetworkSettings): boolean {
  const { learning, floodsUnknown, antiSpoof, localLearning, stormControl } = settings;
  const isLimited = stormControl.port > 0 || stormControl.network > 0;
  return isLimited && floodsUnknown && learning === "control-plane" && (antiSpoof || localLearning);
}

/** The MACs that an endpoint may send with beside its own. */
export function allowedMacs({ allowedAddresses = [] }: LocalEndpoint): MacAddress[] {
  return allowedAddresses.flatMap(({ mac }) => (mac === undefined ? [] : [mac]));
}

/** The rows of an endpoint's port; `isTaught`: the bridge learns from its frames. */
export function portRows(
  place: PortPlace,
  endpoint: LocalEndpoint,
  settings: NetworkSettings,
  isTaught: boolean,
): PortRows {
  const { mac, addresses, learnedIps = [], allowedAddresses = [] } = endpoint;
  const key = (of: MacAddress | IpAddress): Uint8Array => addressKey(place.tenant, place.index, of);
  const own = [...addresses.map(({ address }) => address), ...learnedIps, linkLocalOf(mac)];
  const macs = allowedMacs(endpoint);
  const prefixes = allowedAddresses.map(({ prefix }) => prefix);
  const isWhole = (prefix: Cidr): boolean => prefixLengthOf(prefix) === (cidrFamily(prefix) === 4 ? 32 : 128);
  return {
    port: portValue(mac, settings, { hasPrefixes: !prefixes.every(isWhole), isTaught }),
    addresses: [...macs, ...own, ...macs.map(linkLocalOf), ...prefixes.filter(isWhole).map(networkAddress)].map(key),
    prefixes: prefixes.filter((prefix) => !isWhole(prefix)).map((prefix) => prefixKey(place, prefix)),
    network: stormKeyOfNetwork(place.tenant, settings.vni),
  };
}

/** A network's row: somebody has the address, and ports that may have what nobody has may not have this one. */
export function takenKey(tenant: number, vni: Vni, of: IpAddress): Uint8Array {
  return addressKey(tenant, vni, of, true);
}

/** Reads what {@link takenKey} makes. */
export function readTaken(key: Uint8Array): IpAddress {
  const kind = new DataView(key.buffer, key.byteOffset).getUint32(8, true);
  return ipFromBytes(key.subarray(octetsAt, octetsAt + (kind === addressKind.takenIpv4 ? 4 : 16)));
}

/** A MAC that somebody in a network has. */
export interface MacRow {
  readonly mac: MacAddress;
  /** It was given to somebody; otherwise it was found to be in use. */
  readonly isDeclared: boolean;
}

/** `struct mac_key` of a MAC. */
export function macKey(tenant: number, vni: Vni, mac: MacAddress): Uint8Array {
  const key = wholeKey(tenant, vni);
  writeMac(mac, key, macAt);
  key[isWholeAt] = 0;
  return key;
}

/** The row that says that all MACs of the network have theirs. */
export function wholeKey(tenant: number, vni: Vni): Uint8Array {
  const key = new Uint8Array(16);
  const view = new DataView(key.buffer);
  view.setUint32(0, tenant, true);
  view.setUint32(4, vni, true);
  key[isWholeAt] = 1;
  return key;
}

export function macValue({ isDeclared }: Pick<MacRow, "isDeclared">): Uint8Array {
  return Uint8Array.of(isDeclared ? 1 : 0, 0, 0, 0);
}

/** Reads what {@link macKey} and {@link wholeKey} make, with its value. */
export function readMac(key: Uint8Array, value: Uint8Array): MacRow & { tenant: number; vni: Vni; isWhole: boolean } {
  const view = new DataView(key.buffer, key.byteOffset);
  return {
    tenant: view.getUint32(0, true),
    vni: view.getUint32(4, true) as Vni,
    mac: macFromBytes(key, macAt),
    isDeclared: value[0] === 1,
    isWhole: key[isWholeAt] === 1,
  };
}

/** Whether a port with this value is looked at, and whether it may have what nobody has, or what is in a prefix of its own. */
export function readPortFlags(value: Uint8Array): {
  readonly isTrusted: boolean;
  readonly isLearned: boolean;
  readonly hasPrefixes: boolean;
} {
  const flags = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
  return {
    isTrusted: (flags & portFlag.trusted) !== 0,
    isLearned: (flags & portFlag.learned) !== 0,
    hasPrefixes: (flags & portFlag.prefixes) !== 0,
  };
}

/** The MAC that {@link portValue} has. */
export function readPortMac(value: Uint8Array): MacAddress {
  return macFromBytes(value, portMacAt);
}

/** A port's row: it may send with the address. */
export function ownKey({ tenant, index }: PortPlace, of: MacAddress | IpAddress): Uint8Array {
  return addressKey(tenant, index, of, false);
}

/** The longest prefix of a port's that an address is in is found by this. */
export function prefixKeyOf(place: PortPlace, ip: IpAddress): Uint8Array {
  return prefixKey(place, hostPrefix(ip));
}

export function tunnelPortKey(port: number): Uint8Array {
  const key = new Uint8Array(addressKeyLength);
  const view = new DataView(key.buffer);
  view.setUint32(8, addressKind.tunnelPort, true);
  view.setUint16(octetsAt, port);
  return key;
}

export function readDropped(value: Uint8Array): Dropped {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const counts = guardReasons.map((reason, index) => [reason, Number(view.getBigUint64(index * 8, true))] as const);
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

function portValue(
  mac: MacAddress,
  settings: NetworkSettings,
  { hasPrefixes, isTaught }: { readonly hasPrefixes: boolean; readonly isTaught: boolean },
): Uint8Array {
  const { antiSpoof, localLearning, vlanTags, answersDhcp, answersAtNodeAddress, vni, stormControl, ageing } = settings;
  const value = new Uint8Array(28);
  const view = new DataView(value.buffer);
  const flags =
    (antiSpoof ? 0 : portFlag.trusted) |
    (localLearning ? portFlag.learned : 0) |
    (vlanTags ? portFlag.tagged : 0) |
    (hasPrefixes ? portFlag.prefixes : 0) |
    (answersDhcp ? portFlag.answered : 0) |
    (answersAtNodeAddress ? portFlag.atNodeAddress : 0) |
    (isTaught ? portFlag.taught : 0) |
    (countsUnknown(settings) ? portFlag.counted : 0);
  view.setUint32(0, flags, true);
  view.setUint32(4, vni, true);
  view.setUint32(8, stormControl.port, true);
  view.setUint32(12, stormControl.network, true);
  // A window is a little more than a second, so that what the bridge remembers is known.
  view.setUint32(16, ageing, true);
  writeMac(mac, value, portMacAt);
  return value;
}

function addressKey(tenant: number, scope: number, of: MacAddress | IpAddress, isTaken = false): Uint8Array {
  const key = new Uint8Array(addressKeyLength);
  const view = new DataView(key.buffer);
  view.setUint32(0, tenant, true);
  view.setUint32(4, scope, true);
  if (isMac(of)) {
    view.setUint32(8, addressKind.ownMac, true);
    writeMac(of, key, octetsAt);
  } else {
    const isFirst = familyOf(of) === 4;
    const [own, taken] = isFirst
      ? [addressKind.ownIpv4, addressKind.takenIpv4]
      : [addressKind.ownIpv6, addressKind.takenIpv6];
    view.setUint32(8, isTaken ? taken : own, true);
    writeIp(of, key, octetsAt);
  }
  return key;
}

function prefixKey({ tenant, index }: PortPlace, prefix: Cidr): Uint8Array {
  const key = new Uint8Array(prefixLengthAt + addressKeyLength);
  new DataView(key.buffer).setUint32(0, scopeBits + prefixLengthOf(prefix), true);
  key.set(addressKey(tenant, index, networkAddress(prefix)), prefixLengthAt);
  return key;
}

/** An IPv6 address of as many groups has an empty one among them. */
function isMac(address: MacAddress | IpAddress): address is MacAddress {
  return macPattern.test(address);
}

const macPattern = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;
