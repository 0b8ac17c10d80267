import type { ProbeRefusal } from "../probe/correspondence.ts";
import type { End, Start, Step, TracedPacket } from "./step.ts";

/**
 * `look`: tell what the tables say. `watch`: and look for marked packets from now on. `send`: send them. `count`: tell what was
 * seen of them. `end`: for the last time.
 */
export type TraceAction = "look" | "watch" | "send" | "count" | "end";

/** What a node is asked of a packet's way through it. */
export interface TraceQuestion {
  /** What the node is asked as a host of. */
  readonly network: string;
  readonly packet: TracedPacket;
  readonly start: Start;
  readonly action: TraceAction;
  /** Random, 64 bits; in each marked packet. */
  readonly id: bigint;
  /** Which part of the trace: a node may see several. */
  readonly part: number;
}

export interface TraceAnswer {
  readonly steps: readonly Step[];
  readonly end: End;
  /** By the node's clock, in microseconds since 1970. */
  readonly clock: number;
  /** Of packets that were sent. */
  readonly refusals: readonly ProbeRefusal[];
}

/** Asks a node, be it this one; throws when it cannot be asked, or has no answer. */
export type AskNode = (node: string, question: TraceQuestion) => Promise<TraceAnswer>;
