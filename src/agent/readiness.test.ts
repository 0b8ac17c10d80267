/** What an agent reports to the server of what is in its kernel. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { ip } from "../base/ip.ts";
import { silentLogger } from "../base/logger.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import { DesiredNetwork, type NetworkSettings } from "../dataplane/desired.ts";
import { type KernelObject, type NodeDataplane, nameOfObject } from "../dataplane/index.ts";
import { Problems } from "../dataplane/report.ts";
import type { NetworkChange, Phase } from "../model/phase.ts";
import { parsePolicy } from "../model/policy/index.ts";
import { parseNetwork } from "../model/schema.ts";
import { networkSettings } from "../testing/desired.ts";
import type { DesiredState } from "./desired-state.ts";
import { Readiness } from "./readiness.ts";
import type { ReplicaChange } from "./replica.ts";

function desiredOf(tenant: string, settings: Partial<NetworkSettings> = {}): DesiredNetwork {
  return new DesiredNetwork(networkSettings({ name: "blue", tenant, ...settings }));
}

/** One agent with a network, whose kernel does what the test says. */
function agent(settings: Partial<NetworkSettings> = {}, fields: object = {}) {
  const network = unwrap(parseNetwork({ name: "blue", tenant: "acme", vni: 100, subnets: ["10.0.0.0/16"], ...fields }));
  const desired = desiredOf("acme", settings);
  desired.putRemote({
    id: "e2",
    mac: mac("02:00:00:00:00:02"),
    ips: [ip("10.0.0.2")],
    vtep: ip("192.0.2.2"),
    source: { name: "server", node: "h2" },
  });
  const pending = new Set<string>();
  const failed = new Set<string>();
  const objects = {
    get pending() {
      return [...pending];
    },
    hasFailed: (endpoint: string) => failed.has(endpoint),
  };
  const kernel = { desired, isCarried: true, isJoined: true, ports: { objects } };
  const clock = new ManualClock();
  const problems = new Problems(() => {}, clock);
  const calls: string[] = [];
  let answer = async (): Promise<{ pause: number }> => ({ pause: 0 });
  const readiness = new Readiness({
    desired: {
      networks: new Map([["blue", { network, effectiveMtu: 1450, placement: "own" }]]),
    } as unknown as DesiredState,
    dataplane: {
      problems,
      networks: new Map([["blue", desired]]),
      network: (name: string) => (name === "blue" ? { dataplane: kernel, isJoined: kernel.isJoined } : undefined),
    } as unknown as NodeDataplane,
    clock,
    logger: silentLogger,
    client: () => ({
      reportInPlace: async ({ networks = [] }) => {
        calls.push(
          networks.map(({ network: name, revision, problem }) => `${name} ${revision} ${problem}`.trim()).join(),
        );
        return (await answer()) as never;
      },
    }),
  });
  const told = (phase?: Phase): ReplicaChange => {
    const change =
      phase && ({ phase, since: 0, previous: [network], mtu: 1450, deviceMtu: 1450, leftBehind: [] } as NetworkChange);
    return { kind: "network", state: { network, effectiveMtu: 1450, placement: "own", change } };
  };
  const settled = async (): Promise<void> => {
    for (let turn = 0; turn < 10; turn++) {
      clock.advance(seconds(0));
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  };
  readiness.connected();
  return {
    readiness,
    kernel,
    desired,
    pending,
    failed,
    problems,
    clock,
    settled,
    tell: (revision: number, phase?: Phase) => readiness.told([told(phase)], revision),
    /** A pass of the dataplane; `during` happens in it. */
    async pass(during: () => void = () => {}): Promise<void> {
      readiness.onPass("began", undefined);
      readiness.onPass("ended", undefined);
      readiness.onPass("began", "acme");
      during();
      readiness.onPass("ended", "acme");
      await settled();
    },
    answerWith(make: () => Promise<{ pause: number }>): void {
      answer = make;
    },
    /** The calls since the last look. */
    take: () => calls.splice(0),
  };
}

it("tells a network's revision when a pass that began with it has ended, and nothing twice", async () => {
  const { pass, tell, take } = agent();
  await pass(() => tell(7));
  assert.deepEqual(take(), []);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  await pass();
  assert.deepEqual(take(), []);
});

it("what is left to do is not in place, unless it came during the pass", async () => {
  const { pass, tell, take, kernel } = agent();
  kernel.isCarried = false;
  tell(7);
  await pass();
  assert.deepEqual(take(), []);
  await pass(() => tell(8));
  assert.deepEqual(take(), ["blue 7"]);
  kernel.isCarried = true;
  await pass();
  assert.deepEqual(take(), ["blue 8"]);
});

it("a way to a peer's tenant that is yet to come holds the network back", async () => {
  const { pass, tell, take, kernel } = agent();
  kernel.isJoined = false;
  tell(7);
  await pass();
  assert.deepEqual(take(), []);
  kernel.isJoined = true;
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
});

it("what changes in a network touches its peers: each has an end to make", async () => {
  const gateway = "distributed";
  const { pass, tell, take, readiness } = agent({}, { gateway, peers: ["corp/far"] });
  const changed = (peers: readonly string[], revision: number): void => {
    const fields = { name: "far", tenant: "corp", vni: 101, subnets: ["10.1.0.0/16"], gateway, peers };
    const network = unwrap(parseNetwork(fields));
    readiness.told([{ kind: "network", state: { network, effectiveMtu: 1450, placement: "own" } }], revision);
  };
  // What is not there whole comes with that.
  changed(["acme/blue"], 6);
  await pass();
  assert.ok(!take().join().includes("blue"));
  tell(7);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  changed([], 8);
  await pass();
  assert.deepEqual(take(), []);
  changed(["acme/blue"], 9);
  await pass();
  assert.deepEqual(take(), ["blue 9"]);
});

it("what fails holds the network back and is told, until it is mended", async () => {
  const { pass, tell, take, problems } = agent();
  tell(7);
  problems.failed({ kind: "rows", network: "blue" }, new Error("ENOBUFS"));
  problems.failed({ kind: "bridge", network: "red" }, new Error("of no concern"));
  await pass();
  assert.deepEqual(take(), ["blue 0 rows of network blue: ENOBUFS"]);
  problems.cleared({ kind: "rows", network: "blue" });
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
});

it("what fails later takes the network out of place, until it is mended", async () => {
  const { pass, tell, take, problems } = agent();
  tell(7);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  const tunnel = { kind: "tunnel", tenant: "acme", network: "blue", key: "vx100" };
  problems.failed(tunnel, new Error("EBUSY"));
  await pass();
  assert.deepEqual(take(), ["blue 0 tunnel vx100 of network blue: EBUSY"]);
  problems.failed({ kind: "endpoint", network: "blue", key: "e1" }, new Error("gone"));
  problems.cleared(tunnel);
  await pass();
  assert.deepEqual(take(), ["blue 7 endpoint e1 of network blue: gone"]);
});

it("what comes and goes between passes is told at once, and puts nothing in place that no pass has", async () => {
  const { pass, tell, take, problems, readiness, settled } = agent();
  tell(7);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  tell(8);
  problems.failed({ kind: "VTEP address" }, new Error("192.0.2.1 is on no interface"));
  readiness.problemsChanged();
  await settled();
  assert.deepEqual(take(), ["blue 0 VTEP address: 192.0.2.1 is on no interface"]);
  problems.cleared({ kind: "VTEP address" });
  readiness.problemsChanged();
  await settled();
  assert.deepEqual(take(), ["blue 7"]);
});

const geneve = { encapsulation: "geneve", port: 6081 } as const;
const vxlan = { encapsulation: "vxlan", port: 4789 } as const;
const [here, there] = [ip("192.0.2.11"), ip("192.0.2.12")];
const byVxlan: Partial<NetworkSettings> = {};
const byGeneve: Partial<NetworkSettings> = { transport: geneve };
const withEgress: Partial<NetworkSettings> = { egress: true };

/** Objects that networks share, and which of them rest on them. Something of the network is behind one of two VTEPs. */
for (const [object, what, settings, holdsBack] of [
  [{ kind: "underlay" }, "over VXLAN", byVxlan, true],
  [{ kind: "underlay" }, "that is received by VXLAN, too", { transport: geneve, standby: [vxlan] }, true],
  [{ kind: "underlay" }, "over Geneve", byGeneve, false],
  [{ kind: "nexthops" }, "over VXLAN", byVxlan, true],
  [{ kind: "nexthops" }, "over Geneve", byGeneve, false],
  [{ kind: "nexthops" }, "that learns from what it receives", { learning: "data-plane" }, false],
  [{ kind: "nexthop", key: here }, "with something behind it", byVxlan, true],
  [{ kind: "nexthop", key: there }, "with nothing behind it", byVxlan, false],
  [{ kind: "nexthop", key: here }, "over Geneve", byGeneve, false],
  [{ kind: "VTEP address" }, "over VXLAN", byVxlan, true],
  [{ kind: "something new" }, "over Geneve", byGeneve, true],
  [{ kind: "something new", tenant: "acme" }, "of it", byVxlan, true],
  [{ kind: "tenant", tenant: "acme" }, "of it", byGeneve, true],
  [{ kind: "tenant", tenant: "other" }, "of another tenant", byVxlan, false],
  [{ kind: "uplink", tenant: "acme" }, "with egress", withEgress, true],
  [{ kind: "uplink", tenant: "acme" }, "that asks nothing of the host", byVxlan, false],
  [{ kind: "uplink", tenant: "other" }, "of another tenant", withEgress, false],
  [{ kind: "protection", tenant: "acme", network: "blue" }, "of its own", byVxlan, true],
  [{ kind: "network", tenant: "acme", network: "blue" }, "of its own", byVxlan, true],
] satisfies [KernelObject, string, Partial<NetworkSettings>, boolean][])
  it(`a problem of the ${nameOfObject(object)} ${holdsBack ? "holds back" : "is of no concern to"} a network ${what}`, async () => {
    const { pass, tell, take, problems, desired } = agent(settings);
    const source = { name: "server", node: "h2" } as const;
    desired.putRemote({ id: "e2", mac: mac("02:00:00:00:00:02"), ips: [], vtep: here, source });
    tell(7);
    problems.failed(object, new Error("ENOSPC"));
    await pass();
    assert.deepEqual(take(), [holdsBack ? `blue 0 ${nameOfObject(object)}: ENOSPC` : "blue 7"]);
  });

const ofNoConcern: readonly KernelObject[] = [
  { kind: "agent database" },
  { kind: "leftovers" },
  { kind: "leftovers", tenant: "acme" },
  { kind: "nexthop", key: "192.0.2.9" },
  { kind: "uplink", tenant: "other" },
  { kind: "removals", tenant: "acme" },
  { kind: "removal", tenant: "acme", network: "red" },
  // What leaves is another network. Where it is in the way of this one, that is a problem of this one.
  { kind: "removal", tenant: "acme", network: "blue" },
];
for (const object of ofNoConcern)
  it(`a problem of the ${nameOfObject(object)} does not`, async () => {
    const { pass, tell, take, problems } = agent();
    tell(7);
    problems.failed(object, new Error("ENOSPC"));
    await pass();
    assert.deepEqual(take(), ["blue 7"]);
  });

it("an MTU that nodes do not carry is told and holds back nothing", async () => {
  const { pass, tell, take, problems } = agent();
  tell(7);
  problems.failed({ kind: "MTU", network: "blue" }, new Error("too much"));
  await pass();
  assert.deepEqual(take(), ["blue 7 MTU of network blue: too much"]);
});

it("an endpoint that fails is told and holds back nothing else", async () => {
  const { pass, tell, take, problems, pending, failed } = agent();
  tell(7);
  pending.add("e1");
  await pass();
  assert.deepEqual(take(), []);
  problems.failed({ kind: "endpoint", network: "blue", key: "e1" }, new Error("the namespace is gone"));
  failed.add("e1");
  await pass();
  assert.deepEqual(take(), ["blue 7 endpoint e1 of network blue: the namespace is gone"]);
});

it("one call is under way at a time, and what changes meanwhile goes with the next", async () => {
  const { pass, tell, take, answerWith } = agent();
  const { promise, resolve } = Promise.withResolvers<{ pause: number }>();
  answerWith(() => promise);
  for (const revision of [7, 8, 9]) {
    tell(revision);
    await pass();
  }
  assert.deepEqual(take(), ["blue 7"]);
  resolve({ pause: 0 });
  await pass();
  assert.deepEqual(take(), ["blue 9"]);
});

it("waits as long as the server wishes, and tries again after a failure", async () => {
  const { pass, tell, take, answerWith, clock, settled } = agent();
  answerWith(async () => ({ pause: 5_000 }));
  tell(7);
  await pass();
  tell(8);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  answerWith(() => Promise.reject(new WeftError({ code: "unavailable", attempted: "report", reason: "gone" })));
  clock.advance(seconds(5));
  await settled();
  assert.deepEqual(take(), ["blue 8"]);
  answerWith(async () => ({ pause: 0 }));
  clock.advance(seconds(1));
  await settled();
  assert.deepEqual(take(), ["blue 8"]);
});

it("a phase, and the end of a change, need not wait; what comes beside them does", async () => {
  const { pass, tell, take, answerWith, clock, settled } = agent();
  answerWith(async () => ({ pause: 10_000 }));
  tell(7);
  await pass();
  tell(8);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  const phases = ["receive", "send", undefined] as const;
  for (const [index, phase] of phases.entries()) {
    const revision = 10 * (index + 1);
    tell(revision, phase);
    await pass();
    tell(revision + 1, phase);
    await pass();
    assert.deepEqual(take(), [`blue ${revision}`]);
  }
  clock.advance(seconds(10));
  await settled();
  assert.deepEqual(take(), ["blue 31"]);
});

it("a phase that comes while a call is under way does not wait after it", async () => {
  const { pass, tell, take, answerWith } = agent();
  const { promise, resolve } = Promise.withResolvers<{ pause: number }>();
  answerWith(() => promise);
  tell(7);
  await pass();
  tell(8, "receive");
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  resolve({ pause: 10_000 });
  await pass();
  assert.deepEqual(take(), ["blue 8"]);
});

it("a failure is waited for whatever there is to report", async () => {
  const { pass, tell, take, answerWith, readiness } = agent();
  answerWith(() => Promise.reject(new WeftError({ code: "unavailable", attempted: "report", reason: "gone" })));
  tell(7);
  await pass();
  for (const phase of ["receive", "send"] as const) {
    tell(8, phase);
    await pass();
    readiness.hasten();
    await pass();
  }
  assert.deepEqual(take(), ["blue 7"]);
});

for (const what of ["somebody waits for it", "there is another connection"])
  it(`does not wait any longer when ${what}`, async () => {
    const { pass, tell, take, answerWith, readiness, settled } = agent();
    answerWith(async () => ({ pause: 10_000 }));
    tell(7);
    await pass();
    take();
    if (what === "there is another connection") readiness.connected();
    tell(8);
    await pass();
    if (what === "somebody waits for it") {
      assert.deepEqual(take(), []);
      readiness.hasten();
      await settled();
    }
    assert.deepEqual(take(), ["blue 8"]);
  });

it("tells all anew on a new connection, and only what that one was told of: the server may have been restored", async () => {
  const { pass, tell, take, readiness } = agent();
  tell(70);
  await pass();
  readiness.connected();
  await pass();
  assert.deepEqual(take(), ["blue 70"]);
  tell(7);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
});

it("asks a server of a version that takes no reports once for each connection", async () => {
  const { pass, tell, take, readiness, answerWith } = agent();
  answerWith(() => Promise.reject(new WeftError({ code: "unsupported", attempted: "report", reason: "no such call" })));
  tell(7);
  await pass();
  tell(8);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  readiness.connected();
  tell(8);
  await pass();
  assert.deepEqual(take(), ["blue 8"]);
});

it("what changes in the policies of a tenant touches all of its networks, a member's its own network alone", async () => {
  const { pass, tell, take, readiness } = agent();
  const policy = unwrap(parsePolicy({ name: "p", tenant: "acme" }));
  const member = { id: "e1", tenant: "acme", network: "blue", ips: [], labels: {} };
  tell(7);
  await pass();
  assert.deepEqual(take(), ["blue 7"]);
  const touching: ReplicaChange[] = [
    { kind: "policy", policy },
    { kind: "policy-removed", tenant: "acme", name: "p" },
    { kind: "policies-removed", tenant: "acme" },
    { kind: "policy-member", member },
    { kind: "policy-member-removed", tenant: "acme", network: "blue", id: "e1" },
  ];
  for (const [index, change] of touching.entries()) {
    readiness.told([change], 8 + index);
    await pass();
    assert.deepEqual(take(), [`blue ${8 + index}`], change.kind);
  }
  readiness.told(
    [
      { kind: "policies-removed", tenant: "other" },
      { kind: "policy-member", member: { ...member, network: "red" } },
    ],
    20,
  );
  await pass();
  assert.deepEqual(take(), []);
});
