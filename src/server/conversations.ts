import type { NodeIdentity } from "../api/node-uri.ts";
import type { Clock } from "../base/clock.ts";
import { minutes, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Connection } from "./connection.ts";

/** An agent that does not answer a ping for this long is gone, and another of its node may speak. */
const answerLimit = seconds(3);
/**
 * An agent that was refused waits until its node has not been heard for this long: the node's own agent, which is
 * being restarted or has not found its way back to a restarted server yet, comes first.
 */
const precedence = seconds(60);
/** How often one refused agent is told of, in the log and to the node, and how often several are. */
const tellAgain = minutes(10);
const tellOfAnother = minutes(1);

/** Who asks to speak as a node. */
export interface Claim {
  readonly node: NodeIdentity;
  /** Random, of one process of an agent; empty: an agent of weft 0.1, which is told by its address. */
  readonly incarnation: Uint8Array;
  /** It was refused since it last was heard. */
  readonly wasRefused: boolean;
  readonly connection: Connection;
}

interface Holder {
  readonly generation: number;
  readonly incarnation: string;
  readonly connection: Connection;
  /** Milliseconds since 1970. */
  readonly since: number;
}

/** An agent that was refused, because another one speaks as its node. */
export interface RefusedAgent {
  readonly address: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

interface Refusal extends RefusedAgent {
  readonly incarnation: string;
  /** When it was last told of, by the clock that never goes back. */
  readonly toldAt: number;
}

/**
 * Which process of an agent speaks as each node. Two machines with one identity, such as copies of a disk, would take
 * turns in being the node, and neither would work: the second is refused as long as the first one answers.
 */
export class Conversations {
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Tells a node of an agent that was refused. */
  readonly #tell: (node: string, address: string) => void;
  readonly #startedAt: number;
  readonly #holders = new Map<string, Holder>();
  /** When the last connection of a node without one ended, by the clock that never goes back. */
  readonly #endedAt = new Map<string, number>();
  readonly #refusals = new Map<string, Refusal>();
  /** Agents refused since the server started. */
  refused = 0;

  constructor(
    { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
    tell: (node: string, address: string) => void,
  ) {
    this.#clock = clock;
    this.#logger = logger;
    this.#tell = tell;
    this.#startedAt = clock.monotonic();
  }

  /** Where the node's agent is now, and who was refused last. */
  of(node: string): { readonly address: string; readonly refused: RefusedAgent | undefined } {
    return { address: this.#holders.get(node)?.connection.address ?? "", refused: this.#refusals.get(node) };
  }

  /** Lets the agent speak as its node from now on, or throws: another one does. */
  async admit(claim: Claim, attempted: string): Promise<void> {
    const { name, generation } = claim.node;
    for (;;) {
      const holder = this.#holders.get(name);
      // Whoever joined anew was let in by the administrator.
      if (holder === undefined || isSameAgent(holder, claim) || holder.generation < generation) break;
      const isAlive = await holder.connection.answers(answerLimit);
      if (this.#holders.get(name) !== holder) continue;
      if (isAlive) throw this.#refuse(claim, holder, attempted);
      this.#release(name, holder);
      holder.connection.end();
    }
    if (claim.wasRefused && !this.#holders.has(name)) this.#requirePrecedence(claim, attempted);
    this.#hold(claim, attempted);
  }

  /** Throws when another agent than the caller speaks as the node: it may write nothing. */
  requireHolder(claim: Claim, attempted: string): void {
    const holder = this.#holders.get(claim.node.name);
    if (holder === undefined || isSameAgent(holder, claim) || holder.generation !== claim.node.generation) return;
    throw this.#refuse(claim, holder, attempted);
  }

  #hold({ node, incarnation, connection }: Claim, attempted: string): void {
    if (this.#holders.get(node.name)?.connection === connection) return;
    // It would never be heard to end.
    if (connection.isClosed)
      throw new WeftError({ code: "unavailable", attempted, reason: "the caller closed the connection meanwhile" });
    const holder: Holder = {
      generation: node.generation,
      incarnation: textOf(incarnation),
      connection,
      since: this.#clock.now(),
    };
    this.#holders.set(node.name, holder);
    connection.onClosed(() => this.#release(node.name, holder));
  }

  #release(node: string, holder: Holder): void {
    if (this.#holders.get(node) !== holder) return;
    this.#holders.delete(node);
    this.#endedAt.set(node, this.#clock.monotonic());
  }

  #requirePrecedence({ node, connection }: Claim, attempted: string): void {
    const since = this.#endedAt.get(node.name) ?? this.#startedAt;
    if (this.#clock.monotonic() - since >= precedence) return;
    throw new WeftError({
      code: "in-use",
      attempted,
      reason: `another agent ran as this node; this one, at ${connection.address}, may take its place when that one has been away for ${precedence / 1_000} s`,
      hint: whatToDo,
    });
  }

  #refuse({ node, incarnation, connection }: Claim, holder: Holder, attempted: string): WeftError {
    this.refused++;
    const { address } = connection;
    const now = this.#clock.monotonic();
    const before = this.#refusals.get(node.name);
    const refusal = { address, at: this.#clock.now(), incarnation: textOf(incarnation) };
    const interval =
      before?.incarnation === refusal.incarnation && before.address === address ? tellAgain : tellOfAnother;
    const isTold = before !== undefined && now - before.toldAt < interval;
    this.#refusals.set(node.name, { ...refusal, toldAt: isTold ? before.toldAt : now });
    if (!isTold) {
      this.#logger.warn(
        { node: node.name, address: holder.connection.address, refused: address },
        "refused a second agent of a node: two hosts have one identity",
      );
      this.#tell(node.name, address);
    }
    return new WeftError({
      code: "in-use",
      attempted,
      reason: `another agent runs as this node: at ${holder.connection.address}, since ${new Date(holder.since).toISOString()}; this one is at ${address}`,
      hint: whatToDo,
    });
  }
}

const whatToDo =
  "if this host is a copy of that one: stop this agent, delete its data directory, and let it join under another --name with a token of its own from: weft token create; if that one is the copy, do so there";

function isSameAgent(holder: Holder, { incarnation, connection }: Claim): boolean {
  if (holder.connection === connection) return true;
  if (holder.incarnation !== textOf(incarnation)) return false;
  return holder.incarnation !== "" || holder.connection.address === connection.address;
}

function textOf(incarnation: Uint8Array): string {
  return Buffer.from(incarnation).toString("hex");
}
