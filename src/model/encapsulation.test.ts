import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encapsulationNames, encapsulations, noTunnel } from "./encapsulation.ts";

for (const encapsulation of encapsulationNames.filter((name) => name !== noTunnel))
  describe(encapsulation, () => {
    const { modes, carriesEthernet, port, ipProtocols, devicePrefix } = encapsulations[encapsulation];

    it("carries Ethernet frames where a layer-2 network may ask for it", () =>
      assert.ok(carriesEthernet || !modes.includes("l2")));

    it("is told from others on the underlay", () => assert.equal(port === 0, ipProtocols.length > 0));

    it("shares its device names with no other", () => {
      const same = encapsulationNames.filter((name) => encapsulations[name].devicePrefix === devicePrefix);
      assert.deepEqual(same, [encapsulation]);
    });
  });
