import assert from "node:assert/strict";
import { it } from "node:test";
import { ip } from "./ip.ts";
import { isLinkLocal, linkLocalOf } from "./link-local.ts";
import { mac } from "./mac.ts";

it("flips the universal bit and puts ff:fe in the middle (RFC 2464 §4)", () => {
  assert.equal(linkLocalOf(mac("34:56:78:9a:bc:de")), "fe80::3656:78ff:fe9a:bcde");
  assert.equal(linkLocalOf(mac("02:57:00:00:00:64")), "fe80::57:ff:fe00:64");
});

it("knows what is of one link by ten bits", () => {
  const addresses = ["fe80::1", "febf:ffff::1", "fec0::1", "fe7f::1", "2001:db8::fe80", "169.254.0.1"];
  assert.deepEqual(
    addresses.filter((address) => isLinkLocal(ip(address))),
    ["fe80::1", "febf:ffff::1"],
  );
});
