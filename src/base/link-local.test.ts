import assert from "node:assert/strict";
import { it } from "node:test";
import { linkLocalOf } from "./link-local.ts";
import { mac } from "./mac.ts";

it("flips the universal bit and puts ff:fe in the middle (RFC 2464 §4)", () => {
  assert.equal(linkLocalOf(mac("34:56:78:9a:bc:de")), "fe80::3656:78ff:fe9a:bcde");
  assert.equal(linkLocalOf(mac("02:57:00:00:00:64")), "fe80::57:ff:fe00:64");
});
