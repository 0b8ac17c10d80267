import { ipFromBigInt } from "../../base/ip.ts";
import type { Found } from "./condition.ts";
import type { Chain, NamedSet, Ruleset } from "./ruleset.ts";
import type { Value } from "./value.ts";

/** Whether a set of the kernel's has a key, and for which data. */
export interface SetQuestion {
  readonly family: string;
  readonly table: string;
  readonly set: string;
  /** In the words of nft. */
  readonly key: string;
}

/** By {@link questionKey}. */
export type Answers = ReadonlyMap<string, Found>;

export const questionKey = ({ family, table, set, key }: SetQuestion): string => `${family} ${table} ${set} ${key}`;

/** What is asked of sets that were not read, and what is known of that. */
export class SetQuestions {
  readonly #ruleset: Ruleset;
  readonly #answers: Answers;
  readonly #open = new Map<string, SetQuestion>();

  constructor(ruleset: Ruleset, answers: Answers) {
    this.#ruleset = ruleset;
    this.#answers = answers;
  }

  /** Those without an answer. */
  get open(): SetQuestion[] {
    return [...this.#open.values()];
  }

  readonly ask = ({ family, table }: Chain, name: string, value: Value): Found => {
    const set = this.#ruleset.sets.find((each) => each.family === family && each.table === table && each.name === name);
    const key = set && keyText(set, value);
    if (key === undefined) return { is: "unknown" };
    const question = { family, table, set: name, key };
    const answer = this.#answers.get(questionKey(question));
    if (answer === undefined) this.#open.set(questionKey(question), question);
    return answer ?? { is: "unknown" };
  };
}

/** A key as nft takes it; `undefined`: not all of it is known, or not how it is written. */
function keyText({ types }: NamedSet, value: Value): string | undefined {
  const parts = value.kind === "concatenation" ? value.parts : [value];
  if (parts.length !== types.length) return undefined;
  const texts = parts.map((part, index) => partText(types[index] as string, part));
  return texts.includes(undefined) ? undefined : texts.join(" . ");
}

/** Types of keys that nft takes as decimal numbers. */
const numbers: readonly string[] = ["inet_service", "inet_proto", "mark", "integer", "icmp_type", "icmpv6_type"];

function partText(type: string, part: Value): string | undefined {
  if (part.kind === "name") return type === "ifname" ? `"${part.name}"` : undefined;
  if (part.kind !== "number" || part.unsure !== 0n) return undefined;
  if (type === "ipv4_addr") return ipFromBigInt(part.value, 4);
  if (type === "ipv6_addr") return ipFromBigInt(part.value, 6);
  if (type === "ether_addr")
    return part.value
      .toString(16)
      .padStart(12, "0")
      .replace(/..(?!$)/g, "$&:");
  return numbers.includes(type) ? String(part.value) : undefined;
}
