import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  bridgeName,
  endpointOfPort,
  endpointPortName,
  maxVni,
  namespaceName,
  parseEndpointId,
  parseInstanceName,
  parseInterfaceName,
  parseNetworkName,
  parseTenantName,
  type TextParser,
  tenantOfNamespace,
  tunnelName,
  vniOfBridge,
  vniOfTunnel,
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
  it("can be read back", () => {
    for (const vni of [1, 100, maxVni] as Vni[]) {
      assert.equal(vniOfBridge(bridgeName(vni)), vni);
      assert.equal(vniOfTunnel(tunnelName(vni)), vni);
    }
    assert.equal(endpointOfPort(endpointPortName("0123456789ab")), "0123456789ab");
    assert.equal(tenantOfNamespace("weft", namespaceName("weft", "blue-1")), "blue-1");
  });

  it("are names that the kernel accepts", () => {
    for (const name of [bridgeName(maxVni as Vni), tunnelName(maxVni as Vni), endpointPortName("0123456789ab")])
      assert.deepEqual(parseInterfaceName(name), { ok: true, value: name });
  });

  const foreign = [
    "br0",
    "br01",
    "br16777216",
    "br-1",
    "br1x",
    "br",
    "vx0",
    "vxlan0",
    "veth1",
    "ve0123456789a",
    "eth0",
  ];
  for (const name of foreign)
    it(`${name} is none of them`, () =>
      assert.deepEqual(
        [vniOfBridge(name), vniOfTunnel(name), endpointOfPort(name)],
        [undefined, undefined, undefined],
      ));

  it("a namespace of another instance, or of nobody, is none of them", () => {
    for (const name of ["weft2-blue", "blue", "weft-", "weft-Blue", "weft"])
      assert.equal(tenantOfNamespace("weft", name), undefined);
  });
});
