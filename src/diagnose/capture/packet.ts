/** What packets of an interface begin with. */
export type Link = "ethernet" | "ip";

/** Parts of a node's network that packets are captured at. */
export type PointKind = "port" | "container" | "bridge" | "tunnel" | "underlay";

/** An interface that packets are captured at. */
export interface Place {
  readonly node: string;
  readonly kind: PointKind;
  /** As operators know it: its name, or its path. */
  readonly namespace: string;
  readonly interface: string;
  readonly link: Link;
  /** Octets of the largest IP packet that it takes. */
  readonly mtu: number;
  /** The network that all of its packets belong to; absent: each says so itself, or nothing does. */
  readonly network?: string;
  /** Id of the endpoint that it leads to. */
  readonly endpoint?: string;
}

/** `vx4096`; what is in a container has the usual names, so that its namespace is told, too: `eth0@red`. */
export function placeName({ kind, interface: name, namespace }: Place): string {
  return kind === "container" ? `${name}@${namespace}` : name;
}

export interface CapturedPacket {
  readonly place: Place;
  /** Nanoseconds since 1970 (UTC), by the clock of the node. */
  readonly time: bigint;
  /** As the interface sees it: at a port, what comes in is what the endpoint sent. */
  readonly direction: "in" | "out";
  /** Of what came in: whom it was for, as the interface sees it. */
  readonly reception?: "unicast" | "multicast" | "broadcast" | "otherHost";
  /** From the header on that {@link Place.link} names. */
  readonly bytes: Uint8Array;
  /** Octets that it had before it was cut. */
  readonly originalLength: number;
  /** `not-ready`: its innermost checksum is to be computed yet. `valid`: the kernel has looked. */
  readonly checksum?: "not-ready" | "valid";
  /** Several packets of the link are one here: they were put together, or it is to be cut yet. */
  readonly isSegmented: boolean;
}

/** What a source came to so far, at these places together. */
export interface SourceCounts {
  readonly places: readonly Place[];
  /** Packets that its filter let through. */
  readonly received: number;
  /** Those that there was no room for, up to the last that was received. */
  readonly dropped: number;
}

/** Where captured packets come from: interfaces of this node, and in time those of others. */
export interface CaptureSource {
  /** Some at a time, until `signal` ends the capture; those that had come by then are the last. */
  packets(signal: AbortSignal): AsyncIterable<readonly CapturedPacket[]>;
  counts(): SourceCounts;
  close(): void;
}
