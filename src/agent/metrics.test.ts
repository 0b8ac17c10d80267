import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { type NodeDataplane, Problems } from "../dataplane/index.ts";
import type { Agent } from "./agent.ts";
import { metricsText } from "./metrics.ts";

test("tells problems and repairs as a whole and by kind of object", async () => {
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
    bandwidthUse: async () => [],
  } as Partial<NodeDataplane> as NodeDataplane;
  const agent = {
    dataplane,
    problems: new Problems(() => {}, new ManualClock()),
    desired: { own: new Map() },
    serverState: { state: "connected", error: "" },
    revision: 7,
    inSync: false,
  } as Partial<Record<keyof Agent, unknown>> as Agent;
  const samples = (await metricsText(agent))
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

test("tells what met limits of networks, and not of each endpoint", async () => {
  const use = { direction: "send", octets: 1e9, packets: 7e5, limited: 12, dropped: 3, waiting: 1464 } as const;
  const problems = new Problems(() => {}, new ManualClock());
  const dataplane = {
    problems,
    writes: 0,
    repairs: 0,
    repairsByKind: new Map(),
    dropped: new Map(),
    networks: new Map(),
    bandwidthUse: async () => [
      { ...use, network: "web" },
      { ...use, network: "web", endpoint: "5f0c2a9be871" },
    ],
  } as Partial<NodeDataplane> as NodeDataplane;
  const agent = {
    dataplane,
    problems: new Problems(() => {}, new ManualClock()),
    revision: 7,
    inSync: true,
    desired: { own: new Map() },
    serverState: { state: "connected", error: "" },
  } as Partial<Record<keyof Agent, unknown>> as Agent;
  const samples = (await metricsText(agent)).split("\n").filter((line) => line.startsWith("weft_agent_bandwidth"));
  assert.deepEqual(samples, [
    'weft_agent_bandwidth_octets_total{network="web",direction="send"} 1000000000',
    'weft_agent_bandwidth_packets_total{network="web",direction="send"} 700000',
    'weft_agent_bandwidth_limited_total{network="web",direction="send"} 12',
    'weft_agent_bandwidth_dropped_total{network="web",direction="send"} 3',
    'weft_agent_bandwidth_waiting_octets{network="web",direction="send"} 1464',
  ]);
});
