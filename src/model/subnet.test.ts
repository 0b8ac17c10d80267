import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { reservedReason } from "./subnet.ts";

const anycast = "a reserved anycast address (RFC 2526 §2)";
const router = "the subnet-router anycast address (RFC 4291 §2.6.1)";
const table: [string, string, string | undefined][] = [
  ["10.0.0.0/24", "10.0.0.0", "the network address"],
  ["10.0.0.0/24", "10.0.0.1", undefined],
  ["10.0.0.0/24", "10.0.0.254", undefined],
  ["10.0.0.0/24", "10.0.0.255", "the broadcast address"],
  ["10.0.0.0/23", "10.0.0.255", undefined],
  ["fd00::/64", "fd00::", router],
  ["fd00::/64", "fd00::1", undefined],
  ["fd00::/64", "fd00::fdff:ffff:ffff:ff7f", undefined],
  ["fd00::/64", "fd00::fdff:ffff:ffff:ff80", anycast],
  ["fd00::/64", "fd00::fdff:ffff:ffff:ffff", anycast],
  ["fd00::/64", "fd00::ffff:ffff:ffff:ffff", undefined],
  ["fd00::/112", "fd00::ff7f", undefined],
  ["fd00::/112", "fd00::ff80", anycast],
  ["fd00::/112", "fd00::ffff", anycast],
  ["fd00::/120", "fd00::80", anycast],
  ["fd00::/121", "fd00::7f", undefined],
  ["fd00::/126", "fd00::", router],
  ["10.0.0.0/31", "10.0.0.0", undefined],
  ["10.0.0.0/31", "10.0.0.1", undefined],
  ["fd00::/127", "fd00::", undefined],
  ["fd00::/127", "fd00::1", undefined],
];
describe("reserved addresses", () => {
  for (const [subnet, address, expected] of table)
    it(`${address} in ${subnet}: ${expected ?? "free"}`, () =>
      assert.equal(reservedReason(cidr(subnet), ip(address)), expected));
});
