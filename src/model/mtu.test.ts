import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import type { IpFamily } from "../base/ip.ts";
import type { Encapsulation } from "./encapsulation.ts";
import { effectiveMtu, innerMtu, type MtuNetwork, overheadOf, usableMtu } from "./mtu.ts";
import type { UnderlayFamily } from "./resources.ts";

describe("overhead", () => {
  // What a capture of one packet of each kind shows between the underlay's Ethernet header and the inner IP header.
  const table: [Encapsulation, ipv4: number, ipv6: number][] = [
    ["vxlan", 50, 70],
    ["geneve", 50, 70],
    ["nvgre", 42, 62],
    ["gre", 28, 48],
    ["ipip", 20, 40],
    ["direct", 0, 0],
  ];
  for (const [encapsulation, ipv4, ipv6] of table)
    it(`${encapsulation}: ${ipv4} / ${ipv6}`, () => {
      assert.deepEqual(overheadOf({ encapsulation, underlay: "ipv4" }), {
        octets: ipv4,
        text: `${ipv4} octets of ${encapsulation} over ipv4`,
      });
      assert.equal(overheadOf({ encapsulation, underlay: "ipv6" }).octets, ipv6);
    });
});

describe("inner MTU", () => {
  const table: [number, Encapsulation, UnderlayFamily, IpFamily[], number | string][] = [
    [1500, "vxlan", "ipv4", [4, 6], 1450],
    [9000, "vxlan", "ipv6", [4], 8930],
    [65_536, "direct", "ipv4", [4], 65_535],
    [118, "vxlan", "ipv4", [4], 68],
    [
      117,
      "vxlan",
      "ipv4",
      [4],
      "an underlay MTU of 117 less 50 octets of vxlan over ipv4 leaves 67, and IPv4 needs 68",
    ],
    [1330, "vxlan", "ipv4", [4, 6], 1280],
    [
      1329,
      "vxlan",
      "ipv4",
      [4, 6],
      "an underlay MTU of 1329 less 50 octets of vxlan over ipv4 leaves 1279, and IPv6 needs 1280",
    ],
  ];
  for (const [underlayMtu, encapsulation, underlay, families, expected] of table)
    it(`${underlayMtu} by ${encapsulation} over ${underlay} for IPv${families.join(" and IPv")}`, () => {
      const result = innerMtu(underlayMtu, overheadOf({ encapsulation, underlay }), families);
      assert.equal(result.ok ? result.value : result.error, expected);
    });
});

describe("effective MTU", () => {
  const network: MtuNetwork = { name: "n", encapsulation: "vxlan", underlay: "ipv4", subnets: [cidr("10.0.0.0/24")] };
  const nodes = [
    { name: "h1", underlayMtu: 9000 },
    { name: "h2", underlayMtu: 1400 },
    { name: "h3", underlayMtu: 1500 },
  ];
  const table: [string, MtuNetwork, typeof nodes, number | string][] = [
    ["is what the smallest node leaves", network, nodes, 1350],
    ["is the network's own when it fits", { ...network, mtu: 1300 }, nodes, 1300],
    ["is the network's own when it just fits", { ...network, mtu: 1350 }, nodes, 1350],
    ["is the network's own without nodes", { ...network, mtu: 1300 }, [], 1300],
    [
      "needs a node otherwise",
      network,
      [],
      "compute the MTU of network n: no node has joined, so no underlay MTU is known — let a node join, or set mtu",
    ],
    [
      "names the node that is too small for the network's own",
      { ...network, mtu: 1351 },
      nodes,
      "compute the MTU of network n: node h2 has an underlay MTU of 1400; less 50 octets of vxlan over ipv4 that is 1350, and the network asks for 1351 — set the network's mtu to 1350 or less, or raise the underlay MTU of node h2 to 1401",
    ],
    [
      "names the node that is too small for the IP version",
      { ...network, subnets: [cidr("fd00::/64")] },
      [{ name: "h1", underlayMtu: 1300 }],
      "compute the MTU of network n: node h1: an underlay MTU of 1300 less 50 octets of vxlan over ipv4 leaves 1250, and IPv6 needs 1280 — raise the MTU of the underlay interface of node h1",
    ],
  ];
  for (const [name, candidate, among, expected] of table)
    it(name, () => {
      const result = effectiveMtu(candidate, among);
      assert.equal(result.ok ? result.value : `${result.error.message} — ${result.error.hint}`, expected);
    });
});

describe("usable MTU", () => {
  const network: MtuNetwork = { name: "n", encapsulation: "vxlan", underlay: "ipv4", subnets: [cidr("10.0.0.0/24")] };
  const ipv6 = [cidr("fd00::/64")];
  const node = (underlayMtu: number) => ({ name: "h2", underlayMtu });
  const table: [string, MtuNetwork, ReturnType<typeof node>[], number, RegExp | undefined][] = [
    ["is the effective one where that fits", network, [node(1400)], 1350, undefined],
    ["is what the nodes carry where more is asked for", { ...network, mtu: 1450 }, [node(1400)], 1350, /asks for 1450/],
    [
      "is what IPv6 needs where the nodes carry less",
      { ...network, subnets: ipv6 },
      [node(1300)],
      1280,
      /IPv6 needs 1280/,
    ],
    ["is what IPv6 needs, not what is asked for", { ...network, subnets: ipv6, mtu: 1400 }, [node(1300)], 1280, /1280/],
    ["is what is asked for where there is no node", { ...network, mtu: 1400 }, [], 1400, undefined],
    ["is the least where there is no node and nothing is asked for", network, [], 68, /no node has joined/],
  ];
  for (const [name, candidate, nodes, mtu, problem] of table)
    it(name, () => {
      assert.equal(usableMtu(candidate, nodes), mtu);
      const effective = effectiveMtu(candidate, nodes);
      if (problem === undefined) assert.deepEqual(effective, { ok: true, value: mtu });
      else assert.match(effective.ok ? "" : effective.error.message, problem);
    });
});
