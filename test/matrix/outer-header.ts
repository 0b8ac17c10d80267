/** What a packet of a container looks like on the underlay, read by weft's own codecs. Pure. */
import { familyOf, type IpFamily, ip } from "../../src/base/ip.ts";
import { type DecodeFrameOptions, decodeFrame, type Layer, readNvgreKey } from "../../src/wire/index.ts";
import { isDirect, type MatrixCase, vtepOf } from "./cases.ts";

/** What is in front of the inner packet, but for Ethernet. */
export interface OuterHeader {
  readonly source: string;
  readonly destination: string;
  /** What the outer IP header carries, by its name in src/wire. */
  readonly protocol: string;
  readonly destinationPort?: number;
  readonly tunnel?: "vxlan" | "geneve" | "nvgre" | "gre";
  /** VNI, VSID or key. */
  readonly network?: number;
}

/** An echo request as it crossed the underlay. */
export interface SentRequest {
  /** Absent: the packet travelled as it was. */
  readonly outer?: OuterHeader;
  /** Of the UDP header; it differs from flow to flow. */
  readonly sourcePort?: number;
  /** Octets of the whole packet, outer IP header included. */
  readonly length: number;
}

/** Ports that a reader must be told of. */
export function decodeOptions({ encapsulation, port }: MatrixCase): DecodeFrameOptions {
  return encapsulation === "vxlan" ? { vxlanPorts: new Set([port]) } : {};
}

/** What packets of an inner version should have in front; `undefined`: nothing. */
export function expectedOuter(each: MatrixCase, family: IpFamily): OuterHeader | undefined {
  if (isDirect(each)) return undefined;
  const { encapsulation, vni, port } = each;
  const addresses = { source: vtepOf(each, 1), destination: vtepOf(each, 2) };
  switch (encapsulation) {
    case "vxlan":
    case "geneve":
      return { ...addresses, protocol: "udp", destinationPort: port, tunnel: encapsulation, network: vni };
    case "nvgre":
    case "gre":
      return { ...addresses, protocol: "gre", tunnel: encapsulation, network: vni };
    default:
      return { ...addresses, protocol: `ipv${family}` };
  }
}

/** The frame taken apart, if it carries an echo request to this container. */
export function readRequest(frame: Uint8Array, container: string, each: MatrixCase): SentRequest | undefined {
  const { layers } = decodeFrame(frame, decodeOptions(each));
  const echo = layers.findIndex(
    ({ protocol, header }) => (protocol === "icmpv4" || protocol === "icmpv6") && header.type === "echo-request",
  );
  const inner = layers[echo - 1];
  if ((inner?.protocol !== "ipv4" && inner?.protocol !== "ipv6") || inner.header.destination !== container)
    return undefined;
  const outermost = layers.find(({ protocol }) => protocol === "ipv4" || protocol === "ipv6");
  const length = frame.length - (outermost?.offset ?? 0);
  if (outermost === inner || outermost === undefined) return { length };
  return { ...outerOf(layers.slice(0, echo - 1), each), length };
}

/** Headers in front of the inner IP header. */
function outerOf(layers: readonly Layer[], each: MatrixCase): Pick<SentRequest, "outer" | "sourcePort"> {
  let outer: OuterHeader = { source: "", destination: "", protocol: "" };
  let sourcePort: number | undefined;
  for (const layer of layers)
    switch (layer.protocol) {
      case "ipv4":
      case "ipv6": {
        const carried = layer.protocol === "ipv4" ? layer.header.protocol : layer.header.nextHeader;
        const protocol = typeof carried === "string" ? carried : String(carried.unknown);
        outer = { ...outer, source: layer.header.source, destination: layer.header.destination, protocol };
        break;
      }
      case "udp":
        outer = { ...outer, destinationPort: layer.header.destinationPort };
        sourcePort = layer.header.sourcePort;
        break;
      case "vxlan":
      case "geneve":
        outer = { ...outer, tunnel: layer.protocol, network: layer.header.vni };
        break;
      case "gre": {
        const vsid = each.encapsulation === "nvgre" ? readNvgreKey(layer.header)?.vsid : undefined;
        const network = vsid ?? layer.header.key;
        outer = {
          ...outer,
          tunnel: vsid === undefined ? "gre" : "nvgre",
          ...(network === undefined ? {} : { network }),
        };
        break;
      }
    }
  return { outer, ...(sourcePort === undefined ? {} : { sourcePort }) };
}

/** In one line: `192.0.2.1 > 192.0.2.2 UDP 4789 VXLAN VNI 4096`. */
export function describeOuter(outer: OuterHeader | undefined): string {
  if (outer === undefined) return "none";
  const { source, destination, protocol, destinationPort, tunnel, network } = outer;
  const words = [`${source} > ${destination}`];
  if (tunnel === undefined) words.push(`${protocol.replace("ip", "IP")} in IPv${familyOf(ip(source))}`);
  if (destinationPort !== undefined) words.push(`${protocol.toUpperCase()} ${destinationPort}`);
  if (tunnel !== undefined) words.push(`${tunnel.toUpperCase()} ${identifiers[tunnel]} ${network ?? "missing"}`);
  return words.join(" ");
}

const identifiers = { vxlan: "VNI", geneve: "VNI", nvgre: "VSID", gre: "key" } as const;
