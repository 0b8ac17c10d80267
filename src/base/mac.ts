import { hexByte } from "./bytes.ts";
import { err, ok, type Result } from "./result.ts";

declare const macBrand: unique symbol;
/** A 48-bit MAC address as `aa:bb:cc:dd:ee:ff`, lower case: canonical, so that `===` compares addresses. */
export type MacAddress = string & { readonly [macBrand]: true };

const macPattern = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** Accepts colons or hyphens and either case. */
export function parseMac(text: string): Result<MacAddress, string> {
  const canonical = text.toLowerCase().replaceAll("-", ":");
  if (!macPattern.test(canonical)) return err(`"${text}" is not a MAC address such as 02:00:5e:10:00:01`);
  return ok(canonical as MacAddress);
}

/** A MAC address that the program itself wrote down; throws when it is none. */
export function mac(text: string): MacAddress {
  const result = parseMac(text);
  if (!result.ok) throw new TypeError(result.error);
  return result.value;
}

/** Reads six octets at `offset`. */
export function macFromBytes(bytes: Uint8Array, offset = 0): MacAddress {
  if (offset + 6 > bytes.length) throw new RangeError(`a MAC address needs 6 octets at ${offset} of ${bytes.length}`);
  let text = hexByte[bytes[offset] as number] as string;
  for (let index = 1; index < 6; index++) text += `:${hexByte[bytes[offset + index] as number]}`;
  return text as MacAddress;
}

/** Writes six octets at `offset`. */
export function writeMac(address: MacAddress, target: Uint8Array, offset = 0): void {
  for (let index = 0; index < 6; index++)
    target[offset + index] =
      (hexDigit(address.charCodeAt(index * 3)) << 4) | hexDigit(address.charCodeAt(index * 3 + 1));
}

export function macToBytes(address: MacAddress): Uint8Array {
  const bytes = new Uint8Array(6);
  writeMac(address, bytes);
  return bytes;
}

/** Group address: the lowest bit of the first octet, also set in the broadcast address. IEEE 802-2014 §8.2.2. */
export function isGroupMac(address: MacAddress): boolean {
  return (hexDigit(address.charCodeAt(1)) & 1) === 1;
}

/** Locally administered: the second lowest bit of the first octet. IEEE 802-2014 §8.2.2. */
export function isLocalMac(address: MacAddress): boolean {
  return (hexDigit(address.charCodeAt(1)) & 2) === 2;
}

export const broadcastMac: MacAddress = "ff:ff:ff:ff:ff:ff" as MacAddress;
export const zeroMac: MacAddress = "00:00:00:00:00:00" as MacAddress;

/** The value of one canonical (lower-case) hexadecimal digit given by its character code. */
function hexDigit(code: number): number {
  return code >= 97 ? code - 87 : code - 48;
}
