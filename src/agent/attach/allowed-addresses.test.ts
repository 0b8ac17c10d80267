import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAllowedAddresses } from "./allowed-addresses.ts";

const parse = (prefix: string, mac = "") => parseAllowedAddresses([{ prefix, mac }], "attach");

test("an address is allowed alone, a prefix as a whole, each with a MAC or without", () => {
  assert.deepEqual(parse("10.1.0.100"), [{ prefix: "10.1.0.100/32" }]);
  assert.deepEqual(parse("fd00::7", "00:00:5E:00:01:33"), [{ prefix: "fd00::7/128", mac: "00:00:5e:00:01:33" }]);
  assert.deepEqual(parse("10.1.8.0/24"), [{ prefix: "10.1.8.0/24" }]);
});

test("what is no address, everything, a group's MAC or too many is refused with what is allowed", () => {
  for (const [prefix, mac] of [
    ["10.1.0", ""],
    ["10.1.0.1/24", ""],
    ["0.0.0.0/0", ""],
    ["::/0", ""],
    ["10.1.0.1", "ff:ff:ff:ff:ff:ff"],
    ["10.1.0.1", "00:00:00:00:00:00"],
  ] as const)
    assert.throws(() => parse(prefix, mac), /attach: allowed address: found .*; allowed: /, `${prefix} ${mac}`);
  const many = Array.from({ length: 65 }, () => ({ prefix: "10.1.0.1", mac: "" }));
  assert.throws(() => parseAllowedAddresses(many, "attach"), /found 65 of them; allowed: 64 at most/);
});
