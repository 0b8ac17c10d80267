/**
 * Who gives out addresses of a network at this node: the node itself, from its blocks, or the server. Neither knows at once what the other
 * gives, so that both would give the same: while the server is asked the node gives none, and the server is asked when it has heard of all
 * that the node gave.
 */
export class TurnTaking {
  /** How many ask the server, or wait to, by network. */
  readonly #asking = new Map<string, number>();
  readonly #waiting = new Set<() => void>();

  /** Whether it is the node's turn. */
  isOwn(network: string): boolean {
    return !this.#asking.has(network);
  }

  /** Asks the server as soon as `hasHeard`, which is looked at when something has {@link changed}. */
  async ask<Answer>(network: string, hasHeard: () => boolean, ask: () => Promise<Answer>): Promise<Answer> {
    this.#asking.set(network, (this.#asking.get(network) ?? 0) + 1);
    try {
      while (!hasHeard()) await new Promise<void>((resolve) => this.#waiting.add(resolve));
      return await ask();
    } finally {
      const others = (this.#asking.get(network) ?? 1) - 1;
      if (others > 0) this.#asking.set(network, others);
      else this.#asking.delete(network);
    }
  }

  /** What the server has heard of may be more now, or nobody may wait for it any more. */
  changed(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
