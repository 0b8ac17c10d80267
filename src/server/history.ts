/**
 * Which endpoints of one network, or of one tenant, changed at which revision, so that a watcher that was away is told those alone.
 * Holds about as many changes as there are endpoints; with more of them, sending all is no dearer.
 */
export class History {
  #revisions: number[] = [];
  #ids: string[] = [];
  #floor: number;

  /** `floor`: changes after this revision will be recorded. */
  constructor(floor: number) {
    this.#floor = floor;
  }

  /** Revisions are recorded in rising order. `size`: the endpoints now. */
  record(revision: number, id: string, size: number): void {
    this.#revisions.push(revision);
    this.#ids.push(id);
    const limit = Math.max(minimumLength, size);
    // Trimmed by half and not one by one, which would copy all for each change.
    if (this.#ids.length < limit * 2) return;
    const excess = this.#ids.length - limit;
    this.#floor = this.#revisions[excess - 1] as number;
    this.#revisions = this.#revisions.slice(excess);
    this.#ids = this.#ids.slice(excess);
  }

  /** What was recorded up to this revision is not known any more. */
  forget(revision: number): void {
    this.#floor = revision;
    this.#revisions = [];
    this.#ids = [];
  }

  /** Changes up to and including this revision are not known any more. */
  forgetUntil(revision: number): void {
    this.#floor = Math.max(this.#floor, revision);
  }

  /** The endpoints changed after `revision`, each once; undefined: no longer known. */
  since(revision: number): Set<string> | undefined {
    if (revision < this.#floor) return undefined;
    const changed = new Set<string>();
    for (let index = this.#ids.length - 1; index >= 0; index--) {
      if ((this.#revisions[index] as number) <= revision) break;
      changed.add(this.#ids[index] as string);
    }
    return changed;
  }
}

const minimumLength = 256;
