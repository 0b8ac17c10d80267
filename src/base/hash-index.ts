/** How an index sees records: by number, from 1. */
export interface Records {
  /** Of what the record is found by; see {@link hashOf}. */
  hash(record: number): number;
  /** Whether both records have the same to be found by. */
  isSame(a: number, b: number): boolean;
}

/**
 * Finds records that somebody else holds in columns, by what they hold. It takes some ten octets for each, a `Map` with its keys ten
 * times that. Open addressing with linear probing. To look something up, its holder writes it into a record that is not in the index.
 */
export class HashIndex {
  readonly #records: Records;
  /** 0: free. A power of 2, at most seven eighths of which are in use. */
  #slots = new Uint32Array(8);
  #size = 0;

  constructor(records: Records) {
    this.#records = records;
  }

  get size(): number {
    return this.#size;
  }

  /** The record that has the same as this one; 0: none. */
  find(like: number): number {
    return this.#slots[this.#slotFor(like)] as number;
  }

  /** In the place of one that has the same. */
  put(record: number): void {
    const slot = this.#slotFor(record);
    if (this.#slots[slot] === 0) this.#size++;
    this.#slots[slot] = record;
    if (this.#size * 8 > this.#slots.length * 7) this.#resize(this.#slots.length * 2);
  }

  /** Takes out this record and no other; it still holds what it was found by. */
  remove(record: number): void {
    const slots = this.#slots;
    let free = this.#slotFor(record);
    if (slots[free] !== record) return;
    slots[free] = 0;
    this.#size--;
    // Those behind it that were put there because it was in their way move up.
    const mask = slots.length - 1;
    for (let slot = (free + 1) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const ideal = this.#records.hash(slots[slot] as number) & mask;
      if (((slot - ideal) & mask) < ((slot - free) & mask)) continue;
      slots[free] = slots[slot] as number;
      slots[slot] = 0;
      free = slot;
    }
    if (slots.length > 8 && this.#size * 8 < slots.length) this.#resize(slots.length / 2);
  }

  /** Where the like of the record is, or would be. */
  #slotFor(like: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = this.#records.hash(like) & mask;
    for (; slots[slot] !== 0; slot = (slot + 1) & mask)
      if (slots[slot] === like || this.#records.isSame(slots[slot] as number, like)) break;
    return slot;
  }

  #resize(length: number): void {
    const before = this.#slots;
    const mask = length - 1;
    this.#slots = new Uint32Array(length);
    for (const record of before) {
      if (record === 0) continue;
      let slot = this.#records.hash(record) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = record;
    }
  }
}

const [key0 = 0, key1 = 0] = crypto.getRandomValues(new Uint32Array(2));

/**
 * A number of 32 bits for octets, which nobody outside can make many of the same for: HalfSipHash-1-3 with a key of this process
 * (Aumasson and Bernstein, SipHash: a fast short-input PRF; the variant with words of 32 bits as in Linux's `lib/siphash.c`).
 */
export function hashOf(bytes: Uint8Array, offset = 0, length = bytes.length - offset): number {
  let v0 = key0;
  let v1 = key1;
  let v2 = 0x6c796765 ^ key0;
  let v3 = 0x74656462 ^ key1;
  const end = offset + length;
  // One word more than there are whole ones: what is left over, and the length.
  for (let position = offset, isLast = false; !isLast; position += 4) {
    let word = 0;
    isLast = end - position < 4;
    for (let index = Math.min(4, end - position) - 1; index >= 0; index--)
      word = (word << 8) | (bytes[position + index] as number);
    if (isLast) word |= length << 24;
    v3 ^= word;
    round();
    v0 ^= word;
  }
  v2 ^= 0xff;
  round();
  round();
  round();
  return (v1 ^ v3) >>> 0;

  function round(): void {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
  }
}
