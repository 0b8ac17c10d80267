import { cutShort, type DecodeError, malformed } from "./decode-error.ts";
import { genevePort } from "./geneve.ts";
import { codecOf, type Layer, type LayerName } from "./layers.ts";
import type { Code } from "./layout.ts";
import { vxlanPort } from "./vxlan.ts";

/** A frame as far as it could be read. */
export interface Frame {
  /** From the outermost inwards; trailers last. They stand in the order of the frame's octets, without gaps. */
  readonly layers: readonly Layer[];
  /** Why the octets after the last layer could not be read; absent when the layers are the whole frame. */
  readonly error?: DecodeError;
}

export interface DecodeFrameOptions {
  /** What it begins with. `ip`: an IPv4 or IPv6 header, as on interfaces without Ethernet. Default: `ethernet`. */
  readonly link?: "ethernet" | "ip";
  /** UDP destination ports that carry VXLAN. Default: 4789. */
  readonly vxlanPorts?: ReadonlySet<number>;
  /** UDP destination ports that carry Geneve. Default: 6081. A port of both sets carries VXLAN. */
  readonly genevePorts?: ReadonlySet<number>;
}

/** The most layers of one frame that are read; VLAN tags and IPv6 extension headers count as one each. */
export const maximumLayers = 32;

const defaultVxlanPorts: ReadonlySet<number> = new Set([vxlanPort]);
const defaultGenevePorts: ReadonlySet<number> = new Set([genevePort]);

/**
 * Reads an Ethernet frame layer by layer, through VXLAN, Geneve, GRE and IP in IP (RFC 2003, RFC 2473, RFC 4213) into
 * the inner packet. Never throws. What is malformed ends the walk with an error; the layers before it stand. Later
 * fragments and the data of a first fragment are payload, as the whole is not there. NVGRE and a GRE tunnel for Ethernet
 * with a key are the same on the wire: both are `gre`, and whoever knows that it is NVGRE asks `readNvgreKey`.
 */
export function decodeFrame(bytes: Uint8Array, options: DecodeFrameOptions = {}): Frame {
  const walk: Walk = {
    vxlanPorts: options.vxlanPorts ?? defaultVxlanPorts,
    genevePorts: options.genevePorts ?? defaultGenevePorts,
    // Made anew so that a Buffer does not hand its own kind of views into the decoded values.
    bytes: new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length),
    trailers: [],
    fragment: false,
  };
  const layers: Layer[] = [];
  let offset = 0;
  let next: LayerName = options.link === "ip" ? ipVersion(walk.bytes) : "ethernet";
  while (next !== "payload" || offset < walk.bytes.length) {
    if (layers.length === maximumLayers)
      return { layers, error: malformed(next, `it would be layer ${maximumLayers + 1} of the frame`, offset).error };
    const decoded = codecOf(next).decode(walk.bytes, offset);
    if (!decoded.ok) return { layers, error: decoded.error };
    const length = codecOf(next).lengthOf(decoded.value);
    const layer = { protocol: next, header: decoded.value, offset, length } as Layer;
    layers.push(layer);
    const following = follow(walk, layer);
    if (typeof following === "object") return { layers, error: following };
    offset += length;
    next = following;
  }
  return { layers: [...layers, ...walk.trailers.reverse()] };
}

/** The UDP ports of tunnels by the names of their encapsulations, beside those that IANA gave them. Other encapsulations have none. */
export function tunnelPorts(
  transports: Iterable<{ readonly encapsulation: string; readonly port: number }>,
): Required<Pick<DecodeFrameOptions, "vxlanPorts" | "genevePorts">> {
  const all = [...transports];
  const portsOf = (name: string): number[] =>
    all.filter(({ encapsulation }) => encapsulation === name).map(({ port }) => port);
  return {
    vxlanPorts: new Set([...defaultVxlanPorts, ...portsOf("vxlan")]),
    genevePorts: new Set([...defaultGenevePorts, ...portsOf("geneve")]),
  };
}

/** By its first four bits. */
function ipVersion(bytes: Uint8Array): LayerName {
  const version = (bytes[0] ?? 0) >> 4;
  return version === 4 ? "ipv4" : version === 6 ? "ipv6" : "payload";
}

interface Walk {
  readonly vxlanPorts: ReadonlySet<number>;
  readonly genevePorts: ReadonlySet<number>;
  /** The frame up to the end of the innermost packet whose length is known. */
  bytes: Uint8Array;
  /** Octets between the end of a packet and that of the packet around it, outermost first. */
  readonly trailers: Layer[];
  /** The IP packet is a fragment: what its transport header announces is not all there. */
  fragment: boolean;
}

/** The kind of the layer after `layer`, or why there can be none. */
function follow(walk: Walk, layer: Layer): LayerName | DecodeError {
  switch (layer.protocol) {
    case "ethernet":
    case "vlan":
      return afterEtherType(layer.header.etherType);
    case "ipv4": {
      const { totalLength, fragmentOffset, moreFragments, protocol } = layer.header;
      walk.fragment = fragmentOffset > 0 || moreFragments;
      return endAt(walk, layer, totalLength) ?? afterIp(walk, protocol, fragmentOffset);
    }
    case "ipv6":
      walk.fragment = false;
      return endAt(walk, layer, layer.length + layer.header.payloadLength) ?? afterIp(walk, layer.header.nextHeader);
    case "ipv6-extension":
      return afterIp(walk, layer.header.nextHeader);
    case "ipv6-fragment": {
      const { fragmentOffset, moreFragments, nextHeader } = layer.header;
      walk.fragment = fragmentOffset > 0 || moreFragments;
      return afterIp(walk, nextHeader, fragmentOffset);
    }
    case "udp": {
      if (walk.fragment) return "payload";
      return endAt(walk, layer, layer.header.length) ?? afterUdp(walk, layer.header.destinationPort);
    }
    case "vxlan":
      return "ethernet";
    case "geneve":
    case "gre":
      return walk.fragment ? "payload" : afterTunnel(layer.header.protocolType);
    case "arp":
      cutTrailer(walk, layer.offset + layer.length);
      return "payload";
    default:
      return "payload";
  }
}

/** The packet that begins with `layer` is `length` octets long: what is behind it is a trailer. */
function endAt(walk: Walk, layer: Layer, length: number): DecodeError | undefined {
  const end = layer.offset + length;
  if (end > walk.bytes.length) return cutShort(`${layer.protocol} packet`, walk.bytes, layer.offset, length).error;
  cutTrailer(walk, end);
  return undefined;
}

function cutTrailer(walk: Walk, end: number): void {
  const header = walk.bytes.subarray(end);
  if (header.length === 0) return;
  walk.trailers.push({ protocol: "trailer", header, offset: end, length: header.length });
  walk.bytes = walk.bytes.subarray(0, end);
}

function afterEtherType(type: Code<string>): LayerName {
  switch (type) {
    case "provider-vlan":
      return "vlan";
    case "vlan":
    case "arp":
    case "ipv4":
    case "ipv6":
      return type;
    default:
      return "payload";
  }
}

/** What a tunnel carries. Only there an Ethernet frame has an EtherType. */
function afterTunnel(type: Code<string>): LayerName {
  return type === "transparent-ethernet-bridging" ? "ethernet" : afterEtherType(type);
}

function afterUdp(walk: Walk, port: number): LayerName {
  if (walk.vxlanPorts.has(port)) return "vxlan";
  return walk.genevePorts.has(port) ? "geneve" : "payload";
}

function afterIp(walk: Walk, protocol: Code<string>, fragmentOffset = 0): LayerName {
  if (fragmentOffset > 0) return "payload";
  switch (protocol) {
    case "hop-by-hop-options":
    case "ipv6-routing":
    case "destination-options":
      return "ipv6-extension";
    case "ipv4":
    case "ipv6":
      return walk.fragment ? "payload" : protocol;
    case "ipv6-fragment":
    case "icmpv4":
    case "icmpv6":
    case "udp":
    case "tcp":
    case "gre":
      return protocol;
    default:
      return "payload";
  }
}
