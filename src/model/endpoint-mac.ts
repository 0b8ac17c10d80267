import { isGroupMac, type MacAddress, macFromBytes, zeroMac } from "../base/mac.ts";

/** Returns as many random octets as asked for; in production from the kernel's generator (`crypto.randomBytes`). */
export type RandomBytes = (length: number) => Uint8Array;

/** An interface can have this address: it is neither a group address nor all zero. */
export function isUnicastMac(address: MacAddress): boolean {
  return !isGroupMac(address) && address !== zeroMac;
}

/** A locally administered unicast address with 46 random bits. IEEE 802-2014 §8.2.2. */
export function randomMac(random: RandomBytes): MacAddress {
  const bytes = Uint8Array.from(random(6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
