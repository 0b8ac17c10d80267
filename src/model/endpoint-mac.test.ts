import assert from "node:assert/strict";
import { it } from "node:test";
import { networkMac } from "./endpoint-mac.ts";
import type { Vni } from "./resources.ts";

it("gives a network a locally administered MAC that holds its VNI", () => {
  assert.equal(networkMac(1 as Vni), "02:57:00:00:00:01");
  assert.equal(networkMac(0x12_34_56 as Vni), "02:57:00:12:34:56");
  assert.equal(networkMac(0xff_ff_ff as Vni), "02:57:00:ff:ff:ff");
});
