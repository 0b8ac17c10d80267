import { type IpAddress, ipToBytes } from "../base/ip.ts";

/** `absent`: the sender left it out, which UDP allows. */
export type ChecksumStatus = "correct" | "wrong" | "absent";

/**
 * The 16-bit one's complement sum of `bytes`, on top of `initial`; an odd last octet counts as the high half of a
 * word. RFC 1071 §1. The sum of octets that include their own right checksum is 0xffff.
 */
export function onesComplementSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let index = 0; index < bytes.length; index += 2)
    sum += ((bytes[index] as number) << 8) | (index + 1 < bytes.length ? (bytes[index + 1] as number) : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** The checksum to write into `bytes`, whose checksum field is zero. RFC 1071 §1. */
export function internetChecksum(bytes: Uint8Array, initial = 0): number {
  return ~onesComplementSum(bytes, initial) & 0xffff;
}

/** Whether `bytes`, which include their checksum, are as they were when it was computed. RFC 1071 §1. */
export function checksumStatus(bytes: Uint8Array, initial = 0): ChecksumStatus {
  return onesComplementSum(bytes, initial) === 0xffff ? "correct" : "wrong";
}

/**
 * The sum of the pseudo header that TCP, UDP and ICMPv6 count in with their checksum: addresses, protocol number and
 * the length of header and data. RFC 9293 §3.1 for IPv4, RFC 8200 §8.1 for IPv6; as a sum they are the same.
 */
export function pseudoHeaderSum(source: IpAddress, destination: IpAddress, protocol: number, length: number): number {
  const addresses = onesComplementSum(ipToBytes(destination), onesComplementSum(ipToBytes(source)));
  return addresses + protocol + (length >>> 16) + (length & 0xffff);
}
