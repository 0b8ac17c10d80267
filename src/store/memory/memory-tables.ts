import { compareKeys } from "../keys.ts";
import type { Tables } from "../local/tables.ts";
import type { Change, Entry, Page, WatchBatch } from "../store.ts";

const everything: Page = { after: "", limit: Number.POSITIVE_INFINITY };

export class MemoryTables implements Tables {
  revision = 0;
  compactedRevision = 0;
  readonly #entries = new Map<string, Entry>();
  /** The keys of the entries, in order. */
  readonly #keys: string[] = [];
  /** The retained changes, ordered by revision and key. */
  #changes: Change[] = [];

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  revisionOf(key: string): number {
    return this.#entries.get(key)?.revision ?? 0;
  }

  range(prefix: string, { after, limit }: Page = everything): Entry[] {
    const found: Entry[] = [];
    const afterPage = partitionPoint(this.#keys, (key) => compareKeys(key, after) <= 0);
    for (let index = Math.max(this.#placeOf(prefix), afterPage); index < this.#keys.length; index++) {
      const key = this.#keys[index] as string;
      if (!key.startsWith(prefix) || found.length === limit) break;
      found.push(this.#entries.get(key) as Entry);
    }
    return found;
  }

  changesAfter(prefix: string, afterRevision: number, limit: number): WatchBatch {
    const found: Change[] = [];
    for (let index = this.#firstChangeAfter(afterRevision); index < this.#changes.length; index++) {
      const change = this.#changes[index] as Change;
      const last = found.at(-1);
      if (found.length >= limit && last !== undefined && last.revision !== change.revision)
        return { changes: found, revision: last.revision };
      if (change.key.startsWith(prefix)) found.push(change);
    }
    return { changes: found, revision: this.revision };
  }

  commit(changes: readonly Change[], revision: number): void {
    for (const change of changes) {
      const { key, value } = change;
      const exists = this.#entries.has(key);
      if (value === undefined) {
        this.#entries.delete(key);
        if (exists) this.#keys.splice(this.#placeOf(key), 1);
      } else {
        this.#entries.set(key, { key, value, revision: change.revision });
        if (!exists) this.#keys.splice(this.#placeOf(key), 0, key);
      }
      this.#changes.push(change);
    }
    this.revision = revision;
  }

  compact(revision: number): void {
    this.#changes = this.#changes.slice(this.#firstChangeAfter(revision));
    this.compactedRevision = revision;
  }

  close(): void {
    this.#changes = [];
    this.#keys.length = 0;
    this.#entries.clear();
  }

  #placeOf(key: string): number {
    return partitionPoint(this.#keys, (other) => compareKeys(other, key) < 0);
  }

  #firstChangeAfter(revision: number): number {
    return partitionPoint(this.#changes, (change) => change.revision <= revision);
  }
}

/** The index of the first item that is not `before`, in an array where all that are come first. */
function partitionPoint<Item>(items: readonly Item[], before: (item: Item) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (before(items[middle] as Item)) low = middle + 1;
    else high = middle;
  }
  return low;
}
