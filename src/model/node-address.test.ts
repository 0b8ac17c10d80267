import assert from "node:assert/strict";
import { test } from "node:test";
import { cidr } from "../base/cidr.ts";
import { nodeAddressProblems } from "./node-address.ts";
import { formatProblem } from "./problem.ts";

test("where nodes answer nobody else has the address, and endpoints have one to ask with", () => {
  const problemsOf = (names: boolean, ...subnets: string[]): string[] =>
    [...nodeAddressProblems({ names, subnets: subnets.map(cidr) })].map(formatProblem);
  assert.deepEqual(problemsOf(true, "10.0.0.0/24", "fd00::/64"), []);
  assert.deepEqual(problemsOf(false, "169.254.0.0/16"), []);
  assert.deepEqual(problemsOf(true, "169.254.0.0/16"), [
    "subnets[0]: found 169.254.0.0/16; allowed: with names a prefix without 169.254.169.254, at which nodes answer",
  ]);
  assert.deepEqual(problemsOf(true, "fd00::/64"), [
    "names: found true; allowed: false where there is no IPv4 subnet: nodes answer at an IPv4 address",
  ]);
});
