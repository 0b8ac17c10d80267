import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ip } from "../base/ip.ts";
import { encapsulationNames, encapsulations, maxVni, noTunnel } from "../model/encapsulation.ts";
import { parseInterfaceName } from "../model/names.ts";
import type { Vni } from "../model/resources.ts";
import type { Link } from "../netlink/index.ts";
import {
  aliasOf,
  bridgeName,
  endpointOfPort,
  endpointPortName,
  isOwnLink,
  isTunnelOf,
  leavingGroup,
  namespaceName,
  nexthopRange,
  tenantOfNamespace,
  tunnelName,
  tunnelPattern,
  weftGroup,
} from "./kernel-names.ts";

describe("names of kernel objects", () => {
  const vni = 100 as Vni;
  const highest = maxVni as Vni;
  const vxlan = { encapsulation: "vxlan", port: 4789 } as const;
  const peer = ip("192.0.2.1");
  const names: [name: string, expected: string][] = [
    [bridgeName(vni), "br100"],
    [tunnelName(vxlan, vni, peer), "vx100"],
    [tunnelName(vxlan, highest, peer), "vx16777215"],
    [tunnelName({ ...vxlan, port: 80 }, highest, peer), "vx16777215p0050"],
    [tunnelName({ encapsulation: "geneve", port: 6081 }, vni, ip("192.0.2.1")), "g2s-c0000201"],
    [tunnelName({ encapsulation: "geneve", port: 80 }, vni, ip("192.0.2.1")), "g2s-0v5ebl3w"],
    [tunnelName({ encapsulation: "nvgre", port: 0 }, highest, ip("255.0.0.1")), "n9zldr-ff000001"],
    [tunnelName({ encapsulation: "gre", port: 0 }, vni, ip("2001:db8::1")), "r2s-h7t5rmr1"],
    [tunnelName({ encapsulation: "ipip", port: 0 }, vni, ip("2001:db8::2")), "i2s-36qrghx6"],
    [endpointPortName("0123456789ab"), "ve0123456789ab"],
  ];
  for (const [name, expected] of names)
    it(`${expected} is one that the kernel accepts`, () => {
      assert.equal(name, expected);
      assert.deepEqual(parseInterfaceName(name), { ok: true, value: name });
    });

  it("of tunnels tell their network", () => {
    for (const [name] of names.filter(([each]) => /^vx100$|^[gr]2s-/.test(each)))
      assert.ok(isTunnelOf(vni, name), name);
    for (const name of ["vx1001", "vx10", "g2t-c0000201", "g2s", "br100", "ve0123456789ab"])
      assert.ok(!isTunnelOf(vni, name), name);
  });

  it("of tenants can be read back", () =>
    assert.equal(tenantOfNamespace("weft", namespaceName("weft", "blue-1")), "blue-1"));

  it("tell peers apart: no two of 50,000 IPv6 addresses share one", () => {
    const seen = new Set<string>();
    for (let host = 1; host <= 50_000; host++)
      seen.add(tunnelName({ encapsulation: "gre", port: 0 }, vni, ip(`2001:db8::${host.toString(16)}`)));
    assert.equal(seen.size, 50_000);
  });

  it("a namespace of another instance, or of nobody, is none of them", () => {
    for (const name of ["weft2-blue", "blue", "weft-", "weft-Blue", "weft"])
      assert.equal(tenantOfNamespace("weft", name), undefined);
  });
});

it("tells the endpoint of a port by its name", () => {
  assert.equal(endpointOfPort(endpointPortName("87dbce68f18a")), "87dbce68f18a");
  for (const name of ["vx100", "veth0", "ve87dbce68f18", "ve87dbce68f18ab", "br100"])
    assert.equal(endpointOfPort(name), undefined, name);
});

for (const encapsulation of encapsulationNames.filter((name) => name !== noTunnel))
  it(`names the devices of ${encapsulation} as the kernel accepts it, so that they tell the network`, () => {
    const { port, devices } = encapsulations[encapsulation];
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

it("knows its own devices by their group, not by name or alias", () => {
  const link: Link = {
    index: 5,
    name: "vx100",
    mtu: 1450,
    up: true,
    carrier: true,
    group: weftGroup,
    alias: aliasOf("weft"),
    info: {},
  };
  assert.ok(isOwnLink(link));
  assert.ok(isOwnLink({ ...link, group: leavingGroup }));
  assert.ok(!isOwnLink({ ...link, group: 0 }));
});

it("numbers the nexthops of an instance in a range that its name alone decides", () => {
  const { first, last } = nexthopRange("weft");
  assert.deepEqual(nexthopRange("weft"), { first, last });
  assert.equal(last - first + 1, 1 << 14);
});

it("keeps all ranges above the identifiers that people choose, and within 32 bits", () => {
  for (let number = 0; number < 2_000; number++) {
    const { first, last } = nexthopRange(`instance${number}`);
    assert.equal(first % (1 << 14), 0);
    assert.ok(first >= 0x4000_0000 && last <= 0x7fff_ffff, `${first}…${last}`);
  }
});

it("gives the instances of one machine ranges of their own", () => {
  const names = ["weft", ...Array.from({ length: 16 }, (_, index) => `labh${index + 1}`)];
  assert.equal(new Set(names.map((name) => nexthopRange(name).first)).size, names.length);
});
