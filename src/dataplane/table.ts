/** What must be done to make one table equal to another. */
export interface TablePlan<Key, Row> {
  /** Desired and not there. */
  readonly missing: readonly Row[];
  /** There, but not as desired. */
  readonly different: readonly Row[];
  /** There, and not desired. */
  readonly surplus: readonly Key[];
}

/** Compares the desired rows with the observed ones. Equal tables give an empty plan. */
export function planTable<Key, Row, Observed>(
  desired: ReadonlyMap<Key, Row>,
  observed: ReadonlyMap<Key, Observed>,
  isSame: (desired: Row, observed: Observed) => boolean,
): TablePlan<Key, Row> {
  const missing: Row[] = [];
  const different: Row[] = [];
  for (const [key, row] of desired) {
    const there = observed.get(key);
    if (there === undefined) missing.push(row);
    else if (!isSame(row, there)) different.push(row);
  }
  const surplus: Key[] = [];
  for (const key of observed.keys()) if (!desired.has(key)) surplus.push(key);
  return { missing, different, surplus };
}
