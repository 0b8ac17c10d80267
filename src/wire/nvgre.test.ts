import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { codecSuite } from "./codec-suite.test.ts";
import type { GreHeader } from "./gre.ts";
import { nvgreHeader, nvgreKey, readNvgreKey } from "./nvgre.ts";

codecSuite(nvgreKey, {
  examples: [
    {
      name: "a virtual subnet and a flow",
      bytes: `
        12 34 56  # VSID
        78        # FlowID`,
      value: { vsid: 0x123456, flowId: 0x78 },
    },
    { name: "the highest numbers", bytes: "ff ff ff ff", value: { vsid: 0xffffff, flowId: 255 } },
  ],
  unfit: [
    {
      name: "VSID 16777216",
      value: { vsid: 16777216, flowId: 0 },
      message: /^nvgre key\.vsid is 16777216, not a number of 24 bits$/,
    },
    {
      name: "FlowID 256",
      value: { vsid: 1, flowId: 256 },
      message: /^nvgre key\.flowId is 256, not a number of 8 bits$/,
    },
  ],
});

const sent: GreHeader = { protocolType: "transparent-ethernet-bridging", key: 0x12345678 };

test("a GRE header of NVGRE", () => {
  assert.deepEqual(nvgreHeader({ vsid: 0x123456, flowId: 0x78 }), sent);
  assert.deepEqual(readNvgreKey(sent), { vsid: 0x123456, flowId: 0x78 });
  assert.throws(() => nvgreHeader({ vsid: -1, flowId: 0 }), { name: "RangeError" });
});

for (const [what, header] of Object.entries<GreHeader>({
  "no key": { protocolType: "transparent-ethernet-bridging" },
  "an IP packet": { ...sent, protocolType: "ipv4" },
  "a checksum": { ...sent, checksum: 0 },
  "a sequence number": { ...sent, sequence: 0 },
}))
  test(`${what}: not of NVGRE`, () => assert.equal(readNvgreKey(header), undefined));

test("every VSID and FlowID survives", () => {
  fc.assert(
    fc.property(fc.record({ vsid: fc.nat(0xffffff), flowId: fc.nat(0xff) }), (key) =>
      assert.deepEqual(readNvgreKey(nvgreHeader(key)), { ...key }),
    ),
  );
});
