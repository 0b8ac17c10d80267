import { asObject } from "./value.ts";

/** Families of tables that IP packets and the frames of bridges pass: nft(8). */
export type Family = "inet" | "ip" | "ip6" | "netdev" | "bridge";

/** An expression or statement of a rule in the form of libnftables-json(5), with all constants as numbers: `nft -j -n`. */
export type Expression = Readonly<Record<string, unknown>>;

/** Whose tables: nftables', those of iptables-nft among them, or of iptables-legacy, which nft does not show. */
export type Origin = "nft" | "legacy";

export interface Rule {
  /** What names it in its chain: nftables' handle; of iptables-legacy its place, from 1 on. */
  readonly handle: number;
  /** As the program that lists it prints it. */
  readonly text: string;
  readonly expressions: readonly Expression[];
}

export interface Chain {
  readonly origin: Origin;
  readonly family: Family;
  readonly table: string;
  readonly name: string;
  readonly rules: readonly Rule[];
  /** Absent: it is entered from other chains alone. */
  readonly base?: {
    readonly type: string;
    readonly hook: string;
    /** The lower comes first. */
    readonly priority: number;
    readonly policy: "accept" | "drop";
    /** Of `ingress` and `egress`: the interfaces that it is at. */
    readonly devices: readonly string[];
  };
}

export interface NamedSet {
  readonly family: Family;
  readonly table: string;
  readonly name: string;
  readonly isMap: boolean;
  /** What a key is made of: `ipv4_addr`, `inet_service`, … */
  readonly types: readonly string[];
  /** As nft lists them, of maps as pairs; absent: not read, and to be asked for one by one. */
  readonly elements?: readonly unknown[];
}

/** What judges packets in a namespace. */
export interface Ruleset {
  readonly chains: readonly Chain[];
  readonly sets: readonly NamedSet[];
  /** What judges packets, too, and could not be read: to be told. */
  readonly unread: readonly string[];
}

/** Of `nft -a list ruleset`, what its JSON does not have. */
export interface ListedText {
  /** {@link ruleKey} */
  readonly rules: ReadonlyMap<string, string>;
  /** {@link chainKey} */
  readonly devices: ReadonlyMap<string, readonly string[]>;
  /** Tables that are there and judge nothing, as `FAMILY TABLE`. */
  readonly dormant: ReadonlySet<string>;
}

export const chainKey = (family: string, table: string, chain: string): string => `${family} ${table} ${chain}`;
export const ruleKey = (family: string, table: string, chain: string, handle: number): string =>
  `${chainKey(family, table, chain)} ${handle}`;

const families: readonly string[] = ["inet", "ip", "ip6", "netdev", "bridge"] satisfies readonly Family[];

type Listed = Readonly<Record<string, unknown>>;

/** The tables, but those that `isLeftOut`, of what `nft -j -n list ruleset` printed, parsed. */
export function nftRuleset(
  objects: readonly unknown[],
  text: ListedText,
  isLeftOut: (table: string) => boolean = () => false,
): Pick<Ruleset, "chains" | "sets"> {
  const judging = objects.map(asObject).filter((object) => {
    const { family, table } = asObject(object.chain ?? object.rule ?? object.set ?? object.map);
    const isKnown = families.includes(String(family)) && !isLeftOut(String(table));
    return isKnown && !text.dormant.has(`${family} ${table}`);
  });
  const rules = new Map<string, Rule[]>();
  for (const { rule } of judging)
    if (rule !== undefined) {
      const { family, table, chain } = rule as Listed;
      const key = chainKey(String(family), String(table), String(chain));
      const ofChain = rules.get(key);
      if (ofChain === undefined) rules.set(key, [ruleOf(rule as Listed, text)]);
      else ofChain.push(ruleOf(rule as Listed, text));
    }
  return {
    chains: judging.flatMap(({ chain }) => (chain === undefined ? [] : [chainOf(chain as Listed, rules, text)])),
    sets: judging.flatMap(({ set, map }) => {
      if (set !== undefined) return [setOf(set as Listed, false)];
      return map === undefined ? [] : [setOf(map as Listed, true)];
    }),
  };
}

function chainOf(listed: Listed, rules: ReadonlyMap<string, readonly Rule[]>, text: ListedText): Chain {
  const [family, table, name] = [listed.family as Family, String(listed.table), String(listed.name)];
  const key = chainKey(family, table, name);
  const { hook, type, prio, policy } = listed;
  const chain = { origin: "nft", family, table, name, rules: rules.get(key) ?? [] } as const;
  if (typeof hook !== "string") return chain;
  return {
    ...chain,
    base: {
      type: String(type),
      hook,
      priority: Number(prio),
      policy: policy === "drop" ? "drop" : "accept",
      devices: text.devices.get(key) ?? [listed.dev ?? []].flat().map(String),
    },
  };
}

function ruleOf(listed: Listed, text: ListedText): Rule {
  const handle = Number(listed.handle);
  const expressions = (Array.isArray(listed.expr) ? listed.expr : []).map(asObject);
  const printed = text.rules.get(ruleKey(String(listed.family), String(listed.table), String(listed.chain), handle));
  return { handle, text: printed ?? JSON.stringify(expressions), expressions };
}

function setOf(listed: Listed, isMap: boolean): NamedSet {
  const { type, elem } = listed;
  return {
    family: listed.family as Family,
    table: String(listed.table),
    name: String(listed.name),
    isMap,
    types: [type].flat().map((each) => (typeof each === "string" ? each : "unknown")),
    ...(Array.isArray(elem) ? { elements: elem } : {}),
  };
}
