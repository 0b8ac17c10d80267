import { WeftError } from "../base/errors.ts";
import type { Page, Transaction } from "./store.ts";

/** Orders keys by their UTF-8 bytes, which is the order of their code points. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return codePointRank(left) - codePointRank(right);
  }
  return a.length - b.length;
}

/**
 * A UTF-16 unit's place in the order of code points: surrogates (0xd800…0xdfff) stand for code points above
 * 0xffff and so come after 0xe000…0xffff.
 */
function codePointRank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/** Throws a WeftError unless all keys of the transaction are keys and no operation repeats one. */
export function checkTransaction(transaction: Transaction): void {
  const attempted = "submit a transaction";
  for (const condition of transaction.conditions) checkKey(condition.key, attempted);
  const changed = new Set<string>();
  for (const { key } of transaction.operations) {
    checkKey(key, attempted);
    if (changed.has(key))
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `two operations change the key ${JSON.stringify(key)}`,
      });
    changed.add(key);
  }
}

export function checkKey(key: string, attempted: string): void {
  if (key === "") throw new WeftError({ code: "invalid-argument", attempted, reason: "the key is empty" });
  checkPrefix(key, attempted);
}

/** A prefix is a key, or empty: all keys. */
export function checkPrefix(prefix: string, attempted: string): void {
  if (!prefix.isWellFormed())
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `${JSON.stringify(prefix)} has a lone surrogate and thus no UTF-8 form`,
    });
}

export function checkPage({ after, limit }: Page, attempted: string): void {
  checkPrefix(after, attempted);
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `a page of ${limit} entries was asked for; it has 1 at least`,
    });
}
