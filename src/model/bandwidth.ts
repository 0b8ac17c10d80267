import { err, ok, type Result } from "../base/result.ts";

declare const rateBrand: unique symbol;
/**
 * Bits per second in the words of tc(8), decimal: `800kbit`, `100Mbit`, `1Gbit`; in its shortest form. 100kbit to 400Gbit. What counts
 * are Ethernet frames without their check sequence, as the container sends and receives them.
 */
export type Rate = string & { readonly [rateBrand]: true };

/** What passes in one direction. One of the fields at least. */
export interface RateLimits {
  /**
   * What there is room for whatever others send. Of an endpoint, in a network that has a limit; of what a network sends, on nodes
   * whose agent knows the rate of the underlay.
   */
  readonly guarantee?: Rate;
  readonly limit?: Rate;
  /** Octets that pass at once after a silence. Absent: what the limit lets through in 4 ms, {@link smallestBurst} at least. */
  readonly burst?: number;
}

/** Directions as the endpoint sees them. One of them at least. */
export interface Bandwidth {
  readonly send?: RateLimits;
  readonly receive?: RateLimits;
}

export type Direction = keyof Bandwidth;
export const directions: readonly Direction[] = ["send", "receive"];

const units = [
  ["Gbit", 1e9],
  ["Mbit", 1e6],
  ["kbit", 1e3],
  ["bit", 1],
] as const;
const smallest = 100e3;
const largest = 400e9;
/** Octets of two frames of the usual size with a VLAN tag, rounded up. */
export const smallestBurst = 3_200;
export const largestBurst = 100_000_000;

export const rateAllowed = "a rate from 100kbit to 400Gbit in whole kbit, such as 100Mbit or 1.5Gbit";

/** Reads a rate; units in any case, as tc(8) takes them. The result is in its shortest form. */
export function parseRate(text: string): Result<Rate, string> {
  const match = /^(\d{1,12}(?:\.\d{1,9})?)\s?([kmg]?bit)$/i.exec(text);
  const unit = units.find(([name]) => name.toLowerCase() === match?.[2]?.toLowerCase());
  if (match === null || unit === undefined) return err(rateAllowed);
  const bits = Number((Number(match[1]) * unit[1]).toFixed(3));
  if (bits < smallest || bits > largest || bits % 1_000 !== 0) return err(rateAllowed);
  return ok(formatRate(bits));
}

/** Bits per second, a multiple of 1,000. */
function formatRate(bits: number): Rate {
  const [name, size] = units.find(([, each]) => bits % each === 0) ?? units[3];
  return `${bits / size}${name}` as Rate;
}

/** Bits per second. */
export function bitsOf(rate: Rate): number {
  const [, number = "0", unit = "bit"] = /^(\d+)(\w+)$/.exec(rate) ?? [];
  return Number(number) * (units.find(([name]) => name === unit)?.[1] ?? 1);
}

/** `send 100Mbit of 20Mbit guaranteed, bursts of 64000; receive 1Gbit`, for people. */
export function bandwidthText(bandwidth: Bandwidth | undefined): string | undefined {
  const parts = directions.flatMap((direction) => {
    const limits = bandwidth?.[direction];
    if (limits === undefined) return [];
    const { guarantee, limit, burst } = limits;
    const words = [
      ...(limit === undefined ? [] : [`at most ${limit}`]),
      ...(burst === undefined ? [] : [`bursts of ${burst} octets`]),
      ...(guarantee === undefined ? [] : [`${guarantee} guaranteed`]),
    ];
    return [`${direction} ${words.join(", ")}`];
  });
  return parts.length === 0 ? undefined : parts.join("; ");
}
