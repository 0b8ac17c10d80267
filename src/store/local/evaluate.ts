import { compareKeys } from "../keys.ts";
import type { Change, Condition, Transaction, TransactionResult } from "../store.ts";

interface Evaluation {
  /** The verdict on each transaction, in their order. */
  readonly results: readonly TransactionResult[];
  /** What the committed ones change, ordered by revision and key. */
  readonly changes: readonly Change[];
  /** The revision after the last of them. */
  readonly revision: number;
}

/**
 * Judges transactions one after the other, each on the effects of those before it, without writing anything.
 * `storedRevisionOf` tells the revision of a key in the state at `revision`, 0 when it does not exist.
 */
export function evaluate(
  transactions: readonly Transaction[],
  revision: number,
  storedRevisionOf: (key: string) => number,
): Evaluation {
  const changed = new Map<string, number>();
  const revisionOf = (key: string): number => changed.get(key) ?? storedRevisionOf(key);
  const results: TransactionResult[] = [];
  const changes: Change[] = [];
  let last = revision;
  for (const transaction of transactions) {
    const failed = transaction.conditions.find((condition) => revisionOf(condition.key) !== condition.revision);
    if (failed !== undefined) {
      results.push(refusal(failed, revisionOf(failed.key)));
      continue;
    }
    const effects = effectsOf(transaction, last + 1, revisionOf);
    if (effects.length > 0) last++;
    for (const change of effects) {
      changed.set(change.key, change.value === undefined ? 0 : change.revision);
      changes.push(change);
    }
    results.push({ committed: true, revision: last });
  }
  return { results, changes, revision: last };
}

function refusal(failed: Condition, actualRevision: number): TransactionResult {
  return { committed: false, failed, actualRevision };
}

function effectsOf(transaction: Transaction, revision: number, revisionOf: (key: string) => number): Change[] {
  const effects: Change[] = [];
  for (const operation of transaction.operations) {
    if (operation.kind === "put") effects.push({ key: operation.key, value: operation.value, revision });
    else if (revisionOf(operation.key) !== 0) effects.push({ key: operation.key, revision });
  }
  return effects.sort((a, b) => compareKeys(a.key, b.key));
}
