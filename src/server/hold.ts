import type { Condition, Operation } from "../store/store.ts";
import type { Ledger } from "./ledger.ts";
import { records } from "./records.ts";
import type { NetworkEntry } from "./state.ts";

/**
 * For a plan that rests on what nobody has in a network. Claims do not change the network, so that many can be under way;
 * but the next one after this, on whatever server, takes the hold away, and a plan that rests on its revision fails.
 */
export function hold(ledger: Ledger, network: string): Promise<number> {
  return ledger.commit(`hold network ${network}`, () => ({
    conditions: [{ key: records.network.key(network), revision: ledger.state.networks.get(network)?.revision ?? 0 }],
    operations: [records.hold.put(network, network)],
  }));
}

/** What every claim of an endpoint or a block is part of: the network is as it is known, and not held from now on. */
export function claimIn({ network: { name }, revision, holdRevision }: NetworkEntry): {
  readonly conditions: Condition[];
  readonly operations: Operation[];
} {
  return {
    conditions: [
      { key: records.network.key(name), revision },
      { key: records.hold.key(name), revision: holdRevision },
    ],
    operations: holdRevision === 0 ? [] : [records.hold.remove(name)],
  };
}
