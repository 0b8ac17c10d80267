import { type ChecksumStatus, checksumStatus, pseudoHeaderSum } from "./checksum.ts";
import { ipProtocol } from "./ip-protocol.ts";
import type { Layer } from "./layers.ts";

/** The octets of a frame that one checksum covers. Positions in octets from the start of the frame. */
export interface Checksummed {
  readonly layer: Layer;
  /** Where the checksum stands, two octets. */
  readonly field: number;
  readonly start: number;
  readonly end: number;
  /** The sum of the pseudo header. */
  readonly initial: number;
}

/** The checksum of one layer of a frame, compared with the octets that it covers. */
export interface LayerChecksum {
  readonly layer: Layer;
  readonly status: ChecksumStatus;
}

/**
 * Checks the checksums of all layers of a frame that `decodeFrame` read from `bytes`. A transport or GRE checksum whose
 * octets are not all there (fragments, frames cut short) is left out, and so is one behind an IPv6 routing header,
 * which counts an address that is not in the header yet (RFC 8200 §8.1). A zero checksum of UDP is `absent` over IPv6
 * too: whether that is acceptable depends on the port (RFC 6935 §5). GRE without a checksum is not in the list.
 */
export function verifyChecksums(bytes: Uint8Array, layers: readonly Layer[]): LayerChecksum[] {
  return checksummedParts(layers)
    .filter(({ end }) => end <= bytes.length)
    .map(({ layer, start, end, initial }) => {
      const absent = layer.protocol === "udp" && layer.header.checksum === 0;
      return { layer, status: absent ? "absent" : checksumStatus(bytes.subarray(start, end), initial) };
    });
}

/** What the checksums of these layers cover, outermost first. */
export function checksummedParts(layers: readonly Layer[]): Checksummed[] {
  const parts: Checksummed[] = [];
  let packet: IpPacket | undefined;
  let routing = false;
  for (const layer of layers) {
    const { offset } = layer;
    switch (layer.protocol) {
      case "ipv4": {
        const { totalLength, source, destination, fragmentOffset, moreFragments } = layer.header;
        parts.push({ layer, field: offset + 10, start: offset, end: offset + layer.length, initial: 0 });
        const whole = fragmentOffset === 0 && !moreFragments;
        packet = whole ? { source, destination, end: offset + totalLength } : undefined;
        break;
      }
      case "ipv6": {
        const { payloadLength, source, destination, nextHeader } = layer.header;
        packet = { source, destination, end: offset + layer.length + payloadLength };
        routing = nextHeader === "ipv6-routing";
        break;
      }
      case "ipv6-extension":
        if (routing) packet = undefined;
        routing = layer.header.nextHeader === "ipv6-routing";
        break;
      case "ipv6-fragment":
        if (layer.header.fragmentOffset > 0 || layer.header.moreFragments) packet = undefined;
        break;
      case "icmpv4":
        if (packet) parts.push({ layer, field: offset + 2, start: offset, end: packet.end, initial: 0 });
        break;
      case "gre":
        if (packet && layer.header.checksum !== undefined)
          parts.push({ layer, field: offset + 4, start: offset, end: packet.end, initial: 0 });
        break;
      case "icmpv6":
        if (packet) parts.push(withPseudoHeader(layer, 2, packet, packet.end));
        break;
      case "tcp":
        if (packet) parts.push(withPseudoHeader(layer, 16, packet, packet.end));
        break;
      case "udp":
        if (packet) parts.push(withPseudoHeader(layer, 6, packet, offset + layer.header.length));
        break;
    }
  }
  return parts;
}

interface IpPacket extends Pick<Extract<Layer, { protocol: "ipv4" | "ipv6" }>["header"], "source" | "destination"> {
  /** Where the packet ends in the frame. */
  readonly end: number;
}

function withPseudoHeader(
  layer: Extract<Layer, { protocol: "icmpv6" | "tcp" | "udp" }>,
  field: number,
  { source, destination }: IpPacket,
  end: number,
): Checksummed {
  const start = layer.offset;
  const initial = pseudoHeaderSum(source, destination, ipProtocol.encode(layer.protocol), end - start);
  return { layer, field: start + field, start, end, initial };
}
