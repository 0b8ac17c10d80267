import { err, ok, type Result } from "./result.ts";

declare const durationBrand: unique symbol;
/** A span of time in milliseconds. */
export type Duration = number & { readonly [durationBrand]: true };

export const milliseconds = (count: number): Duration => count as Duration;
export const seconds = (count: number): Duration => (count * 1_000) as Duration;
export const minutes = (count: number): Duration => (count * 60_000) as Duration;
export const hours = (count: number): Duration => (count * 3_600_000) as Duration;

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Text such as `500ms`, `30s`, `15m`, `1h`, `7d`, and sums of them: `1h30m`. */
export function parseDuration(text: string): Result<Duration, string> {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text)
    return err(`"${text}" is not a duration such as 30s, 15m or 1h30m`);
  let total = 0;
  for (const [, amount, unit] of parts) total += Number(amount) * units[unit as keyof typeof units];
  return ok(total as Duration);
}

/** The largest unit that leaves a readable number: `1.5 s`, `12 min`, `3 h`. */
export function formatDuration(duration: Duration): string {
  if (duration < 1_000) return `${Math.round(duration * 10) / 10} ms`;
  if (duration < 120_000) return `${Math.round(duration / 100) / 10} s`;
  if (duration < 7_200_000) return `${Math.round(duration / 60_000)} min`;
  if (duration < 172_800_000) return `${Math.round(duration / 3_600_000)} h`;
  return `${Math.round(duration / 86_400_000)} d`;
}
