import { type Cidr, cidrContains, cidrFamily, cidrOf, networkAddress, prefixLengthOf } from "./cidr.ts";
import type { IpFamily } from "./ip.ts";

/**
 * Values by prefix, found by prefixes that overlap. Looking for a prefix costs a look-up for each length that is in use; where
 * longer ones are in use, all of these are looked at.
 */
export class PrefixIndex<Value> {
  /** By family and length: {@link lengthKey}. */
  readonly #lengths = new Map<number, Map<Cidr, Value | Several<Value>>>();

  add(prefix: Cidr, value: Value): void {
    const key = lengthKey(cidrFamily(prefix), prefixLengthOf(prefix));
    const values = this.#lengths.get(key) ?? new Map<Cidr, Value | Several<Value>>();
    this.#lengths.set(key, values);
    const present = values.get(prefix);
    if (present === undefined) values.set(prefix, value);
    else if (present instanceof Several) present.add(value);
    else if (present !== value) values.set(prefix, new Several([present, value]));
  }

  delete(prefix: Cidr, value: Value): void {
    const key = lengthKey(cidrFamily(prefix), prefixLengthOf(prefix));
    const values = this.#lengths.get(key);
    const present = values?.get(prefix);
    if (present instanceof Several) {
      present.delete(value);
      const [only] = present;
      if (present.size === 1) values?.set(prefix, only as Value);
    } else if (present === value) values?.delete(prefix);
    if (values?.size === 0) this.#lengths.delete(key);
  }

  get isEmpty(): boolean {
    return this.#lengths.size === 0;
  }

  /** All, some more than once. */
  *values(): Generator<Value> {
    for (const values of this.#lengths.values()) for (const value of values.values()) yield* all(value);
  }

  /** What has a prefix that overlaps this one; some more than once. */
  *overlapping(prefix: Cidr): Generator<Value> {
    const family = cidrFamily(prefix);
    for (const [key, values] of this.#lengths) {
      const length = key % lengths;
      if (key !== lengthKey(family, length)) continue;
      if (length <= prefixLengthOf(prefix)) yield* all(values.get(cidrOf(networkAddress(prefix), length)));
      else for (const [longer, value] of values) if (cidrContains(prefix, networkAddress(longer))) yield* all(value);
    }
  }
}

/** Of one prefix, which is rare. */
class Several<Value> extends Set<Value> {}

function* all<Value>(found: Value | Several<Value> | undefined): Generator<Value> {
  if (found instanceof Several) yield* found;
  else if (found !== undefined) yield found;
}

/** More than there are lengths of prefixes. */
const lengths = 1_000;

function lengthKey(family: IpFamily, length: number): number {
  return family * lengths + length;
}
