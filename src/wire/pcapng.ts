/**
 * Capture files of Wireshark, the newer format: blocks one after the other, which a reader can skip. Here a section header, an
 * interface before its first packet, packets, and at the end what each interface counted. Little-endian, times in nanoseconds.
 * draft-ietf-opsawg-pcapng-06 §3.1, §3.5.
 *
 *                           1                   2                   3
 *       0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *    0 |                          Block Type                           |
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *    4 |                      Block Total Length                       |
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *    8 /                          Block Body                           /
 *      /              variable length, padded to 32 bits               /
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *      |                      Block Total Length                       |
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *      |         Option Code           |         Option Length         |
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *      /                       Option Value                            /
 *      /              variable length, padded to 32 bits               /
 *      +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
import type { PcapPacket } from "./pcap.ts";

/** Block types, §4. */
const sectionHeader = 0x0a0d_0d0a;
const interfaceDescription = 1;
const interfaceStatistics = 5;
const enhancedPacket = 6;
const byteOrderMagic = 0x1a2b_3c4d;

/** Codes of options, §3.5 and those of each block in §4. */
const code = {
  comment: 1,
  section: { system: 3, program: 4 },
  interface: { name: 2, description: 3, resolution: 9, filter: 11 },
  packet: { flags: 2 },
  statistics: { received: 4, lost: 5 },
} as const;

/** Of a packet, §4.3.1: the bits of its flags. */
const directions = { in: 1, out: 2 } as const;
const receptions = { unicast: 1, multicast: 2, broadcast: 3, otherHost: 4 } as const;
const receptionShift = 2;
const checksumNotReady = 1 << 9;
const checksumValid = 1 << 10;
const segmentationOffloaded = 1 << 11;

/** A power of ten: units of 10⁻⁹ seconds. */
const nanoseconds = 9;

export interface PcapngSection {
  /** The program that wrote it, and on what it ran. */
  readonly program?: string;
  readonly system?: string;
  readonly comments?: readonly string[];
}

export interface PcapngInterface {
  /** A number of the IANA "PCAP LINKTYPE List", 16 bits. */
  readonly linkType: number;
  /** Octets that are kept of each packet at most; 0: all. */
  readonly snapLength: number;
  readonly name?: string;
  readonly description?: string;
  /** What packets had to be like, in pcap's words. */
  readonly filter?: string;
}

export interface PcapngPacket extends PcapPacket {
  /** Which of the interfaces of the section, from 0 on, in the order in which they were written. */
  readonly interfaceId: number;
  /** Absent: not known. */
  readonly direction?: keyof typeof directions;
  /** Whom it was for, as the interface saw it. */
  readonly reception?: keyof typeof receptions;
  /** `not-ready`: whoever sends it on has to compute its checksum yet. `valid`: it was checked before it was captured. */
  readonly checksum?: "not-ready" | "valid";
  /** It was several packets on the link, or will be. */
  readonly segmentationOffloaded?: boolean;
  readonly comments?: readonly string[];
}

export interface PcapngStatistics {
  readonly interfaceId: number;
  /** Nanoseconds since 1970 (UTC). */
  readonly timestamp: bigint;
  /** Packets that came by. */
  readonly received: bigint;
  /** Those of them that there was no room for. */
  readonly lost: bigint;
  readonly comments?: readonly string[];
}

/** What a file begins with. §4.1 */
export function pcapngSection(section: PcapngSection): Uint8Array {
  const body = new Uint8Array(16);
  const view = new DataView(body.buffer);
  view.setUint32(0, byteOrderMagic, true);
  view.setUint16(4, 1, true); // the version: 1.0
  view.setBigInt64(8, -1n, true); // its length, which is not known yet
  return block(sectionHeader, body, [
    ...comments(section.comments),
    ...text(code.section.system, section.system),
    ...text(code.section.program, section.program),
  ]);
}

/** An interface that packets behind it are of. §4.2 */
export function pcapngInterface(captured: PcapngInterface): Uint8Array {
  const body = new Uint8Array(8);
  const view = new DataView(body.buffer);
  view.setUint16(0, fit("linkType", captured.linkType, 16), true);
  view.setUint32(4, fit("snapLength", captured.snapLength, 32), true);
  // Its first octet says what language it is in. 0: that of libpcap.
  const filter = captured.filter === undefined ? undefined : `\0${captured.filter}`;
  return block(interfaceDescription, body, [
    ...text(code.interface.name, captured.name),
    ...text(code.interface.description, captured.description),
    [code.interface.resolution, Uint8Array.of(nanoseconds)],
    ...text(code.interface.filter, filter),
  ]);
}

/** A packet. §4.3 */
export function pcapngPacket(packet: PcapngPacket): Uint8Array {
  const { bytes } = packet;
  const body = new Uint8Array(20 + bytes.length);
  const view = new DataView(body.buffer);
  view.setUint32(0, fit("interfaceId", packet.interfaceId, 32), true);
  writeTime(view, 4, packet.timestamp);
  view.setUint32(12, bytes.length, true);
  view.setUint32(16, fit("originalLength", packet.originalLength, 32), true);
  body.set(bytes, 20);
  const flags =
    (packet.direction === undefined ? 0 : directions[packet.direction]) |
    (packet.reception === undefined ? 0 : receptions[packet.reception] << receptionShift) |
    (packet.checksum === "not-ready" ? checksumNotReady : 0) |
    (packet.checksum === "valid" ? checksumValid : 0) |
    (packet.segmentationOffloaded === true ? segmentationOffloaded : 0);
  const flagOctets = new Uint8Array(4);
  new DataView(flagOctets.buffer).setUint32(0, flags, true);
  return block(enhancedPacket, body, [
    ...comments(packet.comments),
    ...(flags === 0 ? [] : [[code.packet.flags, flagOctets] as const]),
  ]);
}

/** What an interface counted up to a moment. §4.6 */
export function pcapngStatistics(statistics: PcapngStatistics): Uint8Array {
  const body = new Uint8Array(12);
  const view = new DataView(body.buffer);
  view.setUint32(0, fit("interfaceId", statistics.interfaceId, 32), true);
  writeTime(view, 4, statistics.timestamp);
  return block(interfaceStatistics, body, [
    ...comments(statistics.comments),
    [code.statistics.received, count(statistics.received)],
    [code.statistics.lost, count(statistics.lost)],
  ]);
}

type Option = readonly [code: number, value: Uint8Array];

const encoder = new TextEncoder();
/** The length of an option has 16 bits. */
const longestOption = 0xffff;

function comments(texts: readonly string[] = []): Option[] {
  return texts.flatMap((each) => text(code.comment, each));
}

/** UTF-8; what does not fit is cut at a character. */
function text(optionCode: number, value: string | undefined): Option[] {
  if (value === undefined) return [];
  const octets = encoder.encode(value);
  if (octets.length <= longestOption) return [[optionCode, octets]];
  let end = longestOption;
  // RFC 3629 §3: octets of a character but its first begin with the bits 10.
  while (((octets[end] ?? 0) & 0xc0) === 0x80) end--;
  return [[optionCode, octets.subarray(0, end)]];
}

function count(value: bigint): Uint8Array {
  const octets = new Uint8Array(8);
  new DataView(octets.buffer).setBigUint64(0, value, true);
  return octets;
}

/** The upper half first, whatever the byte order. */
function writeTime(view: DataView, offset: number, time: bigint): void {
  if (time < 0n || time >= 1n << 64n) throw new RangeError(`pcapng.timestamp is ${time}, not a number of 64 bits`);
  view.setUint32(offset, Number(time >> 32n), true);
  view.setUint32(offset + 4, Number(time & 0xffff_ffffn), true);
}

const padded = (length: number): number => (length + 3) & ~3;

function block(type: number, body: Uint8Array, options: readonly Option[]): Uint8Array {
  const optionsLength = options.reduce((total, [, value]) => total + 4 + padded(value.length), 0);
  // Behind options stands one that says that there are no more.
  const length = 12 + padded(body.length) + (optionsLength === 0 ? 0 : optionsLength + 4);
  const octets = new Uint8Array(length);
  const view = new DataView(octets.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  octets.set(body, 8);
  let offset = 8 + padded(body.length);
  for (const [optionCode, value] of options) {
    view.setUint16(offset, optionCode, true);
    view.setUint16(offset + 2, value.length, true);
    octets.set(value, offset + 4);
    offset += 4 + padded(value.length);
  }
  view.setUint32(length - 4, length, true);
  return octets;
}

function fit(field: string, value: number, bits: number): number {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits)
    throw new RangeError(`pcapng.${field} is ${value}, not a number of ${bits} bits`);
  return value;
}
