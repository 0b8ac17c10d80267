import { evaluate, type Found, foundAmong, type LookUp } from "./condition.ts";
import { changedEither, type Place } from "./fields.ts";
import { type Drop, noOutcome, type Outcome, Path } from "./outcome.ts";
import type { Chain, Expression, Rule, Ruleset } from "./ruleset.ts";
import { anyChange, conditionOf, effectOf, hasMap, isHarmless, translatedSide } from "./statements.ts";
import { both, type Truth } from "./truth.ts";
import { asObject, type Value } from "./value.ts";

/** Looks up what was not read of a set that rules of a chain name. */
export type Ask = (chain: Chain, set: string, key: Value) => Found;

/** NFT_JUMP_STACK_SIZE of linux/netfilter/nf_tables.h. */
const deepest = 16;

/** A rule at which a packet is. */
interface At {
  readonly place: Place;
  readonly chain: Chain;
  readonly rule: Rule;
  /** How many jumps led here. */
  readonly depth: number;
}

/** What a rule decides, or may. */
interface Decision {
  readonly is: Truth;
  readonly outcomes: readonly Outcome[];
}

/** Follows packets through chains and those that they are sent to from there. */
export class Walk {
  readonly #chains = new Map<string, Chain>();
  readonly #ruleset: Ruleset;
  readonly #ask: Ask;

  constructor(ruleset: Ruleset, ask: Ask) {
    this.#ruleset = ruleset;
    this.#ask = ask;
    for (const chain of ruleset.chains) this.#chains.set(keyOf(chain, chain.name), chain);
  }

  through(chain: Chain, place: Place, depth = 0): Outcome {
    const path = new Path(place.change);
    for (const rule of chain.rules) {
      const { change } = path;
      if (change === undefined) break;
      this.#rule({ place: { ...place, change }, chain, rule, depth }, path);
    }
    return path.end(place.change);
  }

  #rule(at: At, path: Path): void {
    let is: Truth = "yes";
    let { change } = at.place;
    const lookUp: LookUp = (set, key) => this.#lookUp(at.chain, set, key);
    for (const expression of at.rule.expressions) {
      const here = { ...at, place: { ...at.place, change } };
      is = both(is, conditionOf(here.place, expression, lookUp) ?? "yes");
      if (is === "no") break;
      const effect = effectOf(here.place, expression);
      change = is === "yes" ? effect : changedEither(change, effect);
      const decision = this.#decision(here, expression, lookUp);
      if (decision === undefined) continue;
      is = both(is, decision.is);
      if (is === "no") break;
      path.decide(is, decision.outcomes, change);
      return;
    }
    path.goOn(change);
  }

  #lookUp(chain: Chain, name: string, key: Value): Found {
    const set = this.#ruleset.sets.find(
      (each) => each.family === chain.family && each.table === chain.table && each.name === name,
    );
    if (set === undefined) return { is: "unknown" };
    return set.elements === undefined ? this.#ask(chain, name, key) : foundAmong(set.elements, key, set.isMap);
  }

  /** `undefined`: an expression decides nothing, and the rule goes on. */
  #decision(at: At, expression: Expression, lookUp: LookUp): Decision | undefined {
    const { vmap } = expression;
    if (vmap !== undefined) return this.#byMap(at, asObject(vmap), lookUp);
    const outcome = this.#outcome(at, expression);
    return outcome && { is: hasMap(expression) ? "unknown" : "yes", outcomes: [outcome] };
  }

  /** What a key that the map has not leads to is the next rule. */
  #byMap(at: At, { key, data }: Expression, lookUp: LookUp): Decision {
    const value = evaluate(at.place, key);
    if (value.kind === "absent") return { is: "no", outcomes: [] };
    const { set } = asObject(data);
    const elements = Array.isArray(set) ? (set as unknown[]) : undefined;
    const { is, data: verdict } =
      elements === undefined ? lookUp(String(data).replace("@", ""), value) : foundAmong(elements, value, true);
    const known = verdict === undefined ? undefined : [verdict];
    const verdicts = is === "yes" ? known : elements?.map((element) => [element].flat()[1]);
    // Which verdicts a map has that was not read nobody knows.
    if (verdicts === undefined) return { is, outcomes: [anything(at)] };
    return { is, outcomes: verdicts.map((each) => this.#outcome(at, asObject(each)) ?? goesOn(at)) };
  }

  /** Of a statement; `undefined`: the rule goes on. */
  #outcome(at: At, statement: Expression): Outcome | undefined {
    const outcome = noOutcome(at.place.change);
    if ("accept" in statement) return { ...outcome, isAccepted: true };
    if ("drop" in statement) return dropped(at, "drop");
    if ("reject" in statement) return dropped(at, "reject");
    if ("return" in statement) return { ...outcome, returns: true };
    if ("continue" in statement) return goesOn(at);
    const { jump, goto } = statement;
    if (jump !== undefined || goto !== undefined) {
      const { returns, ...rest } = this.#enter(at, String(asObject(jump ?? goto).target));
      return { ...rest, returns: returns && jump === undefined, goesOn: returns && jump !== undefined };
    }
    const of = translatedSide(statement);
    if (of !== undefined) return translated(at, of);
    if ("fwd" in statement) return dropped(at, "elsewhere");
    if ("queue" in statement) return { ...anything(at), goesOn: false };
    return isHarmless(statement) || conditionOf(at.place, statement, () => ({ is: "unknown" })) !== undefined
      ? undefined
      : anything(at);
  }

  #enter({ place, chain, rule, depth }: At, name: string): Outcome {
    const target = this.#chains.get(keyOf(chain, name));
    // Neither does the kernel take: what was listed changed meanwhile.
    if (target === undefined || depth > deepest) return { ...anything({ place, chain, rule }), returns: true };
    return this.through(target, place, depth + 1);
  }
}

const keyOf = ({ origin, family, table }: Chain, name: string): string => `${origin} ${family} ${table} ${name}`;

type Here = Pick<At, "place" | "chain" | "rule">;

const goesOn = ({ place }: Here): Outcome => ({ ...noOutcome(place.change), goesOn: true });

const dropped = ({ place, chain, rule }: Here, by: Drop["by"]): Outcome => ({
  ...noOutcome(place.change),
  drops: [{ chain, rule, by }],
});

function translated({ place, chain, rule }: Here, of: "source" | "destination"): Outcome {
  const change =
    of === "source"
      ? { ...place.change, isSourceTranslated: "yes" as const }
      : { ...place.change, isDestinationTranslated: "yes" as const };
  return { ...noOutcome(change), isAccepted: true, translations: [{ chain, rule, of, is: "yes" }] };
}

/** Of a statement that may do anything: to go to a program, or of a kind that is not known here. */
const anything = ({ chain, rule }: Here): Outcome => ({
  ...noOutcome(anyChange),
  goesOn: true,
  isAccepted: true,
  drops: [{ chain, rule, by: "elsewhere" }],
});
