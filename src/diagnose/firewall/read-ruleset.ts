import { messageOf, WeftError } from "../../base/errors.ts";
import type { IpFamily } from "../../base/ip.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import type { Found } from "./condition.ts";
import { withTranslations } from "./iptables-nft.ts";
import { legacyChains } from "./iptables-save.ts";
import { type Judgement, judge } from "./judge.ts";
import { readListedText } from "./listed-text.ts";
import type { Hook, Packet } from "./packet.ts";
import { nftRuleset, type Ruleset } from "./ruleset.ts";
import { questionKey, type SetQuestion } from "./set-questions.ts";

/** What this reads, and what it leaves as it is. */
type Namespace = Pick<KernelNamespace, "label" | "nft" | "readLegacyIptables">;

const attempted = "read the rules of the firewall";

/**
 * All rules of a namespace, but those of tables that `isLeftOut`. Elements of named sets are not read, however many there
 * are: {@link judgeIn} asks for those that matter.
 */
export async function readRuleset(namespace: Namespace, isLeftOut?: (table: string) => boolean): Promise<Ruleset> {
  const [json, text, ...legacy] = await Promise.all([
    // -n: constants as numbers, whatever this machine's tables of names call them. -t: without elements.
    namespace.nft(attempted, ["-j", "-n", "-a", "-t", "list", "ruleset"], ""),
    namespace.nft(attempted, ["-a", "-t", "list", "ruleset"], ""),
    ...([4, 6] as const).map((family) => readLegacy(namespace, family)),
  ]);
  const ruleset = nftRuleset(objectsIn(json, namespace.label), readListedText(text), isLeftOut);
  return {
    chains: [...ruleset.chains.map(withTranslations), ...legacy.flatMap(({ chains }) => chains)],
    sets: ruleset.sets,
    unread: legacy.flatMap(({ unread }) => unread),
  };
}

function objectsIn(json: string, label: string): unknown[] {
  try {
    // Without any table it prints nothing.
    return json.trim() === "" ? [] : (JSON.parse(json) as { nftables: unknown[] }).nftables;
  } catch (error) {
    throw new WeftError({
      code: "unsupported",
      attempted: `${attempted} in ${label}`,
      reason: `what nft -j list ruleset printed is no JSON: ${messageOf(error)}`,
      hint: "a newer version of the Debian package nftables may list that rule",
      cause: error,
    });
  }
}

async function readLegacy(namespace: Namespace, family: IpFamily): Promise<Pick<Ruleset, "chains" | "unread">> {
  const { tables, saved } = await namespace.readLegacyIptables(family);
  if (tables.length === 0) return { chains: [], unread: [] };
  const program = `ip${family === 4 ? "" : "6"}tables-legacy`;
  if (saved === undefined)
    return { chains: [], unread: [`${program} has tables ${tables.join(", ")}, and ${program}-save is not installed`] };
  return { chains: legacyChains(saved, family), unread: [] };
}

/** {@link judge}, with what sets have for this packet. */
export async function judgeIn(
  namespace: Namespace,
  ruleset: Ruleset,
  packet: Packet,
  hooks: readonly Hook[],
  answers: Map<string, Found> = new Map(),
): Promise<Judgement> {
  for (;;) {
    const judgement = judge(ruleset, packet, hooks, answers);
    if (judgement.questions.length === 0) return judgement;
    await answer(namespace, judgement.questions, answers);
  }
}

/** Asks the kernel, for each of the questions. */
async function answer(
  namespace: Namespace,
  questions: readonly SetQuestion[],
  answers: Map<string, Found>,
): Promise<void> {
  for (const question of questions) answers.set(questionKey(question), await lookUp(namespace, question));
}

async function lookUp(namespace: Namespace, { family, table, set, key }: SetQuestion): Promise<Found> {
  try {
    const parameters = ["get", "element", family, table, set, `{ ${key} }`];
    return foundIn(await namespace.nft(`look up ${key} in set ${family} ${table} ${set}`, parameters, ""));
  } catch (error) {
    // ENOENT of the kernel's; nft's own word for a set that is not there begins otherwise.
    const isMissing = messageOf(error).endsWith("Could not process rule: No such file or directory");
    return { is: isMissing ? "no" : "unknown" };
  }
}

/** What was printed of an element: `elements = { 443 : jump web }`. One with a limit of its own matches as that has it. */
function foundIn(printed: string): Found {
  const element = /elements = \{ (.*) \}/.exec(printed)?.[1];
  if (element === undefined || /\b(limit|quota|ct count)\b/.test(element)) return { is: "unknown" };
  const [, verdict, target] = / : (accept|drop|return|continue|jump|goto)(?: (\S+))?$/.exec(element) ?? [];
  if (verdict === undefined) return { is: "yes" };
  return { is: "yes", data: { [verdict]: target === undefined ? null : { target } } };
}
