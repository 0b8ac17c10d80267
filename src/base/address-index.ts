import { type Cidr, cidrFamily, cidrOf, prefixLengthOf } from "./cidr.ts";
import { familyOf, type IpAddress } from "./ip.ts";

/**
 * Values by address, found by prefixes that hold it. The first look by a prefix of some length goes through all addresses; from then on
 * a look costs as much as it finds, and a change one step for each length that was looked by.
 */
export class AddressIndex<Value> {
  readonly #values = new Map<IpAddress, Value>();
  /** By family and length, and there by prefix. */
  readonly #lengths = new Map<string, Map<Cidr, Map<IpAddress, Value>>>();

  get size(): number {
    return this.#values.size;
  }

  get(address: IpAddress): Value | undefined {
    return this.#values.get(address);
  }

  set(address: IpAddress, value: Value): void {
    this.#values.set(address, value);
    for (const [length, prefixes] of this.#lengths) put(prefixes, length, address, value);
  }

  delete(address: IpAddress): void {
    if (!this.#values.delete(address)) return;
    for (const [length, prefixes] of this.#lengths) {
      const prefix = prefixOf(length, address);
      if (prefix === undefined) continue;
      const values = prefixes.get(prefix);
      values?.delete(address);
      if (values?.size === 0) prefixes.delete(prefix);
    }
  }

  /** Those whose addresses are in the prefix. */
  within(prefix: Cidr): Iterable<Value> {
    if (this.#values.size === 0) return [];
    const length = `${cidrFamily(prefix)}/${prefixLengthOf(prefix)}`;
    return (this.#lengths.get(length) ?? this.#open(length)).get(prefix)?.values() ?? [];
  }

  #open(length: string): ReadonlyMap<Cidr, Map<IpAddress, Value>> {
    const prefixes = new Map<Cidr, Map<IpAddress, Value>>();
    for (const [address, value] of this.#values) put(prefixes, length, address, value);
    this.#lengths.set(length, prefixes);
    return prefixes;
  }
}

function put<Value>(
  prefixes: Map<Cidr, Map<IpAddress, Value>>,
  length: string,
  address: IpAddress,
  value: Value,
): void {
  const prefix = prefixOf(length, address);
  if (prefix === undefined) return;
  const values = prefixes.get(prefix) ?? new Map<IpAddress, Value>();
  prefixes.set(prefix, values.set(address, value));
}

/** `undefined`: the length is of the other family. */
function prefixOf(length: string, address: IpAddress): Cidr | undefined {
  const [family, bits] = length.split("/").map(Number);
  return family === familyOf(address) ? cidrOf(address, bits ?? 0) : undefined;
}
