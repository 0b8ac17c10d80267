import type { Clock } from "../base/clock.ts";
import type { DesiredNetwork } from "./desired.ts";
import { retryPause } from "./reconcile/marks.ts";
import type { Problems } from "./report.ts";
import { Rounds } from "./rounds.ts";
import type { TenantDataplane } from "./tenant-dataplane.ts";

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
  readonly name: string;
  readonly rounds: Rounds;
  readonly problems: Problems;
  readonly #options: TenantQueueOptions;
  #dataplane: TenantDataplane | undefined;
  /** An earlier run left its namespace. */
  #isFound = false;
  /** Leftovers of an earlier run in it have been looked for. */
  #isPruned = false;
  #retryAll = false;
  #cancelRetry: (() => void) | undefined;
  /** Passes, one after the other by themselves, that left work although nothing failed. */
  #idlePasses = 0;
  #isClosed = false;

  constructor(options: TenantQueueOptions) {
    this.#options = options;
    this.name = options.name;
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
    return this.run();
  }

  /** Does what is to be done; what failed lately waits until it is due. Resolves as {@link changed} does. */
  run(): Promise<void> {
    this.#idlePasses = 0;
    return this.rounds.run();
  }

  /** What is there was damaged, or what it waits for has come. */
  readonly trigger = (): void => {
    if (!this.#isClosed) void this.run();
  };

  /** Does nothing but to take away what nobody wants. */
  leave(): Promise<void> {
    return this.rounds.turns.take(async () => {
      if (this.#isClosed) return;
      this.problems.beginPass();
      await this.#takeAway();
    });
  }

  /** Its namespace is there: if nobody wants it, it goes. */
  found(): void {
    this.#isFound = true;
  }

  /** A network left that no pass has come to: what an earlier run made of it is nobody's, and was kept for it. */
  distrustLeftovers(): void {
    this.#isPruned = false;
  }

  /** Leftovers of an earlier run have been looked for. */
  get isPruned(): boolean {
    return this.#isPruned;
  }

  /** Networks in the kernel that nobody wants any more. */
  *stale(): Iterable<DesiredNetwork> {
    const { leaving = [], networks } = this.#dataplane ?? {};
    for (const { desired } of leaving) yield desired;
    for (const { desired } of networks?.values() ?? []) if (!this.#options.isWanted(desired)) yield desired;
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
    await this.#takeAway();
    if (networks().length > 0)
      await problems.attempt({ kind: "tenant", tenant: name }, async () => {
        const dataplane = await this.#open();
        await dataplane.reconcile(networks());
      });
    const pause = problems.nextRetry ?? (this.#dataplane?.hasWork ? retryPause(++this.#idlePasses) : undefined);
    if (pause !== undefined && !this.#isClosed) this.#cancelRetry = clock.after(pause, () => void this.rounds.run());
    onPass("ended");
  }

  async #takeAway(): Promise<void> {
    const { name } = this.#options;
    const { problems } = this;
    await problems.attempt({ kind: "removals", tenant: name }, () => this.#remove());
    if (!this.#isPruned && !this.#isClosed)
      await problems.attempt({ kind: "leftovers", tenant: name }, () => this.#prune());
  }

  async #open(): Promise<TenantDataplane> {
    this.#dataplane ??= await this.#options.open(this);
    return this.#dataplane;
  }

  async #remove(): Promise<void> {
    const { name, networks, isWanted, onGone } = this.#options;
    await this.#dataplane?.removeNetworks(isWanted);
    if (networks().length > 0) return;
    const dataplane = this.#isFound ? await this.#open() : this.#dataplane;
    // What cannot go now is told by itself, and tried again.
    if (dataplane !== undefined && dataplane.leaving.size > 0) return;
    if (dataplane !== undefined) {
      await dataplane.removeUplink();
      await dataplane.prune([]);
      await dataplane.removeNamespace();
    }
    this.#dataplane = undefined;
    this.#isFound = false;
    dataplane?.close();
    this.problems.forget(({ tenant }) => tenant === name);
    // Rounds that were asked for before are void: whoever wants the tenant from now on has another queue.
    this.#isClosed = onGone(dataplane);
  }

  async #prune(): Promise<void> {
    // A network that leaves meanwhile asks for another look.
    this.#isPruned = true;
    if (!this.#isFound && this.#dataplane === undefined) return;
    try {
      await (await this.#open()).prune(this.#options.networks());
    } catch (error) {
      this.#isPruned = false;
      throw error;
    }
  }
}
