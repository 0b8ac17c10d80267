/** A row of probes of one network, from one node to another. */
export interface Train {
  /** Random, 64 bits. */
  readonly id: bigint;
  readonly network: string;
  /** Octets of each probe's outer IP packet, in the order in which they are sent. */
  readonly sizes: readonly number[];
  /** Microseconds from one to the next. */
  readonly interval: number;
}

export const trainLimits = {
  probes: 1_000,
  /** Microseconds. */
  interval: 20_000,
  /** Octets of the largest IP packet. */
  size: 65_535,
} as const;

/** A probe that arrived. */
export interface Arrival {
  readonly sequence: number;
  /** Microseconds since it was sent: by the sender's clock then, and by the receiver's now. */
  readonly delay: number;
  readonly isChanged: boolean;
}

export interface Arrivals {
  /** On an interface of the host, before anything of the host has judged them. */
  readonly atInterface: readonly Arrival[];
  /** Out of the network's tunnel. */
  readonly atTunnel: readonly Arrival[];
  /** Packets that the watching itself had no room for. */
  readonly missed: number;
}

/** What became of a probe that was not sent, or not let through. */
export interface ProbeRefusal {
  readonly sequence: number;
  /** `EMSGSIZE`. */
  readonly error: string;
  /** Who said so; empty: the host that sent it. */
  readonly by: string;
  /** Octets; 0: not told. */
  readonly mtu: number;
}

export interface Departures {
  /** Sequence numbers of those that left by an interface of the host. */
  readonly sequences: readonly number[];
  readonly refusals: readonly ProbeRefusal[];
}

/** How other nodes are asked to help. Each throws when the other node cannot be asked, or has no answer. */
export interface Correspondence {
  /** Returns when the other node watches for the train. */
  expectTrain(node: string, train: Train): Promise<void>;
  /** Ends the watching. */
  countTrain(node: string, id: bigint): Promise<Arrivals>;
  /** The other node sends the train here. */
  sendTrain(node: string, train: Train): Promise<Departures>;
}
