import assert from "node:assert/strict";
import { test } from "node:test";
import type { End, Step, StepName, StepResult } from "./step.ts";
import { judgeAnswers, judgeSeen, judgeTables, type Leg, untilMissed, untilStop } from "./verdict.ts";

/** `name`, with `!` where it stops the packet and `?` where that is not known; `=3`: so many were seen there. */
function step(node: string, text: string): Step {
  const [, name = "", mark, seen] = /^([a-z-]+)([!?]?)(?:=(\d))?$/.exec(text) ?? [];
  const result: StepResult = mark === "!" ? "stops" : mark === "?" ? "unknown" : "passes";
  return {
    ...{ node, name: name as StepName, at: "eth0", result, detail: `${name} says so` },
    ...(seen === undefined ? {} : { observed: { seen: Number(seen), first: 1 } }),
  };
}

function leg(node: string, steps: string, end: End["kind"] | "fails" = "delivered"): Leg {
  const handover = { to: "192.0.2.9", from: "192.0.2.1", network: "web", timeToLive: 64 } as unknown;
  return {
    node,
    steps: steps === "" ? [] : steps.split(" ").map((each) => step(node, each)),
    ...(end === "fails"
      ? { failure: "it is away" }
      : { end: (end === "handover" ? { kind: end, handover } : { kind: end }) as End }),
    clockOffset: 0,
    clockUncertainty: 0,
  };
}

const tables = [
  ["all passes", [leg("h1", "port tunnel", "handover"), leg("h2", "bridge")], "arrives", /nodes h1 and h2/],
  [
    "one stops",
    [leg("h1", "port protection! tunnel", "handover"), leg("h2", "policy!")],
    "stops",
    /node h1, protection at eth0/,
  ],
  [
    "the other node tells nothing",
    [leg("h1", "port", "handover"), leg("h2", "", "fails")],
    "unknown",
    /h2.*it is away/,
  ],
  ["it goes to a VTEP of somebody else", [leg("h1", "port", "handover")], "leaves", /VTEP 192\.0\.2\.9/],
  ["it goes outside", [leg("h1", "port", "outside")], "leaves", /outside/],
  ["tables end", [leg("h1", "port bridge?", "stopped")], "unknown", /node h1, bridge/],
  ["something may drop it", [leg("h1", "port host-firewall?")], "arrives", /node h1/],
] as const;

for (const [what, legs, verdict, reason] of tables)
  test(`by tables: ${what}`, () => {
    const judged = judgeTables(legs);
    assert.equal(judged.verdict, verdict);
    assert.match(judged.reason, reason);
  });

const seen = [
  [
    "all come by",
    [leg("h1", "port=3 tunnel=3", "handover"), leg("h2", "container=3")],
    "arrives",
    /^3 of 3 packets did$/,
  ],
  [
    "some are lost",
    [leg("h1", "port=3 tunnel=3"), leg("h2", "container=2")],
    "arrives",
    /2 of 3.*of 3 packets 1 were lost/,
  ],
  [
    "a table says why",
    [leg("h1", "port=3 policy! bridge tunnel=0")],
    "stops",
    /node h1, policy .*packets were seen at port eth0 of node h1, and none at tunnel eth0 of node h1/,
  ],
  [
    "a table elsewhere says something else",
    [leg("h1", "port=3 bridge tunnel=0 policy!")],
    "stops",
    /^packets were seen at port .*none at tunnel .*no table that is read explains it/,
  ],
  [
    "what may drop it is named where nothing surely does",
    [leg("h1", "tunnel=3 host-firewall? underlay-interface=0")],
    "stops",
    /node h1, host-firewall/,
  ],
  [
    "between nodes",
    [leg("h1", "underlay-interface=3", "handover"), leg("h2", "underlay=0 decapsulation=0")],
    "stops",
    /something between nodes h1 and h2/,
  ],
  [
    "a table is wrong",
    [leg("h1", "port=3 policy! tunnel=3", "handover"), leg("h2", "container=3")],
    "arrives",
    /3 of 3/,
  ],
  [
    "behind the last place",
    [leg("h1", "container=3 delivery!")],
    "stops",
    /node h1, delivery .*packets were seen at container/,
  ],
  [
    "nothing leaves",
    [leg("h1", "container-firewall! container=0 port=0")],
    "stops",
    /container-firewall .*no packet was seen/,
  ],
  ["to the outside", [leg("h1", "port=3 underlay-interface=3", "outside")], "leaves", /outside/],
] as const;

for (const [what, legs, verdict, reason] of seen)
  test(`by packets: ${what}`, () => {
    const judged = judgeSeen(legs, 3);
    assert.equal(judged.verdict, verdict);
    assert.match(judged.reason, reason);
  });

test("answers to what did not arrive are told of by tables alone", () => {
  const there = { verdict: "stops", reason: "" } as const;
  assert.equal(judgeAnswers([leg("h2", "container=0 port=0")], 3, there).verdict, "unknown");
  assert.equal(judgeAnswers([leg("h2", "container=0 policy! port=0")], 3, there).verdict, "stops");
});

test("who gets what is asked and says nothing does not answer", () => {
  const there = { verdict: "arrives", reason: "" } as const;
  const judged = judgeAnswers([leg("h2", "container=0 port=0")], 3, there);
  assert.deepEqual(judged.verdict, "stops");
  assert.match(judged.reason, /node h2: the other end does not answer/);
  assert.match(judgeAnswers([leg("h2", "container=3 protection! tunnel=0")], 3, there).reason, /protection/);
});

test("what comes behind the stop is not shown", () => {
  const names = (legs: readonly Leg[]): string[] =>
    legs.flatMap(({ node, steps }) => steps.map(({ name }) => `${node} ${name}`));
  const legs = [leg("h1", "port=3 policy! tunnel=0"), leg("h2", "bridge container=0")];
  assert.deepEqual(names(untilStop(legs)), ["h1 port", "h1 policy"]);
  assert.deepEqual(names(untilMissed(legs)), ["h1 port", "h1 policy", "h1 tunnel"]);
  const whole = [leg("h1", "port=3 tunnel=3"), leg("h2", "container=3 delivery")];
  assert.deepEqual(untilStop(whole), whole);
  assert.deepEqual(untilMissed(whole), whole);
});
