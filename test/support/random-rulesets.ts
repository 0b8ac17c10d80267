/** Small rulesets at random, as nft(8) takes them. */
import * as fc from "fast-check";

/** What a condition needs of its table: any, one for an IP version or both, or one for both. */
type Of = 4 | 6 | "any" | "both";

/** Conditions that a packet alone decides. */
const decided: readonly (readonly [of: Of, text: string])[] = [
  ["any", "udp dport 53"],
  ["any", "udp dport != 53"],
  ["any", "udp dport { 53, 4000-5000 }"],
  ["any", "tcp dport 80-100"],
  ["any", "tcp dport @ports"],
  ["any", "tcp flags & (fin|syn|rst|ack) == syn"],
  ["any", "tcp flags ! ack"],
  ["any", "tcp flags syn"],
  ["any", "th dport > 100"],
  ["any", "th dport <= 443"],
  ["any", "meta l4proto { tcp, udp } th dport 443"],
  ["any", "meta l4proto gre"],
  ["any", "meta l4proto != { tcp, udp }"],
  ["any", "meta length > 48"],
  ["any", 'iifname "eth0"'],
  ["any", 'iifname != "e*"'],
  ["any", 'oifname { "eth1", "lo" }'],
  ["any", 'oifname != "eth1"'],
  ["any", "iif lo"],
  ["any", 'iifname . oifname { "eth0" . "eth1" }'],
  ["any", "iifname @names"],
  ["any", "ct state established,related"],
  ["any", "ct state new"],
  ["any", "ct state invalid"],
  ["any", "ct state untracked"],
  ["any", "ct state != established"],
  ["any", "ct state { new, untracked }"],
  ["any", "ct state ! new"],
  ["any", "meta mark 1"],
  ["any", "meta mark & 3 != 0"],
  ["any", "meta mark != 2"],
  ["any", "meta l4proto udp @th,96,24 4242"],
  ["any", "udp dport 4789 @th,96,24 @vnis"],
  ["any", "@th,0,16 & 0xff00 == 0x5000"],
  ["both", "meta nfproto ipv4"],
  ["both", "meta protocol ip6"],
  [6, "exthdr frag exists"],
  [4, "ip saddr 10.1.0.0/30"],
  [4, "ip saddr != 10.1.0.2-10.1.0.4"],
  [4, "ip daddr 10.2.0.2"],
  [4, "ip saddr @addresses"],
  [4, "ip saddr != @addresses"],
  [4, "ip saddr . udp dport @pairs"],
  [4, "ip saddr . tcp dport { 10.1.0.3 . 80, 10.1.0.0/24 . 400-500 }"],
  [4, "ip protocol icmp"],
  [4, "ip length < 40"],
  [4, "ip saddr & 0.0.0.3 == 0.0.0.2"],
  [4, "ip frag-off & 0x1fff != 0"],
  [4, "ip version 4"],
  [4, "icmp type echo-request"],
  [4, "icmp type { echo-reply, destination-unreachable }"],
  [6, "ip6 saddr fd01::/64"],
  [6, "ip6 daddr fd02::2-fd02::9"],
  [6, "ip6 saddr @addresses6"],
  [6, "ip6 nexthdr udp"],
  [6, "icmpv6 type echo-request"],
];

/** Conditions that no packet decides. */
const undecided = [
  "limit rate 1/second",
  "limit rate over 1/minute",
  "fib daddr type local",
  "numgen inc mod 2 0",
  "quota over 400 bytes",
];

const verdicts = ["accept", "drop", "return", "continue", "counter", "meta mark set 1", "meta mark set meta mark | 2"];
/** What maps by port lead to; behind it the rule would go on with nothing. */
const maps = ["tcp dport vmap @verdicts", "udp dport vmap { 53 : accept, 4789 : jump leaf, 100-200 : drop }"];

export interface RandomRuleset {
  readonly text: string;
  /** A packet decides all that its rules ask. */
  readonly isDecided: boolean;
}

interface RandomRule {
  readonly text: string;
  readonly isDecided: boolean;
}

function rules(of: Of, targets: readonly string[], most: number): fc.Arbitrary<readonly RandomRule[]> {
  const fitting = decided.filter(([needs]) => of === "both" || needs === "any" || needs === of).map(([, text]) => text);
  const condition = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...fitting).map((text) => ({ text, isDecided: true })) },
    { weight: 1, arbitrary: fc.constantFrom(...undecided).map((text) => ({ text, isDecided: false })) },
  );
  const verdict = fc.constantFrom(...verdicts, ...targets);
  const rule = fc.tuple(fc.array(condition, { maxLength: 2 }).map(compatible), verdict).map(([conditions, last]) => ({
    text: [...conditions.map(({ text }) => text), last].join(" "),
    isDecided: conditions.every(({ isDecided }) => isDecided),
  }));
  const byMap = fc.constantFrom(...maps).map((text) => ({ text, isDecided: true }));
  const oneOf = targets.length === 0 ? rule : fc.oneof({ weight: 8, arbitrary: rule }, { weight: 1, arbitrary: byMap });
  return fc.array(oneOf, { maxLength: most });
}

/** nft refuses rules that ask for two protocols: the first of such conditions. */
function compatible(conditions: readonly RandomRule[]): readonly RandomRule[] {
  const layers = [
    /\b(udp|tcp|icmp|icmpv6|l4proto|protocol|nexthdr|th)\b/,
    /\b(ip|ip6|exthdr|icmp|icmpv6|nfproto|protocol)\b/,
  ];
  const isRefused = layers.some((layer) => {
    const words = conditions.flatMap(({ text }) => layer.exec(text)?.[0] ?? []);
    return words.length > 1 && new Set(words).size > 1;
  });
  return isRefused ? conditions.slice(0, 1) : conditions;
}

const hooks = ["prerouting", "input", "forward", "postrouting"] as const;

function baseChain(of: Of): fc.Arbitrary<RandomRuleset> {
  return fc
    .record({
      hook: fc.constantFrom(...hooks),
      priority: fc.constantFrom(-350, -300, -150, 0, 0, 10),
      policy: fc.constantFrom("accept", "accept", "drop"),
      rules: rules(of, ["jump middle", "goto middle", "jump leaf", "notrack", "reject"], 6),
    })
    .map(({ hook, priority, policy, rules }) => {
      const texts = rules.map(({ text }) => (text.endsWith("reject") && hook === "postrouting" ? "counter" : text));
      return {
        text: `type filter hook ${hook} priority ${priority}; policy ${policy};\n  ${texts.join("\n  ")}`,
        isDecided: rules.every(({ isDecided }) => isDecided),
      };
    });
}

const sets: Readonly<Record<string, Of>> = {
  "ports { type inet_service; flags interval; elements = { 22, 80, 400-500 }; }": "any",
  "vnis { typeof @th,96,24; elements = { 4242, 7 }; }": "any",
  'names { type ifname; elements = { "eth0", "none" }; }': "any",
  "addresses { type ipv4_addr; flags interval; elements = { 10.1.0.2-10.1.0.3, 10.9.0.0/16 }; }": 4,
  "pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.1.0.0/29 . 53, 10.1.0.4 . 4000-5000 }; }": 4,
  "addresses6 { type ipv6_addr; flags interval; elements = { fd01::/120 }; }": 6,
};

function table(name: string): fc.Arbitrary<RandomRuleset> {
  return fc
    .constantFrom<["inet" | "ip" | "ip6", Of]>(["inet", "both"], ["inet", "both"], ["ip", 4], ["ip6", 6])
    .chain(([family, of]) =>
      fc
        .tuple(
          fc.array(baseChain(of), { minLength: 1, maxLength: 3 }),
          rules(of, ["jump leaf", "goto leaf"], 4),
          rules(of, [], 3),
        )
        .map(([bases, middle, leaf]) => {
          const chains = [
            ...Object.keys(sets).map((set) => `set ${set}`),
            chain("leaf", leaf),
            chain("middle", middle),
            "map verdicts { type inet_service : verdict; elements = { 80 : jump leaf, 443 : drop, 22 : accept }; }",
            ...bases.map(({ text }, index) => `chain base${index} {\n  ${text}\n}`),
          ];
          return {
            text: `table ${family} ${name} {\n${chains.join("\n")}\n}\n`,
            isDecided: [...bases, ...middle, ...leaf].every(({ isDecided }) => isDecided),
          };
        }),
    );
}

const chain = (name: string, rules: readonly RandomRule[]): string =>
  `chain ${name} {\n  ${rules.map(({ text }) => text).join("\n  ")}\n}`;

/** Tables `random0` and `random1`. */
export const randomRuleset: fc.Arbitrary<RandomRuleset> = fc
  .tuple(table("random0"), fc.option(table("random1")))
  .map(([one, other]) => ({
    text: one.text + (other?.text ?? ""),
    isDecided: one.isDecided && other?.isDecided !== false,
  }));
