/**
 * Capture files of tcpdump and Wireshark, the classic format: a file header of 24 octets, then each packet behind a
 * header of 16. draft-ietf-opsawg-pcap-05 §4, §5. The magic number tells byte order and resolution.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |              Magic Number, 0xa1b2c3d4 or 0xa1b23c4d           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |       Major Version = 2       |       Minor Version = 4       |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                           Reserved                            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                           Reserved                            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                         Snap Length                           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     | FCS |f|           0           |           Link Type           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                       Timestamp, seconds                      |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |              Timestamp, microseconds or nanoseconds           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Captured Packet Length                     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Original Packet Length                     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
import { ok, type Result } from "../base/result.ts";
import { cutShort, type DecodeError, malformed } from "./decode-error.ts";

/** The link type of Ethernet frames. IANA "PCAP LINKTYPE List". */
export const linkTypeEthernet = 1;
/** The link type of packets that begin with an IPv4 or IPv6 header. */
export const linkTypeIp = 101;

export interface PcapPacket {
  /** Nanoseconds since 1970 (UTC), up to 2106. */
  readonly timestamp: bigint;
  /** Octets that the packet had before it was cut to the snap length. */
  readonly originalLength: number;
  /** What was captured. A view of the file's bytes when read. */
  readonly bytes: Uint8Array;
}

export interface Pcap {
  /** What the packets begin with: a number of the IANA "PCAP LINKTYPE List", 16 bits. */
  readonly linkType: number;
  /** Octets that were kept of each packet at most. */
  readonly snapLength: number;
  /** What the timestamps of the file count in. */
  readonly resolution: "microseconds" | "nanoseconds";
  readonly packets: readonly PcapPacket[];
  /** Why the packets end before the file does: usually a capture that was killed. */
  readonly error?: DecodeError;
}

const magics = { microseconds: 0xa1b2c3d4, nanoseconds: 0xa1b23c4d } as const;
const nanosecondsPerUnit = { microseconds: 1_000n, nanoseconds: 1n } as const;
const fileHeaderLength = 24;
const packetHeaderLength = 16;
const majorVersion = 2;
const minorVersion = 4;

/** Reads a capture file of either byte order and resolution. Packets before a damaged one are kept. */
export function readPcap(bytes: Uint8Array): Result<Pcap, DecodeError> {
  if (bytes.length < fileHeaderLength) return cutShort("pcap", bytes, 0, fileHeaderLength);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const format = formatOf(view);
  if (format === undefined)
    return malformed("pcap", `magic number is 0x${view.getUint32(0).toString(16).padStart(8, "0")}`, 0);
  const { littleEndian, resolution } = format;
  const version = view.getUint16(4, littleEndian);
  if (version !== majorVersion) return malformed("pcap", `major version is ${version}, not ${majorVersion}`, 4);
  const snapLength = view.getUint32(16, littleEndian);
  const linkType = view.getUint32(20, littleEndian) & 0xffff;

  const packets: PcapPacket[] = [];
  let offset = fileHeaderLength;
  while (offset < bytes.length) {
    const packet = readPacket(view, offset, format);
    if (!packet.ok) return ok({ linkType, snapLength, resolution, packets, error: packet.error });
    packets.push(packet.value);
    offset += packetHeaderLength + packet.value.bytes.length;
  }
  return ok({ linkType, snapLength, resolution, packets });
}

/** A whole capture file, little-endian. Throws RangeError when something does not fit its field. */
export function writePcap(pcap: Omit<Pcap, "error">): Uint8Array {
  const parts = [pcapFileHeader(pcap), ...pcap.packets.map((packet) => pcapRecord(packet, pcap.resolution))];
  const file = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    file.set(part, offset);
    offset += part.length;
  }
  return file;
}

/** What a capture file begins with; records follow it one by one. For captures that are written as they come in. */
export function pcapFileHeader(file: Pick<Pcap, "linkType" | "snapLength" | "resolution">): Uint8Array {
  const view = new DataView(new ArrayBuffer(fileHeaderLength));
  view.setUint32(0, magics[file.resolution], true);
  view.setUint16(4, majorVersion, true);
  view.setUint16(6, minorVersion, true);
  view.setUint32(16, fit("snapLength", file.snapLength, 32), true);
  view.setUint32(20, fit("linkType", file.linkType, 16), true);
  return new Uint8Array(view.buffer);
}

/** One packet with its header, as it follows the file header. What the resolution cannot tell of its time is cut. */
export function pcapRecord(packet: PcapPacket, resolution: Pcap["resolution"]): Uint8Array {
  const record = new Uint8Array(packetHeaderLength + packet.bytes.length);
  const view = new DataView(record.buffer);
  const seconds = Number(packet.timestamp / 1_000_000_000n);
  const fraction = Number((packet.timestamp % 1_000_000_000n) / nanosecondsPerUnit[resolution]);
  view.setUint32(0, fit("timestamp", seconds, 32), true);
  view.setUint32(4, fit("timestamp", fraction, 32), true);
  view.setUint32(8, packet.bytes.length, true);
  view.setUint32(12, fit("originalLength", packet.originalLength, 32), true);
  record.set(packet.bytes, packetHeaderLength);
  return record;
}

interface Format {
  readonly littleEndian: boolean;
  readonly resolution: Pcap["resolution"];
}

function formatOf(view: DataView): Format | undefined {
  for (const littleEndian of [true, false])
    for (const resolution of ["microseconds", "nanoseconds"] as const)
      if (view.getUint32(0, littleEndian) === magics[resolution]) return { littleEndian, resolution };
  return undefined;
}

function readPacket(view: DataView, offset: number, format: Format): Result<PcapPacket, DecodeError> {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const start = offset + packetHeaderLength;
  if (start > bytes.length) return cutShort("pcap packet", bytes, offset, packetHeaderLength);
  const [seconds, fraction, length, originalLength] = [0, 4, 8, 12].map((position) =>
    view.getUint32(offset + position, format.littleEndian),
  ) as [number, number, number, number];
  if (start + length > bytes.length) return cutShort("pcap packet", bytes, start, length);
  const timestamp = BigInt(seconds) * 1_000_000_000n + BigInt(fraction) * nanosecondsPerUnit[format.resolution];
  return ok({ timestamp, originalLength, bytes: bytes.subarray(start, start + length) });
}

function fit(field: string, value: number, bits: number): number {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits)
    throw new RangeError(`pcap.${field} is ${value}, not a number of ${bits} bits`);
  return value;
}
