import type { End, Step } from "./step.ts";

/** What one node told of the way. */
export interface Leg {
  readonly node: string;
  /** Why it told nothing. */
  readonly failure?: string;
  readonly steps: readonly Step[];
  readonly end?: End;
  /** Microseconds that its clock is ahead of that of who asked. */
  readonly clockOffset: number;
  /** How wrong that may be. */
  readonly clockUncertainty: number;
}

/** `arrives`: at the other end. `leaves`: for what is no node of weft's. */
export interface Verdict {
  readonly verdict: "arrives" | "leaves" | "stops" | "unknown";
  readonly reason: string;
}

/** What comes before the first step that stops the packet, and that one. */
export function untilStop(legs: readonly Leg[]): readonly Leg[] {
  const at = legs.findIndex(({ steps }) => steps.some(({ result }) => result === "stops"));
  const last = legs[at];
  if (last === undefined) return legs;
  const count = last.steps.findIndex(({ result }) => result === "stops") + 1;
  return [...legs.slice(0, at), { ...last, steps: last.steps.slice(0, count) }];
}

/** By what the tables say. */
export function judgeTables(legs: readonly Leg[]): Verdict {
  const steps = legs.flatMap((leg) => leg.steps);
  const stop = steps.find(({ result }) => result === "stops");
  if (stop !== undefined) return { verdict: "stops", reason: describeStop(stop) };
  const last = legs.at(-1);
  if (last?.failure !== undefined)
    return { verdict: "unknown", reason: `it leaves for node ${last.node}, which tells nothing: ${last.failure}` };
  if (last?.end?.kind === "handover")
    return { verdict: "leaves", reason: `VTEP ${last.end.handover.to} is no node of weft's` };
  if (last?.end?.kind === "outside")
    return { verdict: "leaves", reason: `it leaves node ${last.node} for the outside` };
  if (last?.end?.kind === "delivered") return { verdict: "arrives", reason: `by the tables of ${nodesOf(legs)}` };
  const unsure = steps.findLast(({ result }) => result === "unknown");
  const reason =
    unsure === undefined ? "no node tells where it goes" : `node ${unsure.node}, ${unsure.name}: ${unsure.detail}`;
  return { verdict: "unknown", reason };
}

/**
 * By what was seen of `sent` marked packets. Where none comes by any more the tables say why: what they have between the last
 * place where some did and the first where none did.
 */
export function judgeSeen(legs: readonly Leg[], sent: number): Verdict {
  const tables = judgeTables(legs);
  const steps = legs.flatMap((leg) => leg.steps);
  const watched = steps.flatMap(({ observed }, at) => (observed === undefined ? [] : [{ at, seen: observed.seen }]));
  const last = watched.findLast(({ seen }) => seen > 0);
  const behind = (last?.at ?? -1) + 1;
  const seenAt = last === undefined ? "no packet was seen" : `packets were seen at ${placeOf(steps[last.at])}`;
  const missed = watched.find(({ at }) => at >= behind);
  if (missed === undefined) {
    // Behind the last place where packets are looked for there are the tables.
    const stop = steps.slice(behind).find(({ result }) => result === "stops");
    if (stop !== undefined) return { verdict: "stops", reason: `${describeStop(stop)}; ${seenAt}` };
    const lost = sent - Math.min(sent, ...watched.map(({ seen }) => seen));
    const note = lost > 0 ? `; of ${sent} packets ${lost} were lost on the way` : "";
    if (tables.verdict === "leaves" || tables.verdict === "unknown")
      return { ...tables, reason: `${tables.reason}${note}` };
    return { verdict: "arrives", reason: `${watched.at(-1)?.seen ?? 0} of ${sent} packets did${note}` };
  }
  const between = steps.slice(behind, missed.at + 1);
  const cause = between.find(({ result }) => result === "stops") ?? between.find(({ result }) => result === "unknown");
  const where = `${seenAt}, and none at ${placeOf(steps[missed.at])}`;
  if (cause !== undefined) return { verdict: "stops", reason: `${describeStop(cause)}; ${where}` };
  return { verdict: "stops", reason: `${where}: ${unexplained(steps[behind - 1], steps[missed.at])}` };
}

/** Of the way back: `there` is what became of what should be answered. */
export function judgeAnswers(legs: readonly Leg[], sent: number, there: Verdict): Verdict {
  if (there.verdict === "stops") {
    const { verdict, reason } = judgeTables(legs);
    const tables = verdict === "arrives" ? "what would answer arrives" : reason;
    return {
      verdict: verdict === "stops" ? verdict : "unknown",
      reason: `nothing came that could be answered; by the tables ${tables}`,
    };
  }
  const judged = judgeSeen(legs, sent);
  const isUnanswered = legs.every(({ steps }) => steps.every(({ observed }) => (observed?.seen ?? 0) === 0));
  const isExplained = legs.some(({ steps }) => steps.some(({ result }) => result === "stops"));
  if (judged.verdict !== "stops" || !isUnanswered || isExplained) return judged;
  return {
    verdict: "stops",
    reason: `node ${legs[0]?.node ?? ""}: the other end does not answer, by a rule or setting of its own`,
  };
}

/** Up to where no packet was seen any more, if there is such a place. */
export function untilMissed(legs: readonly Leg[]): readonly Leg[] {
  const steps = legs.flatMap((leg) => leg.steps);
  const last = steps.findLastIndex(({ observed }) => (observed?.seen ?? 0) > 0);
  let left = steps.findIndex(({ observed }, at) => at > last && observed !== undefined) + 1;
  if (left === 0) return legs;
  return legs.flatMap((leg) => {
    if (left <= 0) return [];
    const shown = leg.steps.slice(0, left);
    left -= leg.steps.length;
    return [{ ...leg, steps: shown }];
  });
}

/** What can be said where no table explains it. */
function unexplained(from: Step | undefined, to: Step | undefined): string {
  if (from !== undefined && to !== undefined && from.node !== to.node)
    return `something between nodes ${from.node} and ${to.node} drops them, such as a firewall or a link that carries less`;
  return "no table that is read explains it";
}

function describeStop({ node, name, at, detail }: Step): string {
  return `node ${node}, ${name} at ${at}: ${detail}`;
}

function placeOf(step: Step | undefined): string {
  return step === undefined ? "the sender" : `${step.name} ${step.at} of node ${step.node}`;
}

function nodesOf(legs: readonly Leg[]): string {
  const nodes = [...new Set(legs.map(({ node }) => node))];
  return nodes.length === 1 ? `node ${nodes[0]}` : `nodes ${nodes.join(" and ")}`;
}
