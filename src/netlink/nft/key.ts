import { equalBytes, fromHex, toHex } from "../../base/bytes.ts";
import { type Cidr, cidrOf, networkAddress, prefixLengthOf } from "../../base/cidr.ts";
import { type IpAddress, ipFromBytes, ipToBytes } from "../../base/ip.ts";
import { type MacAddress, macFromBytes, macToBytes } from "../../base/mac.ts";
import { typeOfMeta, typeOfPacket, typeOfPayload } from "./type-of.ts";

/** Octets from one to another, both included. */
export interface OctetRange {
  readonly first: Uint8Array;
  readonly last: Uint8Array;
}

/**
 * One field of a set's elements: a datatype of nftables. Values are text as nft has them: `10.0.0.1`, and in sets of
 * intervals `10.0.0.0/8` or `eth*`.
 */
export interface NftField {
  /** nft's number of the datatype. nftables/src/datatype.h: `enum datatypes` */
  readonly datatype: number;
  readonly octets: number;
  /** What nft is told that the field is, where a datatype alone does not say it. */
  readonly typeOf?: Uint8Array;
  /** Octets that only a packet has: a set of them needs {@link typeOf} of all its fields. */
  readonly isRaw?: boolean;
  /** nft takes it for one in host byte order, as it does with text. */
  readonly isHostOrder?: boolean;
  /** `isInterval`: of a set of intervals. */
  parse(text: string, isInterval: boolean): OctetRange;
  /** `undefined`: no text of this type means just that. */
  text(range: OctetRange): string | undefined;
}

const single = (octets: Uint8Array): OctetRange => ({ first: octets, last: octets });
const isSingle = ({ first, last }: OctetRange): boolean => equalBytes(first, last);

function address(datatype: number, octets: 4 | 16, typeOf: Uint8Array): NftField {
  return {
    datatype,
    octets,
    typeOf,
    parse(text) {
      if (!text.includes("/")) return single(ipToBytes(text as IpAddress));
      const prefix = text as Cidr;
      const first = ipToBytes(networkAddress(prefix));
      return { first, last: filled(first, prefixLengthOf(prefix)) };
    },
    text(range) {
      const { first, last } = range;
      const from = ipFromBytes(first);
      if (isSingle(range)) return from;
      for (let length = octets * 8 - 1; length >= 0; length--)
        if (equalBytes(filled(first, length), last)) {
          const prefix = `${from}/${length}`;
          return cidrOf(from, length) === prefix ? prefix : undefined;
        }
      return undefined;
    },
  };
}

/** With all bits set behind the first `length`. */
function filled(octets: Uint8Array, length: number): Uint8Array {
  return octets.map((octet, index) => octet | (0xff >> Math.min(8, Math.max(0, length - index * 8))));
}

/** A number in network byte order. */
function number(datatype: number, octets: number): NftField {
  return {
    datatype,
    octets,
    parse: (text) =>
      single(
        fromHex(
          Number(text)
            .toString(16)
            .padStart(octets * 2, "0"),
        ) ?? new Uint8Array(),
      ),
    text: (range) => (isSingle(range) ? String(Number.parseInt(toHex(range.first), 16)) : undefined),
  };
}

const IFNAMSIZ = 16;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A name of a device, and in sets of intervals also `eth*`: what names begin with. */
const deviceName: NftField = {
  datatype: 41,
  octets: IFNAMSIZ,
  // linux/netfilter/nf_tables.h: NFT_META_IIFNAME
  typeOf: typeOfMeta(6),
  isHostOrder: true,
  parse(text, isInterval) {
    const isStart = isInterval && text.endsWith("*");
    const name = encoder.encode(isStart ? text.slice(0, -1) : text);
    return { first: paddedName(name, 0), last: paddedName(name, isStart ? 0xff : 0) };
  },
  text({ first, last }) {
    const end = first.indexOf(0);
    if (end < 0) return undefined;
    const name = first.subarray(0, end);
    if (!equalBytes(paddedName(name, 0), first)) return undefined;
    if (equalBytes(first, last)) return decoder.decode(name);
    return equalBytes(paddedName(name, 0xff), last) ? `${decoder.decode(name)}*` : undefined;
  },
};

function paddedName(name: Uint8Array, octet: number): Uint8Array {
  if (name.length >= IFNAMSIZ) throw new RangeError("a name of a device has at most 15 octets");
  const octets = new Uint8Array(IFNAMSIZ).fill(octet);
  octets.set(name);
  return octets;
}

const macAddress: NftField = {
  datatype: 9,
  octets: 6,
  parse: (text) => single(macToBytes(text as MacAddress)),
  text: (range) => (isSingle(range) ? macFromBytes(range.first) : undefined),
};

/** By the names that nft has for them. */
export const nftField = {
  ipv4_addr: address(7, 4, typeOfPayload("ip saddr")),
  ipv6_addr: address(8, 16, typeOfPayload("ip6 saddr")),
  ether_addr: macAddress,
  /** A protocol by its number. */
  inet_proto: number(12, 1),
  inet_service: number(13, 2),
  ifname: deviceName,
} as const satisfies Readonly<Record<string, NftField>>;

/** `@th,OFFSET,LENGTH`: a number in the packet, counted in bits from the header of its transport protocol on. */
export function packetNumber(offset: number, bits: number): NftField {
  return { ...number(4, bits / 8), typeOf: typeOfPacket(offset, bits), isRaw: true };
}

/** `@th,OFFSET,LENGTH` that is an address. */
export function packetAddress(offset: number, type: "ipv4_addr" | "ipv6_addr"): NftField {
  const field = nftField[type];
  return { ...field, datatype: 4, typeOf: typeOfPacket(offset, field.octets * 8), isRaw: true };
}

/** In a key of several fields each begins at a multiple of four octets. */
const padded = (octets: number): number => (octets + 3) & ~3;

export function keyLength(fields: readonly NftField[]): number {
  const [only] = fields;
  if (only !== undefined && fields.length === 1) return only.octets;
  return fields.reduce((sum, { octets }) => sum + padded(octets), 0);
}

const between = " . ";
const oddRange = /^0x([0-9a-f]+)-0x([0-9a-f]+)$/;

/** The octets of a key such as `br100 . 10.0.0.0/24`. */
export function parseKey(fields: readonly NftField[], text: string, isInterval: boolean): OctetRange {
  const texts = text.split(between);
  if (texts.length !== fields.length) throw new RangeError(`"${text}" does not have ${fields.length} fields`);
  const first = new Uint8Array(keyLength(fields));
  const last = new Uint8Array(first.length);
  let offset = 0;
  for (const [index, field] of fields.entries()) {
    const range = parseField(field, texts[index] ?? "", isInterval);
    if (range.first.length !== field.octets)
      throw new RangeError(`"${texts[index]}" does not have ${field.octets} octets`);
    first.set(range.first, offset);
    last.set(range.last, offset);
    offset += padded(field.octets);
  }
  return { first, last };
}

function parseField(field: NftField, text: string, isInterval: boolean): OctetRange {
  const [, first, last] = oddRange.exec(text) ?? [];
  if (first === undefined || last === undefined) return field.parse(text, isInterval);
  return { first: fromHex(first) ?? new Uint8Array(), last: fromHex(last) ?? new Uint8Array() };
}

/** What {@link parseKey} would make these octets of: ranges that are no prefixes as `0x0a000001-0x0a000003`. */
export function keyText(fields: readonly NftField[], { first, last }: OctetRange): string {
  let offset = 0;
  return fields
    .map((field) => {
      const part = {
        first: first.subarray(offset, offset + field.octets),
        last: last.subarray(offset, offset + field.octets),
      };
      offset += padded(field.octets);
      return field.text(part) ?? `0x${toHex(part.first)}-0x${toHex(part.last)}`;
    })
    .join(between);
}
