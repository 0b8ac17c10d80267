import { ok } from "../base/result.ts";
import { type Codec, requireRoom, type ValueOf } from "./codec.ts";
import { cutShort } from "./decode-error.ts";
import { etherType } from "./ethernet.ts";
import { defineHeader, fixed, flag, type Header, reserved, uint } from "./layout.ts";

const fixedPart = defineHeader("gre", {
  checksumPresent: flag(),
  routingPresent: fixed(1, 0),
  keyPresent: flag(),
  sequencePresent: flag(),
  strictSourceRoute: fixed(1, 0),
  /** The first of three bits for recursion control in RFC 1701. The others are without a meaning since RFC 2784. */
  recursionControl: fixed(1, 0),
  reserved: reserved(7),
  version: fixed(3, 0),
  protocolType: etherType,
});

/** The parts that only some headers have, 4 octets each, in the order of the wire. */
const optionalParts: readonly {
  readonly present: "checksumPresent" | "keyPresent" | "sequencePresent";
  readonly field: "checksum" | "key" | "sequence";
  readonly layout: Header<Readonly<Record<string, number>>>;
}[] = [
  {
    present: "checksumPresent",
    field: "checksum",
    layout: defineHeader("gre", { checksum: uint(16), reserved1: reserved(16) }),
  },
  { present: "keyPresent", field: "key", layout: defineHeader("gre", { key: uint(32) }) },
  { present: "sequencePresent", field: "sequence", layout: defineHeader("gre", { sequence: uint(32) }) },
];

/** What a GRE header says. The flags follow from the fields that are there. */
export interface GreHeader {
  /** What the tunnel carries: an IP packet, or an Ethernet frame (`transparent-ethernet-bridging`). */
  readonly protocolType: ValueOf<typeof fixedPart>["protocolType"];
  /** Of header and payload, this field counted as zero. RFC 2784 §2.5. */
  readonly checksum?: number;
  /** Tells flows or networks of one tunnel apart, 32 bits. RFC 2890 §2.1. `nvgreKey` is one reading of it. */
  readonly key?: number;
  /** Counts packets of the tunnel, from 0. RFC 2890 §2.2. */
  readonly sequence?: number;
}

/**
 * GRE header, 4 to 16 octets. RFC 2784 §2, key and sequence number RFC 2890 §2. Refused are the routing information of
 * RFC 1701, as RFC 2784 §2.3 asks, and version 1, which is another header: that of PPTP (RFC 2637 §4.1).
 * The checksum is read and written as it stands: `verifyChecksums` checks it, `buildFrame` computes it.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |C|0|K|S|0|0|  Reserved   | Ver |         Protocol Type         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |       Checksum (with C)       |      Reserved1 (with C)       |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                          Key (with K)                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Sequence Number (with S)                   |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const gre: Codec<GreHeader> = {
  name: fixedPart.name,
  lengthOf: (header) => lengthWith(partsOf(header)),

  decode(bytes, offset = 0) {
    const start = fixedPart.decode(bytes, offset);
    if (!start.ok) return start;
    const parts = optionalParts.filter(({ present }) => start.value[present]);
    const length = lengthWith(parts);
    if (offset + length > bytes.length) return cutShort(fixedPart.name, bytes, offset, length);
    let header: GreHeader = { protocolType: start.value.protocolType };
    for (const [index, { layout }] of parts.entries()) {
      const part = layout.decode(bytes, offset + fixedPart.length + index * layout.length);
      if (!part.ok) return part;
      header = { ...header, ...part.value };
    }
    return ok(header);
  },

  encode(header, target, offset = 0) {
    const parts = partsOf(header);
    const length = lengthWith(parts);
    requireRoom(fixedPart.name, target, offset, length);
    const start = {
      protocolType: header.protocolType,
      checksumPresent: header.checksum !== undefined,
      keyPresent: header.key !== undefined,
      sequencePresent: header.sequence !== undefined,
    };
    let next = offset + fixedPart.encode(start, target, offset);
    for (const { field, layout } of parts) next += layout.encode({ [field]: header[field] ?? 0 }, target, next);
    return length;
  },
};

function partsOf(header: GreHeader): typeof optionalParts {
  return optionalParts.filter(({ field }) => header[field] !== undefined);
}

function lengthWith(parts: typeof optionalParts): number {
  return parts.reduce((total, { layout }) => total + layout.length, fixedPart.length);
}
