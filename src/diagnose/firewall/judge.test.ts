import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ip } from "../../base/ip.ts";
import { type Judgement, judge } from "./judge.ts";
import { fromHost, type Hook, type Packet, throughHost, toHost } from "./packet.ts";
import { nftRuleset, type Ruleset } from "./ruleset.ts";

const packet: Packet = {
  source: ip("10.1.0.2"),
  destination: ip("10.1.0.1"),
  protocol: 17,
  sourcePort: 9,
  destinationPort: 53,
  in: "eth0",
  mark: 0,
  conntrack: "new",
};

type Expression = Readonly<Record<string, unknown>>;
const [accept, drop, reject, back, limit] = [
  { accept: null },
  { drop: null },
  { reject: null },
  { return: null },
  { limit: { rate: 1, per: "second" } },
] as const;
const port = (right: unknown): Expression => ({
  match: { op: "==", left: { payload: { protocol: "udp", field: "dport" } }, right },
});
const jump = (target: string): Expression => ({ jump: { target } });
const goto = (target: string): Expression => ({ goto: { target } });
const setMark = (value: unknown): Expression => ({ mangle: { key: { meta: { key: "mark" } }, value } });
const mark = (right: number): Expression => ({ match: { op: "==", left: { meta: { key: "mark" } }, right } });
const state = (right: number): Expression => ({ match: { op: "in", left: { ct: { key: "state" } }, right } });

interface ChainDraft {
  readonly family?: string;
  readonly base?: Readonly<Record<string, unknown>>;
  readonly rules: readonly (readonly Expression[])[];
}

const at = (hook: string, more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> => ({
  type: "filter",
  hook,
  prio: 0,
  policy: "accept",
  ...more,
});

/** Each chain in table `t`; rules are numbered in each from 1 on. */
function rulesetOf(chains: Readonly<Record<string, ChainDraft>>, sets: readonly unknown[] = []): Ruleset {
  const objects = Object.entries(chains).flatMap(([name, { family = "inet", base = {}, rules }]) => [
    { chain: { family, table: "t", name, ...base } },
    ...rules.map((expr, index) => ({ rule: { family, table: "t", chain: name, handle: index + 1, expr } })),
  ]);
  const text = { rules: new Map(), devices: new Map([["netdev t ingress", ["eth0"]]]), dormant: new Set<string>() };
  return { ...nftRuleset([...objects, ...sets], text), unread: [] };
}

const placeOf = ({ chain, rule }: NonNullable<Judgement["by"]>): string => `${chain.name} ${rule?.handle ?? "policy"}`;

/** `drop by input 1`, then what may drop it before. */
function told(ruleset: Ruleset, hooks: readonly Hook[] = toHost, facts: Partial<Packet> = {}): string {
  const { verdict, by, maybe } = judge(ruleset, { ...packet, ...facts }, hooks);
  return [
    verdict,
    ...(by ? [`by ${placeOf(by)}`] : []),
    ...(maybe.length ? [`maybe ${maybe.map(placeOf).join(", ")}`] : []),
  ].join(" ");
}

const input = (...rules: readonly (readonly Expression[])[]): Readonly<Record<string, ChainDraft>> => ({
  input: { base: at("input"), rules },
});
const strict = (...rules: readonly (readonly Expression[])[]): Readonly<Record<string, ChainDraft>> => ({
  input: { base: at("input", { policy: "drop" }), rules },
});

describe("what comes of a packet", () => {
  const rows: readonly (readonly [what: string, chains: Readonly<Record<string, ChainDraft>>, told: string])[] = [
    ["no rule", {}, "accept"],
    ["the policy", strict(), "drop by input policy"],
    ["accepted before the policy", strict([port(53), accept]), "accept"],
    ["a condition that does not hold", input([port(54), drop]), "accept"],
    ["a sure drop", input([port(53), drop]), "drop by input 1"],
    ["a rejection", input([port(53), reject]), "reject by input 1"],
    ["accepted before a drop", input([accept], [drop]), "accept"],
    ["a drop within a limit", input([limit, drop]), "unknown maybe input 1"],
    ["accepted within a limit, else dropped", input([limit, accept], [drop]), "unknown maybe input 2"],
    ["accepted within a limit, else by policy", strict([limit, accept]), "unknown maybe input policy"],
    ["dropped either way", input([limit, drop], [drop]), "drop by input 2 maybe input 1"],
    ["rejected or dropped", input([limit, reject], [drop]), "drop by input 2 maybe input 1"],
    ["a limit on nothing", input([limit, { counter: null }], [drop]), "drop by input 2"],
    ["a chain that drops", { ...input([jump("a")]), a: { rules: [[drop]] } }, "drop by a 1"],
    ["a chain that returns", { ...input([jump("a")], [drop]), a: { rules: [[back], [accept]] } }, "drop by input 2"],
    ["a chain that ends", { ...input([jump("a")], [drop]), a: { rules: [] } }, "drop by input 2"],
    [
      "perhaps a chain that only returns",
      { ...input([limit, jump("a")], [drop]), a: { rules: [] } },
      "drop by input 2",
    ],
    [
      "perhaps a chain that accepts",
      { ...input([limit, jump("a")], [drop]), a: { rules: [[accept]] } },
      "unknown maybe input 2",
    ],
    ["perhaps a chain that drops", { ...input([limit, jump("a")]), a: { rules: [[drop]] } }, "unknown maybe a 1"],
    ["behind a goto comes the policy", { ...strict([goto("a")], [accept]), a: { rules: [] } }, "drop by input policy"],
    [
      "behind a goto in a chain comes what follows the jump",
      { ...input([jump("a")], [drop]), a: { rules: [[goto("b")], [accept]] }, b: { rules: [[back]] } },
      "drop by input 2",
    ],
    [
      "perhaps returned from",
      { ...strict([jump("a")], [accept]), a: { rules: [[limit, back], [drop]] } },
      "unknown maybe a 2",
    ],
    ["a mark", input([setMark(1)], [mark(1), drop]), "drop by input 2"],
    ["a mark in a rule that ends", input([setMark(1), port(54), accept], [mark(1), drop]), "drop by input 2"],
    ["a mark within a limit", input([limit, setMark(1)], [mark(1), drop]), "unknown maybe input 2"],
    ["a mark in a chain", { ...input([jump("a")], [mark(3), drop]), a: { rules: [[setMark(3)]] } }, "drop by input 2"],
    ["a map", input([{ vmap: { key: { meta: { key: "mark" } }, data: { set: [[0, drop]] } } }]), "drop by input 1"],
    [
      "a map without the key",
      input([{ vmap: { key: { meta: { key: "mark" } }, data: { set: [[1, drop]] } } }, drop], [accept]),
      "accept",
    ],
    [
      "a map by what is not known",
      input(
        [
          {
            vmap: {
              key: { meta: { key: "skuid" } },
              data: {
                set: [
                  [1, drop],
                  [2, accept],
                ],
              },
            },
          },
        ],
        [drop],
      ),
      "unknown maybe input 1, input 2",
    ],
    ["to a program", input([{ queue: { num: 5 } }]), "unknown maybe input 1"],
    ["a match of iptables'", input([{ xt: { type: "match", name: "string" } }, drop]), "unknown maybe input 1"],
    ["a target of iptables'", input([{ xt: { type: "target", name: "TARPIT" } }]), "unknown maybe input 1"],
    ["a statement that is to come", input([{ melt: null }], [mark(0), drop]), "unknown maybe input 1, input 2"],
    ["a log, a counter", input([{ log: null }, { counter: "named" }, drop]), "drop by input 1"],
    ["a chain that is gone", input([jump("gone")]), "unknown maybe input 1"],
    ["a loop", { ...input([jump("a")]), a: { rules: [[jump("a")]] } }, "unknown maybe a 1"],
    ["a set that is not listed", input([port("@ports"), drop]), "unknown maybe input 1"],
    [
      "two chains at a hook",
      { ...input([accept]), later: { base: at("input", { prio: 5 }), rules: [[drop]] } },
      "drop by later 1",
    ],
    [
      "by priority",
      { ...input([mark(1), drop]), sooner: { base: at("input", { prio: -5 }), rules: [[setMark(1)]] } },
      "drop by input 1",
    ],
    ["at a hook before", { ...input(), before: { base: at("prerouting"), rules: [[drop]] } }, "drop by before 1"],
    ["of another IP version", { input: { family: "ip6", base: at("input"), rules: [[drop]] } }, "accept"],
    ["of bridges", { input: { family: "bridge", base: at("input"), rules: [[drop]] } }, "accept"],
    ["of its interface", { ingress: { family: "netdev", base: at("ingress"), rules: [[drop]] } }, "drop by ingress 1"],
    [
      "exempt from tracking",
      {
        raw: { base: at("prerouting", { prio: -300 }), rules: [[{ notrack: null }]] },
        ...input([state(64), drop]),
      },
      "drop by input 1",
    ],
    [
      "exempt too late",
      { raw: { base: at("prerouting"), rules: [[{ notrack: null }]] }, ...input([state(64), drop]) },
      "accept",
    ],
  ];
  for (const [what, chains, expected] of rows)
    it(`${what}: ${expected}`, () => assert.equal(told(rulesetOf(chains)), expected));
});

it("judges what the host sends, forwards, and bridges where they pass", () => {
  const dropAt = (hook: string, more: Partial<ChainDraft> = {}) =>
    rulesetOf({ here: { base: at(hook), rules: [[drop]], ...more } });
  assert.equal(told(dropAt("output"), fromHost), "drop by here 1");
  assert.equal(told(dropAt("input"), fromHost), "accept");
  assert.equal(told(dropAt("forward"), throughHost), "drop by here 1");
  assert.equal(told(dropAt("forward"), toHost), "accept");
  assert.equal(told(dropAt("forward", { family: "bridge" }), ["bridge forward"]), "drop by here 1");
  assert.equal(told(dropAt("forward"), ["bridge forward"]), "accept");
  const ingress = rulesetOf({ ingress: { family: "netdev", base: at("ingress"), rules: [[drop]] } });
  assert.equal(told(ingress, toHost, { in: "eth1" }), "accept");
  const { in: _, ...byAny } = packet;
  assert.equal(judge(ingress, byAny, toHost).verdict, "unknown");
});

describe("translation", () => {
  const translate = rulesetOf({
    nat: { base: at("prerouting", { type: "nat", prio: -100 }), rules: [[port(53), { dnat: { addr: "10.9.9.9" } }]] },
    ...input([port(53), drop]),
  });
  it("is told, and what follows does not know the new destination", () => {
    const { verdict, translations } = judge(translate, packet, toHost);
    assert.equal(verdict, "unknown");
    assert.deepEqual(
      translations.map(({ of, is, chain }) => [of, is, chain.name]),
      [["destination", "yes", "nat"]],
    );
  });
  it("is of the first packet of a connection alone", () => {
    const { conntrack: _, ...unknown } = packet;
    assert.equal(told(translate, toHost, { conntrack: "established" }), "drop by input 1");
    assert.deepEqual(
      judge(translate, unknown, toHost).translations.map(({ is }) => is),
      ["unknown"],
    );
  });
  it("by a map may not be", () => {
    const byMap = { dnat: { addr: { map: { key: { meta: { key: "mark" } }, data: "@m" } } } };
    const ruleset = rulesetOf({ nat: { base: at("prerouting", { type: "nat", prio: -100 }), rules: [[byMap]] } });
    assert.deepEqual(
      judge(ruleset, packet, toHost).translations.map(({ is }) => is),
      ["unknown"],
    );
  });
});

describe("named sets", () => {
  const set = (more: object) => [{ set: { family: "inet", table: "t", name: "ports", type: "inet_service", ...more } }];
  it("that were read are searched", () => {
    assert.equal(
      told(rulesetOf(input([port("@ports"), drop]), set({ elem: [{ range: [50, 60] }] }))),
      "drop by input 1",
    );
    assert.equal(told(rulesetOf(input([port("@ports"), drop]), set({ elem: [] }))), "accept");
  });
  it("that were not are asked for by key, in the words of nft", () => {
    const ruleset = rulesetOf(input([port("@ports"), drop]), set({}));
    const { verdict, questions } = judge(ruleset, packet, toHost);
    assert.equal(verdict, "unknown");
    assert.deepEqual(questions, [{ family: "inet", table: "t", set: "ports", key: "53" }]);
    const answered = judge(ruleset, packet, toHost, new Map([["inet t ports 53", { is: "yes" }]]));
    assert.equal(answered.verdict, "drop");
    assert.deepEqual(answered.questions, []);
  });
  it("are asked with each type of key, and not with what is not known", () => {
    const left = { concat: ["saddr", "daddr"].map((field) => ({ payload: { protocol: "ip", field } })) };
    const keys = { concat: [...left.concat, { meta: { key: "iifname" } }, { meta: { key: "mark" } }] };
    const types = ["ipv4_addr", "ipv4_addr", "ifname", "mark"];
    const ruleset = rulesetOf(
      input([{ match: { op: "==", left: keys, right: "@ports" } }, drop]),
      set({ type: types }),
    );
    const asked = (facts: Partial<Packet>) =>
      judge(ruleset, { ...packet, ...facts }, toHost).questions.map(({ key }) => key);
    assert.deepEqual(asked({}), ['10.1.0.2 . 10.1.0.1 . "eth0" . 0']);
    const { mark: _, ...unmarked } = packet;
    assert.deepEqual(judge(ruleset, unmarked, toHost).questions, []);
  });
});
