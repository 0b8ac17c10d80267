import type { IpAddress } from "../base/ip.ts";
import { isGroupMac, type MacAddress, mac, macFromBytes, zeroMac } from "../base/mac.ts";
import type { Vni } from "./resources.ts";

/** Returns as many random octets as asked for; in production from the kernel's generator (`crypto.randomBytes`). */
export type RandomBytes = (length: number) => Uint8Array;

/** At least six octets that follow from the text and look like random ones; in production SHA-256. */
export type Hash = (text: string) => Uint8Array;

/** An interface can have this address: it is neither a group address nor all zero. */
export function isUnicastMac(address: MacAddress): boolean {
  return !isGroupMac(address) && address !== zeroMac;
}

/** A locally administered unicast address with 46 random bits. */
export function randomMac(random: RandomBytes): MacAddress {
  return localMac(random(6));
}

/**
 * The MAC that goes with an address of a network: whoever has the address next has the MAC with it, and what others
 * remember of the address stays right. Locally administered unicast, 46 bits of a hash.
 */
export function addressMac(vni: Vni, address: IpAddress, hash: Hash): MacAddress {
  return localMac(hash(`${vni} ${address}`).subarray(0, 6));
}

/**
 * The MAC of a network's bridge: locally administered and the same on every node, so that a gateway on
 * the bridge is the same neighbour wherever an endpoint moves.
 */
export function networkMac(vni: Vni): MacAddress {
  const hex = vni.toString(16).padStart(6, "0");
  return mac(`02:57:00:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}`);
}

/** IEEE 802-2014 §8.2.2. */
function localMac(octets: Uint8Array): MacAddress {
  const bytes = Uint8Array.from(octets);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
