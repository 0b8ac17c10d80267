import {
  type DecodeFrameOptions,
  decodeFrame,
  describeFrame,
  type Frame,
  type Layer,
  tunnelledPacket,
  verifyChecksums,
} from "../../wire/index.ts";
import type { CapturedPacket } from "./packet.ts";
import type { NodeView } from "./view.ts";

/** A packet in words. */
export interface Reading {
  /** Both layers, in the manner of tcpdump; made when it is asked for, as files do without. */
  readonly text: string;
  /** Absent: not known. */
  readonly network?: string;
  /** Ids of endpoints of this node. */
  readonly from?: string;
  readonly to?: string;
  /** What is to be said of it beside: `wrong checksum: tcp`. */
  readonly notes: readonly string[];
}

/** Reads packets, and knows the networks and endpoints of a node. */
export class Reader {
  readonly #decode: DecodeFrameOptions;
  /** By their VNI. */
  readonly #networks: ReadonlyMap<number, string>;
  /** By network, and MAC or IP address. */
  readonly #endpoints: ReadonlyMap<string, string>;

  constructor(view: NodeView, decode: DecodeFrameOptions) {
    this.#decode = decode;
    this.#networks = new Map(view.networks.map(({ vni, name }) => [vni, name]));
    this.#endpoints = new Map(
      view.endpoints.flatMap(({ endpoint }) =>
        endpoint === undefined
          ? []
          : [endpoint.mac, ...endpoint.ips].map((address) => [keyOf(endpoint.network, address), endpoint.id] as const),
      ),
    );
  }

  read(packet: CapturedPacket): Reading {
    const frame = decodeFrame(packet.bytes, { ...this.#decode, link: packet.place.link });
    const tunnelled = packet.place.kind === "underlay" ? tunnelledPacket(frame) : undefined;
    const byKey = tunnelled?.key === undefined ? undefined : this.#networks.get(tunnelled.key);
    const network = packet.place.network ?? byKey;
    const start = tunnelled?.inner?.start ?? 0;
    const ends =
      network === undefined
        ? {}
        : this.#endsOf(
            network,
            frame.layers.filter(({ offset }) => offset >= start),
          );
    return {
      get text() {
        return describeFrame(frame);
      },
      ...(network === undefined ? {} : { network }),
      ...ends,
      notes: notesOf(packet, frame),
    };
  }

  /** By the MAC addresses; where these are of gateways, by the IP addresses. */
  #endsOf(network: string, layers: readonly Layer[]): Pick<Reading, "from" | "to"> {
    const addressed = layers.filter(
      ({ protocol }) => protocol === "ethernet" || protocol === "ipv4" || protocol === "ipv6",
    ) as Extract<Layer, { protocol: "ethernet" | "ipv4" | "ipv6" }>[];
    // Of packets in packets of the tenant's own the outer ones are what endpoints send.
    const ends = addressed.slice(0, addressed[0]?.protocol === "ethernet" ? 2 : 1).map(({ header }) => header);
    const find = (end: "source" | "destination"): string | undefined =>
      ends.map((header) => this.#endpoints.get(keyOf(network, header[end]))).find((id) => id !== undefined);
    const [from, to] = [find("source"), find("destination")];
    return { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
  }
}

function keyOf(network: string, address: string): string {
  return `${network} ${address}`;
}

function notesOf(packet: CapturedPacket, { layers }: Frame): string[] {
  const { bytes, originalLength, checksum, isSegmented } = packet;
  const notes: string[] = [];
  if (isSegmented) notes.push("segmentation offloaded");
  if (bytes.length < originalLength) notes.push(`cut: ${bytes.length} of ${originalLength} octets`);
  // Of IPv4 the kernel computes the checksum itself, always; the others are the device's business until it says so.
  const wrong = verifyChecksums(bytes, isSegmented ? [] : layers)
    .filter(({ status, layer }) => status === "wrong" && (checksum === undefined || layer.protocol === "ipv4"))
    .map(({ layer }) => layer.protocol);
  if (wrong.length > 0) notes.push(`wrong checksum: ${wrong.join(", ")}`);
  return notes;
}
