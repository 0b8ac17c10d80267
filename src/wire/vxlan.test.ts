import assert from "node:assert/strict";
import { test } from "node:test";
import { annotated, codecSuite } from "./codec-suite.test.ts";
import { vxlan } from "./vxlan.ts";

codecSuite(vxlan, {
  examples: [
    {
      name: "VNI 100",
      bytes: `
        08 00 00 00  # I flag
        00 00 64     # VNI
        00`,
      value: { vni: 100 },
    },
    { name: "the highest VNI", bytes: "08 00 00 00 ff ff ff 00", value: { vni: 16777215 } },
  ],
  refused: [
    {
      name: "no I flag",
      bytes: "00 00 00 00 00 00 64 00",
      error: { header: "vxlan", what: "vniPresent is 0, not 1", offset: 0 },
    },
  ],
  unfit: [
    { name: "VNI 16777216", value: { vni: 16777216 }, message: /^vxlan\.vni is 16777216, not a number of 24 bits$/ },
  ],
});

test("reserved bits are ignored on receipt and sent as zero", () => {
  const decoded = vxlan.decode(annotated("ff ff ff ff 00 00 64 ff"));
  assert.deepEqual(decoded, { ok: true, value: { vni: 100 } });
  const target = new Uint8Array(8).fill(0xff);
  vxlan.encode({ vni: 100 }, target);
  assert.deepEqual(target, annotated("08 00 00 00 00 00 64 00"));
});
