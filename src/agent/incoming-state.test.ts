import assert from "node:assert/strict";
import { test } from "node:test";
import type { NetworkState } from "../api/convert.ts";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import { parsePolicy } from "../model/policy/index.ts";
import type { Vni } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import { type HeldState, IncomingState } from "./incoming-state.ts";
import type { SessionChange } from "./session.ts";

const nothing = { policies: [], members: [] };
const held: HeldState = {
  endpointIdsOf: (network) => (network === "blue" ? ["e1", "e2"] : ["r1"]),
  blockCidrsOf: (network) => (network === "blue" ? [cidr("10.0.0.0/26"), cidr("10.0.0.64/26")] : []),
  nodeNames: () => ["h1", "h2"],
  podNames: () => [],
  policiesOf: (tenant) => (tenant === "acme" ? { policies: ["p1", "p2"], members: ["e1", "e2"] } : nothing),
};
const endpoint = (id: string, network = "blue"): SessionChange => ({
  kind: "endpoint",
  endpoint: {
    id,
    network,
    node: "h1",
    mac: mac("02:00:00:00:00:01"),
    ips: [ip("10.0.0.1")],
    attachment: "netns",
    sequence: 1,
  },
});
const block = (prefix: string): SessionChange => ({
  kind: "block",
  block: { network: "blue", node: "h1", cidr: cidr(prefix), generation: 1 },
});
const node = (name: string): SessionChange => ({
  kind: "node",
  node: { name, vtepAddresses: {}, underlayMtu: 1500, generation: 1 },
});

const policy = (name: string): SessionChange => ({
  kind: "policy",
  policy: unwrap(parsePolicy({ name, tenant: "acme" })),
});
const member = (id: string): SessionChange => ({
  kind: "policy-member",
  member: { id, tenant: "acme", network: "blue", ips: [ip("10.0.0.1")], labels: {} },
});

const large: NetworkState = {
  network: unwrap(parseNetwork({ name: "large", tenant: "acme", vni: 9 as Vni, subnets: ["10.0.0.0/8"] })),
  effectiveMtu: 1450,
  placement: "own",
  change: undefined,
};

/** Each change in a word or two. */
function brief(changes: readonly SessionChange[]): string[] {
  return changes.map((change) => {
    if (change.kind === "endpoint") return `endpoint ${change.endpoint.id}`;
    if (change.kind === "endpoint-removed") return `endpoint-removed ${change.network} ${change.id}`;
    if (change.kind === "block") return `block ${change.block.cidr}`;
    if (change.kind === "block-removed") return `block-removed ${change.cidr}`;
    if (change.kind === "network") return `network ${change.state.network.name}`;
    if (change.kind === "network-removed") return `network-removed ${change.name}`;
    if (change.kind === "policy") return `policy ${change.policy.name}`;
    if (change.kind === "policy-removed") return `policy-removed ${change.tenant} ${change.name}`;
    if (change.kind === "policy-member") return `policy-member ${change.member.id}`;
    if (change.kind === "policy-member-removed") return `policy-member-removed ${change.tenant} ${change.id}`;
    if (change.kind === "policies-removed") return `policies-removed ${change.tenant}`;
    if (change.kind === "pod") return `pod ${change.pod.name}`;
    if (change.kind === "pod-removed") return `pod-removed ${change.name}`;
    if (change.kind === "node") return `node ${change.node.name}`;
    return change.kind === "node-removed" ? `node-removed ${change.name}` : change.kind;
  });
}

test("collects changes in order until the state is complete", () => {
  const incoming = new IncomingState();
  incoming.begin();
  incoming.add([node("h3"), endpoint("e3")]);
  incoming.add([{ kind: "endpoint-removed", network: "blue", id: "e1" }]);
  assert.deepEqual(brief(incoming.complete(held)), ["node h3", "endpoint e3", "endpoint-removed blue e1"]);
  assert.deepEqual(brief(incoming.complete(held)), []);
});

test("what is sent whole and not named again is gone; what is not sent whole stays", () => {
  const incoming = new IncomingState();
  incoming.begin();
  incoming.add([{ kind: "nodes-begin" }, node("h2"), { kind: "network-begin", name: "blue" }, endpoint("e2")]);
  incoming.add([endpoint("e3"), endpoint("r9", "red"), block("10.0.0.64/26"), block("10.0.0.128/26")]);
  assert.deepEqual(brief(incoming.complete(held)), [
    "node h2",
    "endpoint e2",
    "endpoint e3",
    "endpoint r9",
    "block 10.0.0.64/26",
    "block 10.0.0.128/26",
    "endpoint-removed blue e1",
    "block-removed 10.0.0.0/26",
    "node-removed h1",
  ]);
});

test("a whole state counts for its own step alone", () => {
  const incoming = new IncomingState();
  incoming.begin();
  incoming.add([{ kind: "nodes-begin" }, node("h1"), node("h2"), { kind: "network-begin", name: "blue" }]);
  incoming.complete(held);
  incoming.add([endpoint("e7")]);
  assert.deepEqual(brief(incoming.complete(held)), ["endpoint e7"]);
});

test("what a broken stream left incomplete is void", () => {
  const incoming = new IncomingState();
  incoming.begin();
  incoming.add([{ kind: "nodes-begin" }, { kind: "network-begin", name: "blue" }, endpoint("e9")]);
  incoming.begin();
  incoming.add([endpoint("e3")]);
  assert.deepEqual(brief(incoming.complete(held)), ["endpoint e3"]);
});

test("a network that comes in parts is partial until the last; what changes tell holds against parts", () => {
  const incoming = new IncomingState();
  incoming.begin();
  incoming.add([{ kind: "network-follows", state: large }]);
  assert.deepEqual(brief(incoming.complete(held)), ["network large"]);
  const [following] = incoming.following;
  assert.ok(following !== undefined && incoming.partial.has("large"));
  assert.deepEqual(brief(incoming.part(following, [endpoint("l1", "large")], false)), ["endpoint l1"]);
  incoming.add([endpoint("l2", "large"), { kind: "endpoint-removed", network: "large", id: "l3" }]);
  incoming.add([endpoint("e4"), { kind: "network", state: { ...large, effectiveMtu: 1400 } }]);
  assert.deepEqual(brief(incoming.complete(held)), [
    "endpoint l2",
    "endpoint-removed large l3",
    "endpoint e4",
    "network large",
  ]);
  const last = incoming.part(
    following,
    [2, 3, 4].map((number) => endpoint(`l${number}`, "large")),
    true,
  );
  assert.deepEqual(brief(last), ["endpoint l4", "network large"]);
  assert.deepEqual(last.at(-1), { kind: "network", state: { ...large, effectiveMtu: 1400 } });
  assert.equal(incoming.partial.size, 0);
  assert.ok(!incoming.isFollowing(following));
});

test("what a broken stream left partial is partial until it is sent whole, or gone if it is not sent", () => {
  const incoming = new IncomingState();
  incoming.begin();
  incoming.add([{ kind: "network-follows", state: large }, endpoint("l1", "large")]);
  incoming.complete(held);
  incoming.begin();
  assert.ok(incoming.partial.has("large"));
  incoming.add([{ kind: "network-begin", name: "large" }, { kind: "network", state: large }, endpoint("l2", "large")]);
  assert.deepEqual(brief(incoming.complete({ ...held, endpointIdsOf: () => ["l1"] })), [
    "network large",
    "endpoint l2",
    "endpoint-removed large l1",
  ]);
  assert.equal(incoming.partial.size, 0);

  incoming.add([{ kind: "network-follows", state: large }]);
  incoming.complete(held);
  incoming.begin();
  incoming.add([endpoint("e5")]);
  assert.deepEqual(brief(incoming.complete(held)), ["endpoint e5", "network-removed large"]);
  assert.equal(incoming.partial.size, 0);
});

test("policies of a tenant that are sent whole void the others, and members that are continued stay", () => {
  const incoming = new IncomingState();
  incoming.begin();
  incoming.add([{ kind: "policies-begin", tenant: "acme" }, policy("p2"), member("e2"), member("e3")]);
  assert.deepEqual(brief(incoming.complete(held)), [
    "policy p2",
    "policy-member e2",
    "policy-member e3",
    "policy-removed acme p1",
    "policy-member-removed acme e1",
  ]);
  incoming.begin();
  incoming.add([{ kind: "policies-resumed", tenant: "acme" }, policy("p3"), member("e3")]);
  incoming.add([{ kind: "policy-member-removed", tenant: "acme", network: "", id: "e2" }]);
  assert.deepEqual(brief(incoming.complete(held)), [
    "policy p3",
    "policy-member e3",
    "policy-member-removed acme e2",
    "policy-removed acme p1",
    "policy-removed acme p2",
  ]);
});

test("pods that are told anew void the others; those that come later void none", () => {
  const incoming = new IncomingState();
  const pod = (name: string): SessionChange => ({
    kind: "pod",
    pod: { name, node: "h1", title: "", networks: ["web"], ips: [] },
  });
  const known = { ...held, nodeNames: () => [], podNames: () => ["p1", "p2"] };
  incoming.begin();
  incoming.add([{ kind: "nodes-begin" }, pod("p2"), pod("p3")]);
  assert.deepEqual(brief(incoming.complete(known)), ["pod p2", "pod p3", "pod-removed p1"]);
  incoming.add([pod("p4"), { kind: "pod-removed", name: "p2" }]);
  assert.deepEqual(brief(incoming.complete(known)), ["pod p4", "pod-removed p2"]);
});

test("of policies that come and go before the state is complete nothing is void by itself", () => {
  const incoming = new IncomingState();
  incoming.add([
    { kind: "policies-begin", tenant: "acme" },
    policy("p1"),
    { kind: "policies-removed", tenant: "acme" },
  ]);
  assert.deepEqual(brief(incoming.complete(held)), ["policy p1", "policies-removed acme"]);
  incoming.add([{ kind: "policies-begin", tenant: "acme" }, policy("p9")]);
  incoming.begin();
  incoming.add([policy("p2")]);
  assert.deepEqual(brief(incoming.complete(held)), ["policy p2"]);
});
