/** Microseconds since 1970, as fine as the clock has it. */
export function now(): number {
  return (performance.timeOrigin + performance.now()) * 1_000;
}
