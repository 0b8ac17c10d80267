import { targetExpressions } from "./iptables-targets.ts";
import type { Chain, Expression, Rule } from "./ruleset.ts";
import { asObject } from "./value.ts";

/**
 * Chains with what iptables-nft wrote put into nftables' own words where that is certain. nft's JSON has but the names of its
 * matches and targets; its text has what they would be in nftables' language (`ct state related,established`), if nft was
 * built with that. What is not understood stays a match that may hold, or a target that may do anything.
 */
export function withTranslations(chain: Chain): Chain {
  const isOfIptables = chain.rules.some(({ expressions }) => expressions.some((each) => "xt" in each));
  return isOfIptables ? { ...chain, rules: chain.rules.map(translated) } : chain;
}

const translated = (rule: Rule): Rule => ({
  ...rule,
  expressions: rule.expressions.flatMap((expression) => wordsFor(expression, rule.text) ?? [expression]),
});

/** `undefined`: as it is. None: it is no condition, and does nothing that matters. */
function wordsFor({ xt }: Expression, text: string): Expression[] | undefined {
  const { type, name } = asObject(xt);
  if (xt === undefined || typeof name !== "string") return undefined;
  return type === "match"
    ? matchOf(name, text)
    : targetExpressions(name, /\bnotrack\b/.test(text.replace(quoted, '""')));
}

const quoted = /"[^"]*"/g;

function matchOf(name: string, text: string): Expression[] | undefined {
  const words = text.replace(quoted, '""');
  switch (name) {
    case "comment":
      return [];
    case "conntrack":
    case "state":
      return stateMatch(words);
    case "multiport":
      return portsMatch(words);
    case "icmp":
    case "icmp6":
      return icmpMatch(words);
    case "addrtype":
      return addressTypeMatch(words);
    default:
      return undefined;
  }
}

const states: Readonly<Record<string, number>> = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 };

function stateMatch(words: string): Expression[] | undefined {
  const [, negation, list] = /\bct state (! |!= )?([a-z,]+)/.exec(words) ?? [];
  // Other questions to connection tracking stand beside it.
  if (list === undefined || words.match(/\bct /g)?.length !== 1) return undefined;
  const bits = list.split(",").map((name) => states[name]);
  if (bits.includes(undefined)) return undefined;
  const op = negation === undefined ? "in" : "!";
  return [{ match: { op, left: { ct: { key: "state" } }, right: bits } }];
}

function portsMatch(words: string): Expression[] | undefined {
  const found = [...words.matchAll(/\b(tcp|udp|sctp|dccp|udplite) (dport|sport) (!= )?(?:\{ ([^}]*) \}|([\d-]+))/g)];
  const [[, protocol, field, negation, list, one] = []] = found;
  // Of either side it asks for both at once: `udp sport . udp dport { 1-65535 . 53 }`.
  if (found.length !== 1 || / \. /.test(words)) return undefined;
  const ports = (list ?? one ?? "").split(",").map((port) => {
    const [low, high] = port.trim().split("-").map(Number);
    return high === undefined ? low : { range: [low, high] };
  });
  return [{ match: { op: negation ? "!=" : "==", left: { payload: { protocol, field } }, right: { set: ports } } }];
}

/** As nft calls them: RFC 792, RFC 4443, RFC 4861. */
const icmpTypes: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  icmp: {
    "echo-reply": 0,
    "destination-unreachable": 3,
    redirect: 5,
    "echo-request": 8,
    "router-advertisement": 9,
    "router-solicitation": 10,
    "time-exceeded": 11,
    "parameter-problem": 12,
  },
  icmpv6: {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
  },
};

function icmpMatch(words: string): Expression[] | undefined {
  const [, protocol = "", negation, name = "", code] =
    /\b(icmp|icmpv6) type (!= )?([a-z0-9-]+)( (?:icmp|icmpv6) code| code)?/.exec(words) ?? [];
  const type = icmpTypes[protocol]?.[name] ?? (/^\d+$/.test(name) ? Number(name) : undefined);
  if (type === undefined || code !== undefined) return undefined;
  return [{ match: { op: negation ? "!=" : "==", left: { payload: { protocol, field: "type" } }, right: type } }];
}

/** RTN_* of linux/rtnetlink.h, as nft calls them. */
const addressTypes: readonly string[] = ["unspec", "unicast", "local", "broadcast", "anycast", "multicast"];

function addressTypeMatch(words: string): Expression[] | undefined {
  const [, field, negation, name = "", more] = /\bfib (daddr|saddr) type (!= )?([a-z]+)( \.|,)?/.exec(words) ?? [];
  const type = addressTypes.indexOf(name);
  if (type < 0 || more !== undefined || words.match(/\bfib /g)?.length !== 1) return undefined;
  return [{ match: { op: negation ? "!=" : "==", left: { fib: { result: "type", flags: [field] } }, right: type } }];
}
