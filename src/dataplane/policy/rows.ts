import { type Cidr, cidrFamily, networkAddress, prefixLengthOf } from "../../base/cidr.ts";
import { familyOf, type IpAddress, writeIp } from "../../base/ip.ts";
import type { PolicyDirection } from "../../model/policy/index.ts";
import type { Identifier } from "./identifier.ts";
import type { VerdictRow } from "./verdict-list.ts";

/** Keys and values of the maps of policy.c, in the form of the structures there. Numbers are little-endian, addresses as in packets. */

/** `struct port`. */
export interface PortRow {
  readonly groups: Readonly<Record<PolicyDirection, Identifier>>;
  readonly epoch: number;
  /** Of a network some of whose addresses endpoints of other networks have, too: its VNI; else 0. */
  readonly view: number;
}

export function indexKey(index: number): Uint8Array {
  const key = new Uint8Array(4);
  new DataView(key.buffer).setUint32(0, index, true);
  return key;
}

export function readIndex(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, true);
}

export function portValue({ groups, epoch, view: vni }: PortRow): Uint8Array {
  const value = new Uint8Array(24);
  const view = new DataView(value.buffer);
  view.setBigUint64(0, groups.ingress, true);
  view.setBigUint64(8, groups.egress, true);
  view.setUint32(16, epoch, true);
  view.setUint32(20, vni, true);
  return value;
}

export function readPort(value: Uint8Array): PortRow {
  const view = new DataView(value.buffer, value.byteOffset);
  return {
    groups: { ingress: view.getBigUint64(0, true), egress: view.getBigUint64(8, true) },
    epoch: view.getUint32(16, true),
    view: view.getUint32(20, true),
  };
}

const viewBits = 32;
/** IPv4 addresses are the last 32 of 128 bits. */
const mappedBits = 96;

/** `struct peer_key`. `view`: as of {@link PortRow}. */
export function prefixKey(prefix: Cidr, view = 0): Uint8Array {
  const mapped = cidrFamily(prefix) === 4 ? mappedBits : 0;
  return peerKeyOf(networkAddress(prefix), mapped + prefixLengthOf(prefix), view);
}

export function addressKey(ip: IpAddress, view = 0): Uint8Array {
  return peerKeyOf(ip, 128, view);
}

function peerKeyOf(ip: IpAddress, length: number, vni: number): Uint8Array {
  const key = new Uint8Array(24);
  const view = new DataView(key.buffer);
  view.setUint32(0, viewBits + length, true);
  view.setUint32(4, vni, true);
  if (familyOf(ip) === 4) {
    key.fill(0xff, 18, 20);
    writeIp(ip, key, 20);
  } else writeIp(ip, key, 8);
  return key;
}

export function identifierOctets(id: Identifier): Uint8Array {
  const octets = new Uint8Array(8);
  new DataView(octets.buffer).setBigUint64(0, id, true);
  return octets;
}

/** `struct list_key`. */
export function listKey(group: Identifier, of: Identifier): Uint8Array {
  const key = new Uint8Array(16);
  const view = new DataView(key.buffer);
  view.setBigUint64(0, group, true);
  view.setBigUint64(8, of, true);
  return key;
}

const listBits = 64;
const protocolBits = 8;

/** `struct verdict_key`. */
export function verdictKey(list: Identifier, { protocol, port, length }: VerdictRow): Uint8Array {
  const key = new Uint8Array(16);
  const view = new DataView(key.buffer);
  view.setUint32(0, listBits + (protocol === undefined ? 0 : protocolBits + length), true);
  view.setBigUint64(4, list, true);
  view.setUint8(12, protocol ?? 0);
  view.setUint16(13, port);
  return key;
}

/** `struct verdict`. */
export function verdictValue({ verdict: { isAllowed, rule, logged } }: VerdictRow): Uint8Array {
  const value = new Uint8Array(24);
  const view = new DataView(value.buffer);
  view.setBigUint64(0, rule, true);
  view.setBigUint64(8, logged, true);
  view.setUint32(16, isAllowed ? 1 : 0, true);
  return value;
}

/** Of `struct verdict`: whether it lets pass, and what decides. */
export function readVerdict(value: Uint8Array): { readonly isAllowed: boolean; readonly rule: Identifier } {
  const view = new DataView(value.buffer, value.byteOffset);
  return { isAllowed: view.getUint32(16, true) === 1, rule: view.getBigUint64(0, true) };
}

/** A value that is an identifier. */
export function readIdentifier(value: Uint8Array): Identifier {
  return new DataView(value.buffer, value.byteOffset).getBigUint64(0, true);
}

/** Frames of a port that were dropped, by direction. */
export const nothingDenied = new Uint8Array(16);

export function readDenied(value: Uint8Array): Readonly<Record<PolicyDirection, number>> {
  const view = new DataView(value.buffer, value.byteOffset);
  return { ingress: Number(view.getBigUint64(0, true)), egress: Number(view.getBigUint64(8, true)) };
}

export const nothingCounted = new Uint8Array(8);

export function readCount(value: Uint8Array): number {
  return Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
}
