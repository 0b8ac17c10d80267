import { internetChecksum } from "./checksum.ts";
import { checksummedParts } from "./frame-checksums.ts";
import { codecOf, encodeFrame, type Layer, type LayerContent } from "./layers.ts";

/** The fields that follow from the rest of the frame. */
type Computed = "totalLength" | "payloadLength" | "checksum";
type Drafted<Header> = Header extends Uint8Array ? Header : Header extends unknown ? Omit<Header, Computed> : never;

/** Layers whose fields `Computed` does not describe. */
type Special = "udp" | "gre";

/**
 * A layer without the lengths and checksums that `buildFrame` finds out; what it has of them is not looked at. Only that
 * a GRE header has a checksum, whichever, says that it is to have one.
 */
export type LayerDraft =
  | {
      [Name in Exclude<LayerContent["protocol"], Special>]: {
        readonly protocol: Name;
        readonly header: Drafted<Extract<LayerContent, { protocol: Name }>["header"]>;
      };
    }[Exclude<LayerContent["protocol"], Special>]
  | Extract<LayerContent, { protocol: "gre" }>
  | {
      readonly protocol: "udp";
      readonly header: Omit<Extract<LayerContent, { protocol: "udp" }>["header"], "length" | "checksum">;
    };

/**
 * A frame of these layers with right lengths and checksums, as a sender makes it. Zero are the UDP checksum around
 * VXLAN (RFC 7348 §5; around Geneve there is one, RFC 8926 §3.3) and the checksums that `verifyChecksums` leaves out. Trailers are behind the outermost
 * packet: no length counts them. Throws RangeError when something does not fit its field.
 */
export function buildFrame(drafts: readonly LayerDraft[]): Uint8Array {
  const layers = withLengths(drafts.map(withoutSums));
  const frame = encodeFrame(layers);
  // Innermost first, because the checksum of an outer packet covers those of the inner one.
  for (const { layer, field, start, end, initial } of checksummedParts(layers).reverse()) {
    const isUdp = layer.protocol === "udp";
    if (isUdp && layers[layers.indexOf(layer) + 1]?.protocol === "vxlan") continue;
    const sum = internetChecksum(frame.subarray(start, end), initial);
    // RFC 768: a computed zero is sent as all ones, because zero says that there is none.
    new DataView(frame.buffer).setUint16(field, isUdp && sum === 0 ? 0xffff : sum);
  }
  return frame;
}

/** The layer with zeros in place of what is yet to be found out. */
function withoutSums(draft: LayerDraft): LayerContent {
  switch (draft.protocol) {
    case "ipv4":
      return { protocol: "ipv4", header: { ...draft.header, totalLength: 0, checksum: 0 } };
    case "ipv6":
      return { protocol: "ipv6", header: { ...draft.header, payloadLength: 0 } };
    case "udp":
      return { protocol: "udp", header: { ...draft.header, length: 0, checksum: 0 } };
    case "gre":
      return draft.header.checksum === undefined
        ? draft
        : { protocol: "gre", header: { ...draft.header, checksum: 0 } };
    case "icmpv4":
    case "icmpv6":
    case "tcp":
      // A spread of a union loses the tie between its members' fields; adding one more field keeps them as they were.
      return { protocol: draft.protocol, header: { ...draft.header, checksum: 0 } } as LayerContent;
    default:
      return draft;
  }
}

/** The layers at their offsets, each with the length of what it carries. */
function withLengths(contents: readonly LayerContent[]): Layer[] {
  const lengths = contents.map(({ protocol, header }) => codecOf(protocol).lengthOf(header));
  const end = contents.reduce(
    (total, { protocol }, index) => total + (protocol === "trailer" ? 0 : (lengths[index] as number)),
    0,
  );
  let next = 0;
  return contents.map((content, index) => {
    const offset = next;
    const length = lengths[index] as number;
    next += length;
    return { ...withLength(content, end - offset, length), offset, length };
  });
}

/** `total` are the octets of the header, which is `length` octets, and of all that it carries. */
function withLength(content: LayerContent, total: number, length: number): LayerContent {
  switch (content.protocol) {
    case "ipv4":
      return { protocol: "ipv4", header: { ...content.header, totalLength: total } };
    case "ipv6":
      return { protocol: "ipv6", header: { ...content.header, payloadLength: total - length } };
    case "udp":
      return { protocol: "udp", header: { ...content.header, length: total } };
    default:
      return content;
  }
}
