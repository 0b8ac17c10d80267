const bits = 5;
const wordSize = 1 << bits;
const full = 0xffff_ffff;

/** Numbers from 0 to a limit of some millions, one bit each, with the next that is not among them found in a few steps. */
export class NumberSet {
  /** A bit for each number; then one for each word of the level before: whether it is full. */
  readonly #levels: readonly Uint32Array[];
  readonly #last: number;

  /** `last`: the largest number that can be among them. */
  constructor(last: number) {
    this.#last = last;
    const levels: Uint32Array[] = [];
    for (let length = last + 1; levels.at(-1)?.length !== 1; ) {
      length = Math.ceil(length / wordSize);
      levels.push(new Uint32Array(length));
    }
    this.#levels = levels;
  }

  has(number: number): boolean {
    return ((this.#wordAt(0, number >>> bits) >>> (number % wordSize)) & 1) === 1;
  }

  add(number: number): void {
    let index = number;
    for (const level of this.#levels) {
      const word = index >>> bits;
      level[word] = ((level[word] as number) | (1 << (index % wordSize))) >>> 0;
      if (level[word] !== full) return;
      index = word;
    }
  }

  delete(number: number): void {
    let index = number;
    for (const level of this.#levels) {
      const word = index >>> bits;
      const wasFull = level[word] === full;
      level[word] = ((level[word] as number) & ~(1 << (index % wordSize))) >>> 0;
      if (!wasFull) return;
      index = word;
    }
  }

  /** The first number from `from` on that is not among them; `undefined`: there is none. */
  firstFree(from: number): number | undefined {
    let index = from;
    let depth = 0;
    // Up to where something is free behind the number, and down again to the first of it.
    for (;;) {
      const word = index >>> bits;
      if (depth === this.#levels.length || word >= (this.#levels[depth] as Uint32Array).length) return undefined;
      const free = firstZero(this.#wordAt(depth, word), index % wordSize);
      if (free === wordSize) {
        index = word + 1;
        depth++;
        continue;
      }
      index = word * wordSize + free;
      if (depth === 0) return index <= this.#last ? index : undefined;
      depth--;
      index *= wordSize;
    }
  }

  #wordAt(depth: number, word: number): number {
    return this.#levels[depth]?.[word] ?? full;
  }
}

/** The first bit from `from` on that is 0; 32: there is none. */
function firstZero(word: number, from: number): number {
  const zeros = ~word & (full << from);
  return zeros === 0 ? wordSize : 31 - Math.clz32(zeros & -zeros);
}
