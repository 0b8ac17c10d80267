/**
 * Milliseconds that tests wait for something at most: ten times what the slowest of it takes on a quiet machine. It is
 * there for what never comes; nothing is proved by how long something took.
 */
export const patience = 120_000;
