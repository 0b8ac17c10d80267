import { familyOf } from "../../base/ip.ts";
import { type Change, changedEither, type Place } from "./fields.ts";
import { type Drop, type Outcome, Path, type Translation } from "./outcome.ts";
import type { Hook, Packet } from "./packet.ts";
import type { Chain, Ruleset } from "./ruleset.ts";
import { type Answers, type SetQuestion, SetQuestions } from "./set-questions.ts";
import { type Truth, truth } from "./truth.ts";
import { Walk } from "./walk.ts";

export interface Judgement {
  /** `unknown`: one of `maybe` may drop it, and nothing surely does. */
  readonly verdict: "accept" | "drop" | "reject" | "unknown";
  /** What drops it, if anything surely does. */
  readonly by?: Drop;
  /** What may drop it before, in the order in which it comes by. */
  readonly maybe: readonly Drop[];
  /** Where addresses and ports are translated, or may be. What is judged behind it does not know the new ones. */
  readonly translations: readonly Translation[];
  /** Whether it is exempt from connection tracking at the end. */
  readonly isUntracked: Truth;
  /** What sets would have to be asked for a better judgement. */
  readonly questions: readonly SetQuestion[];
}

/**
 * What the rules of a namespace do to a packet at these hooks, in their order. A condition that the packet does not decide,
 * a rate or a match of iptables' for example, makes its rule one that may match. Addresses that are translated are not followed.
 */
export function judge(
  ruleset: Ruleset,
  packet: Packet,
  hooks: readonly Hook[],
  answers: Answers = new Map(),
): Judgement {
  const questions = new SetQuestions(ruleset, answers);
  const walk = new Walk(ruleset, questions.ask);
  const maybe: Drop[] = [];
  const translations: Translation[] = [];
  let change: Change = {
    mark: packet.mark,
    isUntracked: truth(packet.conntrack === "untracked"),
    isSourceTranslated: "no",
    isDestinationTranslated: "no",
    isRewritten: false,
  };
  const judgement = (verdict: Judgement["verdict"], by?: Drop): Judgement => ({
    verdict,
    ...(by === undefined ? {} : { by }),
    maybe,
    translations,
    isUntracked: change.isUntracked,
    questions: questions.open,
  });
  for (const hook of hooks)
    for (const { chain, priority, is } of chainsAt(ruleset, packet, hook)) {
      const outcome = atBase(walk, chain, { packet, hook, priority, hooks, change }, is);
      translations.push(...outcome.translations);
      const { drops } = outcome;
      if (drops.length > 0 && !outcome.returns && !outcome.isAccepted) {
        maybe.push(...drops.slice(0, -1));
        const isRejected = drops.every(({ by }) => by === "reject");
        return judgement(isRejected ? "reject" : "drop", drops.at(-1));
      }
      maybe.push(...drops);
      change = outcome.change;
    }
  return judgement(maybe.length > 0 ? "unknown" : "accept");
}

interface ChainAt {
  readonly chain: Chain;
  readonly priority: number;
  readonly is: Exclude<Truth, "no">;
}

/** The base chains that a packet passes at a hook, or may. */
function chainsAt({ chains }: Ruleset, packet: Packet, hook: Hook): ChainAt[] {
  return chains
    .flatMap((chain) => {
      const is = isAt(chain, packet, hook);
      return chain.base === undefined || is === "no" ? [] : [{ chain, priority: chain.base.priority, is }];
    })
    .sort((a, b) => a.priority - b.priority);
}

function isAt({ family, base }: Chain, packet: Packet, hook: Hook): Truth {
  if (base === undefined) return "no";
  if (hook.startsWith("bridge")) return truth(family === "bridge" && hook === `bridge ${base.hook}`);
  const ofPacket = `ip${familyOf(packet.source) === 4 ? "" : "6"}`;
  if (base.hook !== hook || ![ofPacket, "inet", "netdev"].includes(family)) return "no";
  if (hook !== "ingress" && hook !== "egress") return getsFirst(base.type, packet);
  const device = hook === "ingress" ? packet.in : packet.out;
  return device === undefined ? "unknown" : truth(base.devices.includes(device));
}

/** Chains that translate get the first packet of a connection alone. */
function getsFirst(type: string, { conntrack }: Packet): Truth {
  if (type !== "nat") return "yes";
  if (conntrack === undefined) return "unknown";
  return truth(conntrack === "new" || conntrack === "related");
}

/** What comes of a packet at a base chain, its policy included. */
function atBase(walk: Walk, chain: Chain, place: Place, is: Exclude<Truth, "no">): Outcome {
  const isExempt = chain.base?.type === "nat" ? place.change.isUntracked : "no";
  const through = walk.through(chain, place);
  const drop: Drop = { chain, by: "drop" };
  const outcome: Outcome =
    chain.base?.policy === "drop" && through.returns
      ? { ...through, returns: false, drops: [...through.drops, drop] }
      : through;
  if (is === "yes" && isExempt === "no") return outcome;
  const path = new Path(place.change);
  if (isExempt !== "yes") path.decide("unknown", [outcome], place.change);
  const either = path.end(place.change);
  return { ...either, change: changedEither(either.change, place.change) };
}
