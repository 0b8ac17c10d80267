import assert from "node:assert/strict";
import { test } from "node:test";
import { unwrap } from "../base/result.ts";
import { parsePolicy } from "../model/policy/index.ts";
import { parseNetwork } from "../model/schema.ts";
import { KeptPolicies } from "./kept-policies.ts";
import type { ReplicaChange } from "./replica.ts";

const removed: ReplicaChange = { kind: "policies-removed", tenant: "acme" };
const others: ReplicaChange = { kind: "policies-removed", tenant: "other" };
const policy: ReplicaChange = { kind: "policy", policy: unwrap(parsePolicy({ name: "p", tenant: "acme" })) };
const network: ReplicaChange = {
  kind: "network",
  state: {
    network: unwrap(parseNetwork({ name: "web", tenant: "acme", vni: 7, subnets: ["10.0.0.0/24"] })),
    effectiveMtu: 1450,
    placement: "own",
  },
};
const acme = new Set(["acme"]);

test("policies of a tenant with unclaimed endpoints hold on until the server speaks of the tenant again", () => {
  const kept = new KeptPolicies();
  assert.deepEqual(kept.keep([removed, others], acme), [others]);
  assert.deepEqual(kept.settle([others]), [others]);
  assert.deepEqual(kept.settle([network]), [removed, network]);
  assert.deepEqual(kept.settle([network]), [network]);
});

test("policies that the server tells anew take the place of those that were kept", () => {
  const kept = new KeptPolicies();
  kept.keep([removed], acme);
  assert.deepEqual(kept.settle([policy, network]), [policy, network]);
  assert.deepEqual(kept.gone("acme"), []);
});

test("policies go with the last endpoint, and where the server knows that the node hosts the tenant", () => {
  const kept = new KeptPolicies();
  assert.deepEqual(kept.keep([network, removed], acme), [network, removed]);
  assert.deepEqual(kept.gone("acme"), []);
  kept.keep([removed], acme);
  assert.deepEqual(kept.gone("acme"), [removed]);
});
