import { setImmediate as turn } from "node:timers/promises";
import type { FollowingNetwork } from "./incoming-state.ts";
import type { SessionChange } from "./session.ts";

/** Endpoints and blocks that are acted upon in one turn. */
const sliceLimit = 500;

export interface NetworkPartsOptions {
  readonly next: (
    network: string,
  ) => Promise<{ readonly changes: readonly SessionChange[]; readonly complete: boolean }>;
  /** Whether it still comes in parts. */
  readonly isFollowing: (network: FollowingNetwork) => boolean;
  /** A slice of a part; `isLast`: of the last part. */
  readonly onSlice: (network: FollowingNetwork, changes: readonly SessionChange[], isLast: boolean) => void;
  /** Parts were lost: all must be asked for anew. */
  readonly onLost: (network: string, error: unknown) => void;
}

/** Gets the networks that come in parts, one after the other, and acts on them by slices: what else happens on the node comes between. */
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
    const { next, isFollowing, onSlice, onLost } = this.#options;
    const { name } = network.state.network;
    try {
      for (let coming = next(name); ; ) {
        const { changes, complete } = await coming;
        if (!isFollowing(network)) return;
        // The server works on the next while this one is worked on here.
        if (!complete) {
          coming = next(name);
          coming.catch(() => {});
        }
        for (let start = 0; start === 0 || start < changes.length; start += sliceLimit) {
          const end = start + sliceLimit;
          onSlice(network, changes.slice(start, end), complete && end >= changes.length);
          await turn();
          if (!isFollowing(network)) return;
        }
        if (complete) return;
      }
    } catch (error) {
      if (isFollowing(network)) onLost(name, error);
    }
  }
}
