import { seconds } from "../base/duration.ts";

/** Moments that are remembered of a network; beyond them they become coarser. */
const mostSteps = 64;

interface Step {
  readonly revision: number;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** The revisions at which nodes were told something, in bounded memory: those of one second count as one. */
export class Told {
  #steps: Step[] = [];

  /** The last one; 0: none. */
  get revision(): number {
    return this.#steps.at(-1)?.revision ?? 0;
  }

  add(revision: number, time: number): void {
    const last = this.#steps.at(-1);
    if (last !== undefined && Math.abs(time - last.time) < seconds(1)) {
      this.#steps[this.#steps.length - 1] = { revision, time: last.time };
      return;
    }
    this.#steps.push({ revision, time });
    if (this.#steps.length > mostSteps) this.#mergeTwo(time);
  }

  /** The two neighbours that are the closest for how long ago they are: what is recent stays exact. */
  #mergeTwo(now: number): void {
    const steps = this.#steps;
    let best = 0;
    let least = Number.POSITIVE_INFINITY;
    for (let index = 0; index + 2 < steps.length; index++) {
      const [first, second, third] = steps.slice(index, index + 3);
      if (first === undefined || second === undefined || third === undefined) break;
      const share = (third.time - first.time) / Math.max(now - second.time, 1);
      if (share < least) [best, least] = [index, share];
    }
    const [first, second] = steps.slice(best, best + 2);
    if (first !== undefined && second !== undefined)
      steps.splice(best, 2, { revision: second.revision, time: first.time });
  }

  /** About when the first thing newer than `revision` was told; `undefined`: nothing is. */
  since(revision: number): number | undefined {
    return this.#steps.find((step) => step.revision > revision)?.time;
  }
}
