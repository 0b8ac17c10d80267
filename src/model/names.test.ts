import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ip } from "../base/ip.ts";
import { maxVni } from "./encapsulation.ts";
import {
  bridgeName,
  endpointOfPort,
  endpointPortName,
  isTunnelOf,
  namespaceName,
  parseEndpointId,
  parseInstanceName,
  parseInterfaceName,
  parseNetworkName,
  parseTenantName,
  type TextParser,
  tenantOfNamespace,
  tunnelName,
} from "./names.ts";
import type { Vni } from "./resources.ts";

const tables: [string, TextParser<string>, accepted: string[], refused: string[]][] = [
  [
    "tenant name",
    parseTenantName,
    ["a", "0", "blue", "b-1", "a".repeat(40)],
    ["", "-a", "a-", "Blue", "a_b", "a.b", "ä", "a\n", "a".repeat(41)],
  ],
  ["network name", parseNetworkName, ["a".repeat(63)], ["a".repeat(64)]],
  [
    "endpoint id",
    parseEndpointId,
    ["0123456789ab"],
    ["", "0123456789aB", "0123456789a", "0123456789abc", "0123456789ag"],
  ],
  ["instance name", parseInstanceName, ["weft", "lab1h2"], ["", "lab-1", "1lab", "Weft", "a".repeat(17)]],
  [
    "interface name",
    parseInterfaceName,
    ["eth0", "a".repeat(15), "~x", "eth0.100", "...", "é"],
    // The second byte of "à" is 0xa0, white space to the kernel.
    ["", "a".repeat(16), "é".repeat(8), ".", "..", "a/b", "a:b", "a b", "a\t", "a\0", "eth%d", "all", "default", "à"],
  ],
];
for (const [name, parse, accepted, refused] of tables)
  describe(name, () => {
    for (const text of accepted) it(`accepts ${JSON.stringify(text)}`, () => assert.equal(parse(text).ok, true));
    for (const text of refused) it(`refuses ${JSON.stringify(text)}`, () => assert.equal(parse(text).ok, false));
  });

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
