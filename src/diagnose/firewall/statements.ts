import { evaluate, type LookUp, matches } from "./condition.ts";
import { type Change, exempted, type Place } from "./fields.ts";
import type { Expression } from "./ruleset.ts";
import type { Truth } from "./truth.ts";
import { asObject } from "./value.ts";

/** Conditions that a packet alone does not decide: rates, amounts, what a set had room for. `xt`: a match of iptables' that nft does not tell. */
const undecided: readonly string[] = ["limit", "quota", "ct count", "meter", "set", "tproxy", "osf"];

/** Statements behind which a rule goes on. */
const harmless: readonly string[] = [
  "counter",
  "log",
  "mangle",
  "notrack",
  "dup",
  "flow",
  "last",
  "secmark",
  "ct helper",
  "ct timeout",
  "ct expectation",
];

export const isHarmless = (expression: Expression): boolean =>
  Object.keys(expression).every((kind) => harmless.includes(kind));

/** Whether a rule goes on behind an expression; `undefined`: it is no condition. */
export function conditionOf(place: Place, expression: Expression, lookUp: LookUp): Truth | undefined {
  const { match, xt, mangle } = expression;
  if (match !== undefined) return matches(place, asObject(match), lookUp);
  if (asObject(xt).type === "match") return "unknown";
  if (mangle !== undefined) return isWritable(asObject(mangle)) ? undefined : "unknown";
  return undecided.some((kind) => kind in expression) ? "unknown" : undefined;
}

/** A packet that has no such field, or whose key a map has not, ends the rule. */
function isWritable({ key, value }: Expression): boolean {
  const { meta, ct } = asObject(key);
  return (meta !== undefined || ct !== undefined) && !hasMap(value);
}

/** Anywhere in an expression. */
export function hasMap(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasMap);
  const fields = Object.entries(asObject(value));
  return fields.some(([name, content]) => name === "map" || hasMap(content));
}

/** Which side's addresses a statement translates. */
export function translatedSide(expression: Expression): "source" | "destination" | undefined {
  if ("snat" in expression || "masquerade" in expression) return "source";
  return "dnat" in expression || "redirect" in expression ? "destination" : undefined;
}

/** Header fields that no condition here is decided by. */
const unread: readonly string[] = ["dscp", "ecn", "ttl", "hoplimit", "flowlabel", "checksum"];

/** What a statement makes of a packet that gets to it. */
export function effectOf(place: Place, expression: Expression): Change {
  const { change } = place;
  if ("notrack" in expression) return { ...change, isUntracked: exempted(place) };
  const { key, value } = asObject(expression.mangle);
  const { meta, payload } = asObject(key);
  if (asObject(meta).key === "mark") return { ...change, mark: markOf(place, value) };
  if (payload === undefined) return change;
  const { field } = asObject(payload);
  if (field === "saddr" || field === "sport") return { ...change, isSourceTranslated: "unknown" };
  if (field === "daddr" || field === "dport") return { ...change, isDestinationTranslated: "unknown" };
  return unread.includes(String(field)) ? change : { ...change, isRewritten: true };
}

function markOf(place: Place, value: unknown): number | undefined {
  if (typeof value === "number") return value;
  const result = evaluate(place, value);
  return result.kind === "number" && result.unsure === 0n ? Number(result.value) : undefined;
}

/** After a statement of which nothing is known. */
export const anyChange: Change = {
  mark: undefined,
  isUntracked: "unknown",
  isSourceTranslated: "unknown",
  isDestinationTranslated: "unknown",
  isRewritten: true,
};
