import type { Clock } from "../base/clock.ts";
import { milliseconds } from "../base/duration.ts";
import type { DesiredNetwork } from "./desired.ts";
import type { Problems } from "./report.ts";
import { Rounds } from "./rounds.ts";
import type { TenantDataplane } from "./tenant-dataplane.ts";

/** Work that is left although nothing failed is looked at again after this. */
const workRetry = milliseconds(100);

export interface TenantQueueOptions {
  readonly name: string;
  readonly clock: Clock;
  /** Of this tenant alone. */
  readonly problems: Problems;
  /** The networks that it shall have. */
  readonly networks: () => readonly DesiredNetwork[];
  readonly isWanted: (network: DesiredNetwork) => boolean;
  readonly open: (queue: TenantQueue) => Promise<TenantDataplane>;
  readonly onPass: (moment: "began" | "ended") => void;
  /** It has left the kernel, because nobody wanted any of its networks. Tells whether the queue ends, too: somebody may want it again by now. */
  readonly onGone: (dataplane: TenantDataplane | undefined) => boolean;
}

/** One tenant's work in the kernel, which waits for no other tenant's. */
export class TenantQueue {
  readonly rounds: Rounds;
  readonly problems: Problems;
  readonly #options: TenantQueueOptions;
  #dataplane: TenantDataplane | undefined;
  /** Leftovers of an earlier run have been looked for. */
  #isPruned = false;
  #retryAll = false;
  #cancelRetry: (() => void) | undefined;
  #isClosed = false;

  constructor(options: TenantQueueOptions) {
    this.#options = options;
    this.problems = options.problems;
    this.rounds = new Rounds(() => this.#pass());
  }

  /** `undefined` until its namespace is there. */
  get dataplane(): TenantDataplane | undefined {
    return this.#dataplane;
  }

  /** Does what the desired state asks for. Resolves when a pass that began after this call has ended. */
  changed(): Promise<void> {
    this.#retryAll = true;
    return this.rounds.run();
  }

  /** What is there was damaged: does what is to be done; what failed lately waits until it is due. */
  readonly trigger = (): void => {
    if (!this.#isClosed) void this.rounds.run();
  };

  /** A network left that no pass has come to: what an earlier run made of it is nobody's, and was kept for it. */
  distrustLeftovers(): void {
    this.#isPruned = false;
  }

  /** Whether something of it is to leave. */
  get hasRemovals(): boolean {
    const { networks, isWanted } = this.#options;
    const present = [...(this.#dataplane?.networks.values() ?? [])];
    return networks().length === 0 || present.some(({ desired }) => !isWanted(desired));
  }

  get isSettled(): boolean {
    const dataplane = this.#dataplane;
    return (
      this.rounds.turns.isIdle &&
      this.#isPruned &&
      dataplane?.hasWork === false &&
      this.#options.networks().every((desired) => dataplane.networks.get(desired.settings.name)?.desired === desired)
    );
  }

  /** Removes what an earlier run left and nobody wants any more: a leftover tunnel may hold the VNI of a new network. */
  prune(): Promise<void> {
    return this.rounds.turns.take(() => this.#prune());
  }

  /** Lets go of the kernel, which stays as it is. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry?.();
    await this.rounds.turns.ended();
    this.#dataplane?.close();
  }

  async #pass(): Promise<void> {
    if (this.#isClosed) return;
    const { name, clock, networks, onPass } = this.#options;
    const { problems } = this;
    this.#cancelRetry?.();
    onPass("began");
    problems.beginPass();
    if (this.#retryAll) problems.retryAll();
    this.#retryAll = false;
    // First what leaves.
    await problems.attempt({ kind: "removals", tenant: name }, () => this.#remove());
    if (networks().length > 0)
      await problems.attempt({ kind: "tenant", tenant: name }, async () => {
        const dataplane = await this.#open();
        if (!this.#isPruned) await problems.attempt({ kind: "leftovers", tenant: name }, () => this.#prune());
        await dataplane.reconcile(networks());
      });
    const hasWork = this.#dataplane?.hasWork;
    const pause = problems.nextRetry ?? (hasWork ? workRetry : undefined);
    if (pause !== undefined && !this.#isClosed) this.#cancelRetry = clock.after(pause, this.trigger);
    onPass("ended");
  }

  async #open(): Promise<TenantDataplane> {
    this.#dataplane ??= await this.#options.open(this);
    return this.#dataplane;
  }

  async #remove(): Promise<void> {
    const { name, networks, isWanted, onGone } = this.#options;
    await this.#dataplane?.removeNetworks(isWanted);
    if (networks().length > 0) return;
    const dataplane = this.#dataplane;
    if (dataplane !== undefined) {
      await dataplane.removeUplink();
      await dataplane.prune([]);
      await dataplane.removeNamespace();
    }
    this.#dataplane = undefined;
    dataplane?.close();
    this.problems.forget(({ tenant }) => tenant === name);
    // Rounds that were asked for before are void: whoever wants the tenant from now on has another queue.
    this.#isClosed = onGone(dataplane);
  }

  async #prune(): Promise<void> {
    // A network that leaves meanwhile asks for another look.
    this.#isPruned = true;
    try {
      await (await this.#open()).prune(this.#options.networks());
    } catch (error) {
      this.#isPruned = false;
      throw error;
    }
  }
}
