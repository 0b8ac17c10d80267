import { type Change, changedEither } from "./fields.ts";
import type { Chain, Rule } from "./ruleset.ts";
import type { Truth } from "./truth.ts";

/** A rule, or the policy of a chain. */
export interface Cause {
  readonly chain: Chain;
  /** Absent: the policy. */
  readonly rule?: Rule;
}

export interface Drop extends Cause {
  /** `elsewhere`: what happens to it nftables does not say: it goes to a program, by another interface, or what the rule does is not known here. */
  readonly by: "drop" | "reject" | "elsewhere";
}

/** A rule that translates addresses and ports of one side, or may. */
export interface Translation extends Cause {
  readonly of: "source" | "destination";
  readonly is: Exclude<Truth, "no">;
}

/** What may come of a packet. Where it is more than one thing, it is one of these. */
export interface Outcome {
  /** The next rule, or the next statement of this one, gets it. */
  readonly goesOn: boolean;
  /** What follows where the chain was entered gets it: it returns, or comes to the end of the chain. */
  readonly returns: boolean;
  readonly isAccepted: boolean;
  readonly drops: readonly Drop[];
  readonly translations: readonly Translation[];
  /** As whoever gets it next sees it. */
  readonly change: Change;
}

export const noOutcome = (change: Change): Outcome => ({
  goesOn: false,
  returns: false,
  isAccepted: false,
  drops: [],
  translations: [],
  change,
});

/** The way of a packet through the rules of one chain, with all that may have come of it so far. */
export class Path {
  /** Of a packet that the next rule gets; `undefined`: none does. */
  #change: Change | undefined;
  /** Of a packet that left the chain. */
  #left: Change | undefined;
  #returns = false;
  #isAccepted = false;
  readonly #drops: Drop[] = [];
  readonly #translations: Translation[] = [];

  constructor(change: Change) {
    this.#change = change;
  }

  /** As the next rule sees the packet; `undefined`: it does not get that far. */
  get change(): Change | undefined {
    return this.#change;
  }

  /** A rule changed it and decided nothing. */
  goOn(change: Change): void {
    this.#change = change;
  }

  /** A rule decides, or may: what of these comes of it. Else it goes on as `otherwise` says. */
  decide(is: Exclude<Truth, "no">, outcomes: readonly Outcome[], otherwise: Change): void {
    const isSure = is === "yes" && outcomes.length === 1 && !this.#hasLeft;
    this.#change = is === "yes" ? undefined : otherwise;
    for (const outcome of outcomes) {
      const { goesOn, returns, isAccepted, drops, translations, change } = outcome;
      if (goesOn) this.#change = joined(this.#change, change);
      if (returns || isAccepted) this.#left = joined(this.#left, change);
      this.#returns ||= returns;
      this.#isAccepted ||= isAccepted;
      this.#drops.push(...drops);
      this.#translations.push(...translations.map((each) => (isSure ? each : { ...each, is: "unknown" as const })));
    }
  }

  /** What comes of it in this chain. */
  end(start: Change): Outcome {
    const returns = this.#returns || this.#change !== undefined;
    const change = this.#change === undefined ? this.#left : joined(this.#left, this.#change);
    return {
      goesOn: false,
      returns,
      isAccepted: this.#isAccepted,
      drops: this.#drops,
      translations: this.#translations,
      change: change ?? start,
    };
  }

  get #hasLeft(): boolean {
    return this.#returns || this.#isAccepted || this.#drops.length > 0;
  }
}

const joined = (a: Change | undefined, b: Change): Change => (a === undefined ? b : changedEither(a, b));
