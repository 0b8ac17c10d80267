import assert from "node:assert/strict";
import { test } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { addressMap } from "./words.ts";

test("of prefixes within each other the narrower decides, and of the same the first", () => {
  const pairs = [
    [cidr("10.0.0.0/24"), ip("10.0.0.1")],
    [cidr("10.0.0.128/25"), ip("10.0.0.129")],
    [cidr("10.0.0.128/25"), ip("10.0.0.130")],
    [cidr("10.0.0.7/32"), ip("10.0.0.8")],
    [cidr("fd00::/64"), ip("fd00::1")],
  ] as const;
  assert.deepEqual([...addressMap("hosts", 4, pairs).elements].sort(), [
    "10.0.0.0/30 : 10.0.0.1",
    "10.0.0.128/25 : 10.0.0.129",
    "10.0.0.16/28 : 10.0.0.1",
    "10.0.0.32/27 : 10.0.0.1",
    "10.0.0.4/31 : 10.0.0.1",
    "10.0.0.6 : 10.0.0.1",
    "10.0.0.64/26 : 10.0.0.1",
    "10.0.0.7 : 10.0.0.8",
    "10.0.0.8/29 : 10.0.0.1",
  ]);
  assert.deepEqual(addressMap("hosts", 6, pairs).elements, ["fd00::/64 : fd00::1"]);
});
