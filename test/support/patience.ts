/**
 * Milliseconds that tests wait for something at most: ten times what the slowest of it takes on a quiet machine. It is
 * there for what never comes; nothing is proved by how long something took.
 */
export const patience = 120_000;

/**
 * Milliseconds until it is looked again for what is waited for, after a look that began at `began`. Looking takes a fifth of the
 * time at most: where processes are slow, what is looked at would have none left.
 */
export function untilNextLook(began: number): number {
  return Math.max(20, 4 * (performance.now() - began));
}
