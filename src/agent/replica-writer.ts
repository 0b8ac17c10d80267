import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { KernelObject, Problems } from "../dataplane/index.ts";
import { DiskWrite } from "./disk-write.ts";
import type { Replica, ReplicaChange } from "./replica.ts";

/**
 * Brings what the server said to disk. A disk that is full loses nothing: what could not be written is written a little later, with
 * what came meanwhile.
 */
export class ReplicaWriter {
  readonly #replica: Pick<Replica, "apply" | "forgetPartial" | "revision">;
  readonly #problems: Problems;
  readonly #disk: DiskWrite;
  #revision: number;
  /** What is not on disk of the changes up to {@link revision}: the last of each object, in their order. */
  readonly #unsaved = new Map<string, ReplicaChange>();
  /** Some of it shall survive a power cut. */
  #isDurable = false;

  constructor(replica: Pick<Replica, "apply" | "forgetPartial" | "revision">, problems: Problems, clock: Clock) {
    this.#replica = replica;
    this.#problems = problems;
    this.#revision = replica.revision;
    this.#disk = new DiskWrite({ object: agentDatabase, problems, clock, write: () => this.#writeUnsaved() });
  }

  /** Of the last complete state, on disk or still to be written. */
  get revision(): number {
    return this.#revision;
  }

  /** What is on disk is not whole: the server is asked for everything. */
  distrust(): void {
    this.#revision = 0;
  }

  /** Lets go on disk of networks that had not come whole when the agent ended. They lack their network, and do no harm otherwise. */
  forgetPartial(): void {
    try {
      this.#replica.forgetPartial();
    } catch (error) {
      this.#problems.failed(agentDatabase, error instanceof Error ? error : new Error(messageOf(error)));
    }
  }

  /**
   * Takes over changes as of a complete state; the disk follows at once, unless it refused lately. `isDurable`: as
   * {@link Replica.apply} has it.
   */
  save(changes: readonly ReplicaChange[], revision: number, isDurable = true): void {
    this.#revision = revision;
    this.#keep(changes);
    this.#isDurable ||= isDurable;
    if (!this.#disk.isRefused) this.#disk.try();
  }

  /** Writes what is not on disk, and the revision in any case. */
  write(): void {
    this.#isDurable = true;
    this.#disk.try();
  }

  #writeUnsaved(): void {
    // Together: a revision without its changes would be resumed from, and they would never come again.
    this.#replica.apply(this.#unsaved.values(), this.#revision, this.#isDurable);
    this.#unsaved.clear();
    this.#isDurable = false;
  }

  /** However long the disk refuses, no more than there are objects. */
  #keep(changes: readonly ReplicaChange[]): void {
    for (const change of changes) {
      const key = keyOf(change);
      this.#unsaved.delete(key);
      this.#unsaved.set(key, change);
    }
  }

  close(): void {
    this.#disk.close();
  }
}

/** That a network, or the policies of a tenant, go takes along what was in them: it stays before whatever comes of them later. */
function keyOf(change: ReplicaChange): string {
  switch (change.kind) {
    case "network":
      return `network ${change.state.network.name}`;
    case "network-removed":
      return `no network ${change.name}`;
    case "node":
      return `node ${change.node.name}`;
    case "node-removed":
      return `node ${change.name}`;
    case "endpoint":
      return `endpoint ${change.endpoint.network} ${change.endpoint.id}`;
    case "endpoint-removed":
      return `endpoint ${change.network} ${change.id}`;
    case "block":
      return `block ${change.block.network} ${change.block.cidr}`;
    case "block-removed":
      return `block ${change.network} ${change.cidr}`;
    case "policy":
      return `policy ${change.policy.name}`;
    case "policy-removed":
      return `policy ${change.name}`;
    case "policy-member":
      return `policy member ${change.member.id}`;
    case "policy-member-removed":
      return `policy member ${change.id}`;
    case "policies-removed":
      return `no policies ${change.tenant}`;
    case "pod":
      return `pod ${change.pod.name}`;
    case "pod-removed":
      return `pod ${change.name}`;
  }
}

export const agentDatabase: KernelObject = { kind: "agent database" };
