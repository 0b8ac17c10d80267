import { readFileSync } from "node:fs";
import { toHex } from "../../src/base/bytes.ts";
import { unwrap } from "../../src/base/result.ts";
import { type Layer, type Pcap, readPcap } from "../../src/wire/index.ts";
import type { FieldReadings } from "./tshark-fields.ts";

/** What stands beside a capture. */
export interface Expected {
  /** How the frames came to be. */
  readonly note: string;
  readonly frames: readonly ExpectedFrame[];
}

export interface ExpectedFrame {
  /** `describeFrame` of it. */
  readonly line: string;
  /** What tshark read, at the time of the capture. */
  readonly tshark: FieldReadings;
  /** The layers of `decodeFrame`, octet strings in hexadecimal. */
  readonly layers: unknown;
}

/** Layers as JSON keeps them. */
export function plainLayers(layers: readonly Layer[]): unknown {
  return JSON.parse(JSON.stringify(layers, (_, value) => (value instanceof Uint8Array ? toHex(value) : value)));
}

export function readCapture(path: string): Pcap {
  const capture = unwrap(readPcap(new Uint8Array(readFileSync(path))));
  if (capture.error !== undefined) throw new Error(`${path} is damaged`);
  return capture;
}

/** A frame that quotes another packet, as ICMP errors do. tshark reads the quotation as further layers, we do not. */
export function quotesPacket(layers: readonly Layer[]): boolean {
  return layers.some(
    ({ protocol, header }) =>
      (protocol === "icmpv4" || protocol === "icmpv6") &&
      (header.type === "destination-unreachable" || header.type === "packet-too-big"),
  );
}
