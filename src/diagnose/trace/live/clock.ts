import { now } from "../../probe/time.ts";

/** Microseconds by which the finer clock may be away from the one that is set. */
const granularity = 2_000;

/** Microseconds since 1970, by the clock that the kernel stamps packets with: the finer one does not follow when that is set. */
export function realNow(): number {
  const [fine, coarse] = [now(), Date.now() * 1_000];
  return Math.abs(fine - coarse) <= granularity ? fine : coarse;
}
