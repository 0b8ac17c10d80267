import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ip } from "../base/ip.ts";
import { encapsulationNames, encapsulations, maxVni, noTunnel } from "./encapsulation.ts";
import { isTunnelOf, parseInterfaceName, tunnelName, tunnelPattern } from "./names.ts";
import type { Vni } from "./resources.ts";

for (const encapsulation of encapsulationNames.filter((name) => name !== noTunnel))
  describe(encapsulation, () => {
    const { modes, carriesEthernet, port, ipProtocols, devices, devicePrefix } = encapsulations[encapsulation];

    it("carries Ethernet frames where a layer-2 network may ask for it", () =>
      assert.ok(carriesEthernet || !modes.includes("l2")));

    it("is told from others on the underlay", () => assert.equal(port === 0, ipProtocols.length > 0));

    it("has device names that the kernel accepts and that tell the network", () => {
      const vni = maxVni as Vni;
      for (const transport of [{ encapsulation, port }, ...(port === 0 ? [] : [{ encapsulation, port: 65_535 }])])
        for (const peer of [ip("255.255.255.255"), ip("2001:db8::1")]) {
          const name = tunnelName(transport, vni, peer);
          assert.deepEqual(parseInterfaceName(name), { ok: true, value: name });
          assert.ok(isTunnelOf(vni, name) && !isTunnelOf(100 as Vni, name), name);
          assert.equal(tunnelPattern(transport, vni).endsWith("*"), devices === "per-vtep");
          assert.ok(name.startsWith(tunnelPattern(transport, vni).replace("*", "")), name);
        }
    });

    it("shares its device names with no other", () => {
      const same = encapsulationNames.filter((name) => encapsulations[name].devicePrefix === devicePrefix);
      assert.deepEqual(same, [encapsulation]);
    });
  });
