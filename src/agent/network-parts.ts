import { setImmediate as turn } from "node:timers/promises";
import type { FollowingNetwork } from "./incoming-state.ts";
import type { SessionChange } from "./session.ts";

export interface NetworkPartsOptions {
  readonly next: (
    network: string,
  ) => Promise<{ readonly changes: readonly SessionChange[]; readonly complete: boolean }>;
  /** Whether it still comes in parts. */
  readonly isFollowing: (network: FollowingNetwork) => boolean;
  readonly onPart: (network: FollowingNetwork, changes: readonly SessionChange[], complete: boolean) => void;
  /** Parts were lost: all must be asked for anew. */
  readonly onLost: (network: string, error: unknown) => void;
}

/** Gets the networks that come in parts, one part after the other, so that what else happens on the node comes between. */
export class NetworkParts {
  readonly #options: NetworkPartsOptions;
  readonly #begun = new WeakSet<FollowingNetwork>();

  constructor(options: NetworkPartsOptions) {
    this.#options = options;
  }

  /** Begins with those that are not under way yet. */
  follow(networks: Iterable<FollowingNetwork>): void {
    for (const network of networks) {
      if (this.#begun.has(network)) continue;
      this.#begun.add(network);
      void this.#follow(network);
    }
  }

  async #follow(network: FollowingNetwork): Promise<void> {
    const { next, isFollowing, onPart, onLost } = this.#options;
    const { name } = network.state.network;
    try {
      for (let coming = next(name); ; await turn()) {
        const { changes, complete } = await coming;
        if (!isFollowing(network)) return;
        // The server works on the next while this one is worked on here.
        if (!complete) {
          coming = next(name);
          coming.catch(() => {});
        }
        onPart(network, changes, complete);
        if (complete) return;
      }
    } catch (error) {
      if (isFollowing(network)) onLost(name, error);
    }
  }
}
