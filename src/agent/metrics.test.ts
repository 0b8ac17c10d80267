import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { type NodeDataplane, Problems } from "../dataplane/index.ts";
import type { Agent } from "./agent.ts";
import { metricsText } from "./metrics.ts";

test("tells problems and repairs as a whole and by kind of object", () => {
  const problems = new Problems(() => {}, new ManualClock());
  for (const key of ["a", "b"]) problems.failed({ kind: "endpoint", network: "web", key }, new Error("gone"));
  problems.failed({ kind: "MTU", network: "web" }, new Error("too large"));
  const dataplane = {
    problems,
    writes: 0,
    repairs: 5,
    repairsByKind: new Map([
      ["FDB entry", 4],
      ["tunnel", 1],
    ]),
    dropped: new Map([["mac", 3]]),
    networks: new Map(),
  } as Partial<NodeDataplane> as NodeDataplane;
  const agent = {
    dataplane,
    problems: new Problems(() => {}, new ManualClock()),
    desired: { own: new Map() },
    serverState: { state: "connected", error: "" },
    revision: 7,
    inSync: false,
  } as Partial<Record<keyof Agent, unknown>> as Agent;
  const samples = metricsText(agent)
    .split("\n")
    .filter((line) => /^weft_agent_(problems|repairs|dropped)/.test(line));
  assert.deepEqual(samples, [
    "weft_agent_repairs_total 5",
    'weft_agent_repairs_by_kind_total{kind="FDB entry"} 4',
    'weft_agent_repairs_by_kind_total{kind="tunnel"} 1',
    "weft_agent_problems 3",
    'weft_agent_problems_by_kind{kind="endpoint"} 2',
    'weft_agent_problems_by_kind{kind="MTU"} 1',
    'weft_agent_dropped_frames_total{kind="mac"} 3',
  ]);
});
