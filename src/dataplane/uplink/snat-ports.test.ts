import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { snatPorts } from "./snat-ports.ts";

for (const [ports, low, high] of [
  [[], 32_768, 65_535],
  [[4789, 8472, 6081], 32_768, 65_535],
  [[32_768], 32_769, 65_535],
  [[65_535], 32_768, 65_534],
  [[40_000], 40_001, 65_535],
  [[60_000], 32_768, 59_999],
  [[60_000, 40_000, 40_001], 40_002, 59_999],
  [[49_152, 49_152], 32_768, 49_151],
] as const)
  it(`chooses ${low} to ${high} beside tunnels at ${ports.join(", ") || "no port"}`, () => {
    assert.deepEqual(snatPorts(ports), { low, high });
  });

it("never chooses a tunnel's port, and always the widest range there is", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 65_535 }), { maxLength: 60 }), (ports) => {
      const { low, high } = snatPorts(ports);
      assert.ok(low >= 32_768 && high <= 65_535 && low <= high);
      assert.ok(!ports.some((port) => port >= low && port <= high));
      const above = new Set(ports.filter((port) => port >= 32_768)).size;
      assert.ok(high - low + 1 >= (32_768 - above) / (above + 1));
    }),
  );
});

it("refuses when tunnels have every port", () => {
  assert.throws(() => snatPorts(Array.from({ length: 65_535 }, (_, index) => index + 1)), RangeError);
});
