import { arp } from "./arp.ts";
import { type Codec, octets, type ValueOf } from "./codec.ts";
import { ethernet } from "./ethernet.ts";
import { geneve } from "./geneve.ts";
import { gre } from "./gre.ts";
import { icmpv4 } from "./icmpv4.ts";
import { icmpv6 } from "./icmpv6.ts";
import { ipv4 } from "./ipv4.ts";
import { ipv6 } from "./ipv6.ts";
import { ipv6Extension, ipv6Fragment } from "./ipv6-extension.ts";
import { tcp } from "./tcp.ts";
import { udp } from "./udp.ts";
import { vlan } from "./vlan.ts";
import { vxlan } from "./vxlan.ts";

/** The codec of each kind of layer that a frame is made of. */
export const layerCodecs = {
  ethernet,
  vlan,
  arp,
  ipv4,
  ipv6,
  "ipv6-extension": ipv6Extension,
  "ipv6-fragment": ipv6Fragment,
  icmpv4,
  icmpv6,
  udp,
  tcp,
  vxlan,
  geneve,
  gre,
  /** What the last header carries: data, or a protocol without a codec here. */
  payload: octets("payload"),
  /** Octets behind the end of an IP packet or UDP datagram: padding of a short Ethernet frame. */
  trailer: octets("trailer"),
};

export type LayerName = keyof typeof layerCodecs;

/** A header, or the octets of a payload or trailer, by its protocol. */
export type LayerContent = {
  [Name in LayerName]: { readonly protocol: Name; readonly header: ValueOf<(typeof layerCodecs)[Name]> };
}[LayerName];

/** A layer where it was found. */
export type Layer = LayerContent & {
  /** Octets from the start of the frame. */
  readonly offset: number;
  /** Octets of the header itself. */
  readonly length: number;
};

/** The codec for whatever layer it is; the caller passes only headers of that layer. */
export function codecOf(protocol: LayerName): Codec<LayerContent["header"]> {
  return layerCodecs[protocol] as Codec<LayerContent["header"]>;
}

/** Writes the layers one after the other, as they stand: lengths and checksums are not looked at. */
export function encodeFrame(layers: readonly LayerContent[]): Uint8Array {
  const lengths = layers.map(({ protocol, header }) => codecOf(protocol).lengthOf(header));
  const frame = new Uint8Array(lengths.reduce((total, length) => total + length, 0));
  let offset = 0;
  for (const { protocol, header } of layers) offset += codecOf(protocol).encode(header, frame, offset);
  return frame;
}
