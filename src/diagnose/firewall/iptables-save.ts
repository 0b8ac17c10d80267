import type { IpFamily } from "../../base/ip.ts";
import { targetExpressions } from "./iptables-targets.ts";
import { tcpFlag } from "./packet.ts";
import { protocolNumber } from "./protocols.ts";
import type { Chain, Expression, Family, Rule } from "./ruleset.ts";

/** linux/netfilter_ipv4.h: at which priority the built-in chains of a table are. Of `nat`: where sources are translated, and destinations. */
const priorities: Readonly<Record<string, number>> = { raw: -300, mangle: -150, nat: -100, filter: 0, security: 50 };
const sourceNat = 100;

/** Chains as `iptables-legacy-save` and `ip6tables-legacy-save` print them, with their rules in nftables' words. */
export function legacyChains(saved: string, family: IpFamily): Chain[] {
  const chains: (Chain & { readonly rules: Rule[] })[] = [];
  let table = "";
  for (const line of saved.split("\n")) {
    const words = wordsOf(line);
    const [first = "", second = ""] = words;
    if (first.startsWith("*")) table = first.slice(1);
    else if (first.startsWith(":")) chains.push(chainOf(table, first.slice(1), second, family));
    else if (first === "-A") {
      const chain = chains.find((each) => each.table === table && each.name === second);
      const rules = chain?.rules ?? [];
      rules.push({ handle: rules.length + 1, text: line, expressions: expressionsOf(words.slice(2), family) });
    }
  }
  return chains;
}

function chainOf(table: string, name: string, policy: string, family: IpFamily): Chain & { readonly rules: Rule[] } {
  const chain = { origin: "legacy", family: familyName(family), table, name, rules: [] } as const;
  const type = table === "nat" ? "nat" : "filter";
  // Those that users made have none.
  if (policy === "-") return { ...chain, rules: [] };
  const isSource = table === "nat" && (name === "POSTROUTING" || name === "INPUT");
  return {
    ...chain,
    rules: [],
    base: {
      type,
      hook: name.toLowerCase(),
      priority: isSource ? sourceNat : (priorities[table] ?? 0),
      policy: policy === "DROP" ? "drop" : "accept",
      devices: [],
    },
  };
}

const familyName = (family: IpFamily): Family => (family === 4 ? "ip" : "ip6");

/** Words between blanks, and quoted ones with `\"` inside. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

const states: Readonly<Record<string, number>> = { INVALID: 1, ESTABLISHED: 2, RELATED: 4, NEW: 8, UNTRACKED: 64 };

/** A condition that is not understood here. */
const undecided: Expression = { xt: { type: "match" } };

const match = (left: object, right: unknown, op = "=="): Expression => ({ match: { op, left, right } });
const meta = (key: string): object => ({ meta: { key } });
const field = (protocol: string, name: string): object => ({ payload: { protocol, field: name } });

/** What an option of the given value asks; `undefined`: nothing that is understood. */
type Option = (value: string, family: IpFamily, protocol: string) => Expression | undefined;

const address =
  (name: string): Option =>
  (value, family) => {
    const [addr = "", len] = value.split("/");
    const header = family === 4 ? "ip" : "ip6";
    if (len !== undefined && !/^\d+$/.test(len)) return undefined;
    return match(field(header, name), len === undefined ? addr : { prefix: { addr, len: Number(len) } });
  };
const device =
  (key: string): Option =>
  (value) =>
    match(meta(key), value.replace(/\+$/, "*"));
const ports =
  (name: string): Option =>
  (value, _family, protocol) =>
    match(field(protocol, name), { set: rangesOf(value) });
const icmpType =
  (protocol: string): Option =>
  (value) =>
    /^\d+$/.test(value) ? match(field(protocol, "type"), Number(value)) : undefined;
const state: Option = (value) => {
  const bits = value.split(",").map((name) => states[name]);
  return bits.includes(undefined) ? undefined : match({ ct: { key: "state" } }, bits, "in");
};

/** RTN_* of linux/rtnetlink.h, as iptables calls them. */
const addressTypes: readonly string[] = ["UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST"];
const addressType =
  (flag: string): Option =>
  (value) => {
    const type = addressTypes.indexOf(value);
    return type < 0 ? undefined : match({ fib: { result: "type", flags: [flag] } }, type);
  };

const options: Readonly<Record<string, Option>> = {
  "-s": address("saddr"),
  "-d": address("daddr"),
  "-i": device("iifname"),
  "-o": device("oifname"),
  "--sport": ports("sport"),
  "--dport": ports("dport"),
  "--sports": ports("sport"),
  "--dports": ports("dport"),
  "--icmp-type": icmpType("icmp"),
  "--icmpv6-type": icmpType("icmpv6"),
  "--state": state,
  "--ctstate": state,
  "--dst-type": addressType("daddr"),
  "--src-type": addressType("saddr"),
  "--mark": (value) => {
    const [right, mask = "0xffffffff"] = value.split("/");
    return match({ "&": [meta("mark"), mask] }, right);
  },
};

/** `80,1000:2000` */
function rangesOf(list: string): unknown[] {
  return list.split(",").map((each) => {
    const [low, high] = each.split(":").map(Number);
    return high === undefined ? low : { range: [low, high] };
  });
}

/** Conditions, then what the rule does. Options that are not known here make it a rule that may match. */
function expressionsOf(words: readonly string[], family: IpFamily): Expression[] {
  const expressions: Expression[] = [];
  let protocol = "";
  for (let index = 0; index < words.length; index++) {
    const isNegated = words[index] === "!";
    if (isNegated) index++;
    const [name = "", value = ""] = words.slice(index, index + 2);
    if (name === "-j" || name === "-g") return [...expressions, ...verdictOf(name, value, words.slice(index + 2))];
    if (name === "-f") expressions.push(laterFragment(isNegated));
    if (name === "-f") continue;
    const end = words.findIndex((word, at) => at > index && /^(--?[a-z]|!$)/.test(word));
    const values = words.slice(index + 1, end < 0 ? words.length : end);
    index += values.length;
    if (name === "-m" || name === "--comment") {
      if (name === "-m" && !understood.includes(value)) expressions.push(undecided);
      continue;
    }
    if (name === "-p") protocol = value;
    const condition =
      name === "-p"
        ? protocolMatch(value)
        : name === "--tcp-flags"
          ? flagsMatch(values)
          : values.length === 1
            ? options[name]?.(value, family, protocol)
            : undefined;
    expressions.push(condition === undefined ? undecided : isNegated ? negated(condition) : condition);
  }
  return expressions;
}

/** Modules whose options are all that they ask. */
const understood: readonly string[] = [
  "tcp",
  "udp",
  "icmp",
  "icmp6",
  "conntrack",
  "state",
  "comment",
  "multiport",
  "mark",
  "addrtype",
];

const laterFragment = (isNegated: boolean): Expression =>
  match({ "&": [field("ip", "frag-off"), 0x1fff] }, 0, isNegated ? "==" : "!=");

function protocolMatch(name: string): Expression | undefined {
  const number = protocolNumber(name);
  return number === undefined ? undefined : match(meta("l4proto"), number);
}

/** `FIN,SYN,RST,ACK SYN`: which are looked at, and which of them are set. */
function flagsMatch([looked = "", set = ""]: readonly string[]): Expression | undefined {
  const bitsOf = (list: string): number | undefined => {
    if (list === "NONE") return 0;
    const bits = list
      .split(",")
      .map((flag) => tcpFlag[flag.toLowerCase() as keyof typeof tcpFlag] as number | undefined);
    return bits.includes(undefined) ? undefined : bits.reduce<number>((sum, bit) => sum | (bit ?? 0), 0);
  };
  const [mask, right] = [bitsOf(looked), bitsOf(set)];
  return mask === undefined || right === undefined ? undefined : match({ "&": [field("tcp", "flags"), mask] }, right);
}

const opposites: Readonly<Record<string, string>> = { "==": "!=", "!=": "==", in: "!" };

function negated({ match: condition }: Expression): Expression {
  const { op, ...rest } = condition as { readonly op: string };
  return { match: { ...rest, op: opposites[op] } };
}

function verdictOf(option: string, target: string, rest: readonly string[]): Expression[] {
  if (option === "-g") return [{ goto: { target } }];
  switch (target) {
    case "ACCEPT":
      return [{ accept: null }];
    case "DROP":
      return [{ drop: null }];
    case "RETURN":
      return [{ return: null }];
    case "QUEUE":
    case "NFQUEUE":
      return [{ queue: null }];
    default:
      // A target of another module is a chain that is not there: it may do anything.
      return targetExpressions(target, rest.includes("--notrack")) ?? [{ jump: { target } }];
  }
}
