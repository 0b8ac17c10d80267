import {
  isEndpointPeer,
  isolating,
  type Policy,
  type PolicyDirection,
  type RankedRule,
  rankedRules,
} from "../../model/policy/index.ts";
import { type Identifier, identifierOf } from "./identifier.ts";
import { type PeerClass, peerKey } from "./peer-classes.ts";
import { ruleIdentifier, type Verdict, type VerdictList, verdictList } from "./verdict-list.ts";

/** What decides where no rule does, by name: a policy that isolates, or the default of networks. */
export type Outcome = { readonly isolatedBy: string } | { readonly otherwise: "allow" | "deny" };

/** As what it counts in the kernel. */
export function outcomeIdentifier(outcome: Outcome, direction: PolicyDirection): Identifier {
  return identifierOf(
    "isolatedBy" in outcome
      ? `isolated ${outcome.isolatedBy} ${direction}`
      : `default ${outcome.otherwise} ${direction}`,
  );
}

/** Endpoints that are under the same policies, in one direction. */
export class PolicyGroup {
  /** 0: nothing is said, and all passes. */
  readonly id: Identifier;
  readonly #rules: readonly RankedRule[];
  readonly #base: Omit<Verdict, "logged">;
  /** Places among the rules: those about everybody, those about a peer, and those that deny endpoints. */
  readonly #general: readonly number[];
  readonly #ofPeer = new Map<string, number[]>();
  readonly #denying: readonly number[];
  readonly #lists = new Map<Identifier, VerdictList | undefined>();
  #generalList: VerdictList | undefined;

  /** `policies`: those that are for the endpoints. `otherwise`: what their network says. */
  constructor(policies: readonly Policy[], direction: PolicyDirection, otherwise: "allow" | "deny") {
    this.#rules = rankedRules(policies, direction);
    const isolatedBy = isolating(policies, direction);
    const outcome: Outcome = isolatedBy === undefined ? { otherwise } : { isolatedBy: isolatedBy.name };
    const isAllowed = isolatedBy === undefined && otherwise === "allow";
    this.#base = { isAllowed, rule: outcomeIdentifier(outcome, direction) };
    const isOpen = this.#rules.length === 0 && isAllowed;
    const rules = this.#rules.map(({ policy, rule }) => [policy.name, policy.priority, rule]);
    this.id = isOpen ? 0n : identifierOf(JSON.stringify([direction, outcome, rules]));
    const general: number[] = [];
    const denying: number[] = [];
    this.#rules.forEach(({ rule: { peers, action } }, place) => {
      if (peers.length === 0) general.push(place);
      for (const key of new Set(peers.map(peerKey))) {
        const places = this.#ofPeer.get(key);
        if (places === undefined) this.#ofPeer.set(key, [place]);
        else places.push(place);
      }
      if (action === "deny" && peers.some((peer) => isEndpointPeer(peer))) denying.push(place);
    });
    this.#general = general;
    this.#denying = denying;
  }

  /** What counts when it decides, or is met. */
  *counters(): Generator<Identifier> {
    for (const rule of this.#rules) yield ruleIdentifier(rule);
    yield this.#base.rule;
  }

  /** What holds for those of a class that has no list of its own. */
  get generalList(): VerdictList {
    this.#generalList ??= this.#listOf(this.#general);
    return this.#generalList;
  }

  /** What holds for a class; `undefined`: what is general. */
  listOf(of: PeerClass): VerdictList | undefined {
    if (!this.#lists.has(of.id)) this.#lists.set(of.id, this.#ownListOf(of));
    return this.#lists.get(of.id);
  }

  #ownListOf({ peers, isUnknown }: PeerClass): VerdictList | undefined {
    const places = new Set<number>(isUnknown ? this.#denying : []);
    for (const key of peers) for (const place of this.#ofPeer.get(key) ?? []) places.add(place);
    if (places.size === 0) return undefined;
    const list = this.#listOf([...places, ...this.#general].sort((a, b) => a - b));
    return list.id === this.generalList.id ? undefined : list;
  }

  #listOf(places: readonly number[]): VerdictList {
    return verdictList(
      places.flatMap((place) => this.#rules[place] ?? []),
      this.#base,
    );
  }
}
