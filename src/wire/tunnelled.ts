import type { Frame } from "./decode-frame.ts";
import type { Layer } from "./layers.ts";
import { readNvgreKey } from "./nvgre.ts";

/** What the outermost tunnel of a frame carries. */
export interface Tunnelled {
  /** Position of the tunnel's own header among the layers; of IP in IP that of the inner IP header. */
  readonly layer: number;
  /** What says to which network the packet belongs: the VNI, of NVGRE the VSID, of GRE the key. Absent: nothing does. */
  readonly key?: number;
  /** The inner packet, where it could be read: octets from the start of the frame, and what it begins with. */
  readonly inner?: { readonly start: number; readonly end: number; readonly link: "ethernet" | "ip" };
}

/** The outermost tunnel of a frame that `decodeFrame` read; `undefined`: it is in none. */
export function tunnelledPacket({ layers }: Frame): Tunnelled | undefined {
  let outer: Extract<Layer, { protocol: "ipv4" | "ipv6" }> | undefined;
  for (const [index, layer] of layers.entries()) {
    switch (layer.protocol) {
      case "ipv4":
      case "ipv6":
        if (outer !== undefined) return { layer: index, ...innerOf(layer, outer) };
        outer = layer;
        break;
      case "vxlan":
      case "geneve":
        return { layer: index, key: layer.header.vni, ...innerOf(layers[index + 1], outer) };
      case "gre": {
        const key = readNvgreKey(layer.header)?.vsid ?? layer.header.key;
        return { layer: index, ...(key === undefined ? {} : { key }), ...innerOf(layers[index + 1], outer) };
      }
    }
  }
  return undefined;
}

function innerOf(
  first: Layer | undefined,
  outer: Extract<Layer, { protocol: "ipv4" | "ipv6" }> | undefined,
): Pick<Tunnelled, "inner"> {
  if (first === undefined || outer === undefined) return {};
  const link = first.protocol === "ethernet" ? first.protocol : "ip";
  if (link === "ip" && first.protocol !== "ipv4" && first.protocol !== "ipv6") return {};
  const length = outer.protocol === "ipv4" ? outer.header.totalLength : outer.length + outer.header.payloadLength;
  return { inner: { start: first.offset, end: outer.offset + length, link } };
}
