import { type Cidr, cidrFamily, cidrSize, networkAddress } from "../../base/cidr.ts";
import { type IpFamily, ipToBigInt } from "../../base/ip.ts";

/** A prefix as numbers: thousands of them are compared with each other. */
export interface Span {
  readonly family: IpFamily;
  readonly first: bigint;
  readonly last: bigint;
}

export function spanOf(prefix: Cidr): Span {
  const first = ipToBigInt(networkAddress(prefix));
  return { family: cidrFamily(prefix), first, last: first + cidrSize(prefix) - 1n };
}

export function spansOverlap(a: Span, b: Span): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}
