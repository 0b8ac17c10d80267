import { type FdbEntry, listFdbEntries, neighbourFlag, type Query } from "../../netlink/index.ts";
import type { Tunnels } from "../devices/tunnels.ts";

/**
 * What shows the FDB entries of a network: of the tunnels that serve all VTEPs, with the bridge's entries for their ports,
 * and where each VTEP has a tunnel of its own the bridge's table. The same queries as long as the devices are the same, so
 * that tables that look at them read them once.
 */
export class FdbListing {
  readonly #tunnels: Tunnels;
  readonly #bridgeIndex: () => number;
  #key = "";
  #queries: readonly Query<FdbEntry>[] = [];

  constructor(tunnels: Tunnels, bridgeIndex: () => number) {
    this.#tunnels = tunnels;
    this.#bridgeIndex = bridgeIndex;
  }

  get queries(): readonly Query<FdbEntry>[] {
    const { shared, sharedIndexes } = this.#tunnels;
    const filters = [
      ...sharedIndexes.map((index) => ({ index })),
      ...(shared === undefined ? [{ master: this.#bridgeIndex() }] : []),
    ];
    const key = JSON.stringify(filters);
    if (key !== this.#key) this.#queries = filters.map(listFdbEntries);
    this.#key = key;
    return this.#queries;
  }
}

export function isMarkedFdb({ flags }: FdbEntry): boolean {
  return (flags & neighbourFlag.externallyLearned) !== 0;
}
