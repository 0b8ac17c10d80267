import { hash } from "node:crypto";

/** A number of 64 bits that stands for what a text says, in the kernel's maps; never 0. */
export type Identifier = bigint;

/**
 * The same text has the same number in each run, so that one that starts finds what it would write; and a number never comes to mean
 * something else, so that what is written before is not read as what comes.
 */
export function identifierOf(text: string): Identifier {
  const number = hash("sha256", text, "buffer").readBigUInt64LE();
  return number === 0n ? 1n : number;
}
