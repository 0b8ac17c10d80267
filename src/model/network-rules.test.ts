import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { blockPrefixLength, defaultGroup, isMulticast } from "./network-rules.ts";
import { formatProblem } from "./problem.ts";
import type { Vni } from "./resources.ts";
import { parseNetwork, parseNetworkDraft } from "./schema.ts";

const base = { name: "web", tenant: "blue", vni: 5000, subnets: ["10.0.0.0/24"] };

function problemsOf(fields: object): string[] {
  const parsed = parseNetwork({ ...base, ...fields });
  return parsed.ok ? [] : parsed.error.map(formatProblem);
}

const l3 = { mode: "l3" };
const six = { underlay: "ipv6" };
const multicast = { discovery: "multicast" };
const listed = { discovery: "static", vteps: ["192.0.2.7"] };

const allowed: object[] = [
  ...["vxlan", "geneve", "nvgre"].flatMap((encapsulation) => [{ encapsulation }, { encapsulation, ...six }]),
  ...["vxlan", "geneve", "gre", "ipip"].flatMap((encapsulation) => [
    { ...l3, encapsulation },
    { ...l3, encapsulation, ...six, subnets: ["10.0.0.0/24", "fd00::/64"], crossSubnet: true },
  ]),
  { ...l3, encapsulation: "direct" },
  { ...l3, encapsulation: "direct", ...six, subnets: ["10.0.0.0/24", "fd00::/64"] },
  multicast,
  { ...multicast, multicast: { group: "239.1.2.3", ttl: 255, interface: "eth1" } },
  { ...multicast, ...six, multicast: { group: "ff05::1" } },
  listed,
  { ...listed, encapsulation: "geneve" },
  { learning: "data-plane" },
  { learningLimit: 4096, ageing: 10 },
  { egress: true, hostAccess: true, gateways: ["10.0.0.1"] },
  { ...l3, egress: true, hostAccess: true },
  { ...l3, blockSize: 4, subnets: ["10.0.0.0/30"] },
  { ...l3, blockAssignment: "declared" },
  { dhcp: {}, subnets: ["169.254.1.0/24"] },
  { dhcp: {}, subnets: ["169.254.169.0/24"] },
  { subnets: ["169.254.0.0/24"] },
];

const refused: [fields: object, ...problems: string[]][] = [
  [
    { dhcp: { metadata: true }, subnets: ["169.254.169.0/24"] },
    "subnets[0]: found 169.254.169.0/24; allowed: with dhcp.metadata a prefix without 169.254.169.254, at which nodes answer",
  ],
  [
    { dhcp: { metadata: true }, subnets: ["fd00::/64"] },
    "dhcp.metadata: found true; allowed: false where there is no IPv4 subnet: nodes answer at an IPv4 address",
  ],
  [
    { dhcp: {}, subnets: ["fd00::/64", "169.254.0.0/16"] },
    "subnets[1]: found 169.254.0.0/16; allowed: with dhcp a prefix without 169.254.0.1, which nodes answer DHCP from where they are no gateway",
  ],
  [
    { encapsulation: "gre" },
    "encapsulation: found gre, which carries IP packets alone; allowed: vxlan, geneve, nvgre with mode l2",
  ],
  [
    { ...l3, encapsulation: "nvgre" },
    "encapsulation: found nvgre, which carries Ethernet frames; allowed: vxlan, geneve, gre, ipip, direct with mode l3",
  ],
  [{ encapsulation: "nvgre", port: 4789 }, "port: found 4789; allowed: none: nvgre does not run over UDP"],
  [{ port: 0 }, "port: found 0; allowed: a UDP port, 1 to 65535"],
  [
    { encapsulation: "nvgre", vni: 4095 },
    "vni: found 4095; allowed: a VSID, 4096 to 16777214, with nvgre (RFC 7637 §3)",
  ],
  [
    { ...multicast, encapsulation: "geneve" },
    "discovery: found multicast; allowed: multicast with mode l2 and encapsulation vxlan alone",
  ],
  [
    { ...listed, ...l3 },
    "discovery: found static; allowed: control-plane with mode l3: the server gives out the blocks",
    "learning: found data-plane; allowed: control-plane with mode l3, in which no MAC addresses are learned",
  ],
  [
    { ...multicast, learning: "control-plane" },
    "learning: found control-plane; allowed: data-plane with multicast discovery: hosts without weft tell the server nothing",
  ],
  [
    { gateway: "distributed", learning: "data-plane" },
    "gateway: found distributed with data-plane learning; allowed: control-plane discovery and learning: every node has the gateway's MAC address, and the answer to what one of them asks ends at another",
  ],
  [
    { ...listed, gateway: "distributed" },
    "gateway: found distributed with static discovery; allowed: control-plane discovery and learning: every node has the gateway's MAC address, and the answer to what one of them asks ends at another",
  ],
  [
    { ...l3, gateway: "distributed", encapsulation: "direct" },
    "gateway: found distributed with encapsulation direct; allowed: a tunnel between all nodes: hosts know no way back to what other networks would send over their link",
  ],
  [
    { ...l3, gateway: "distributed", crossSubnet: true },
    "gateway: found distributed with crossSubnet; allowed: a tunnel between all nodes: hosts know no way back to what other networks would send over their link",
  ],
  [
    { gateway: "distributed", nodeSelector: { zone: "a" } },
    "gateway: found distributed with nodeSelector; allowed: that of the tenant: a node that hosts one of its routed networks routes to all of them",
  ],
  [{ peers: ["red/net"] }, "peers[0]: found red/net; allowed: none without gateway: distributed, which routes to them"],
  [
    { gateway: "distributed", peers: ["red/net", "blue/net", "red/net"] },
    "peers[1]: found blue/net, of its own tenant; allowed: networks of other tenants: those of one with gateway: distributed are routed with each other without that",
    "peers[2]: found red/net; allowed: each network once",
  ],
  ...["web", "/web", "red/", "red/a/b", "Red/web"].map((peer): [object, string] => [
    { gateway: "distributed", peers: [peer] },
    `peers[0]: found "${peer}"; allowed: a tenant and a network of it, such as red/web`,
  ]),
  [
    { ...l3, vlanTags: true },
    "vlanTags: found true; allowed: false with mode l3, which routes packets and carries no frames",
  ],
  [
    { learning: "data-plane", arpSuppression: true },
    "arpSuppression: found true; allowed: false with data-plane learning: nodes do not know what they would have to answer",
  ],
  [
    { learning: "data-plane", flood: "none" },
    "flood: found none; allowed: head-end with data-plane learning, which learns from what is flooded",
  ],
  [
    { learning: "data-plane", flood: "groups" },
    "flood: found groups; allowed: head-end with data-plane learning, which learns from what is flooded",
  ],
  [{ multicast: { ttl: 2 } }, "multicast: found settings; allowed: none with discovery other than multicast"],
  [
    { ...multicast, multicast: { group: "ff05::1" } },
    "multicast.group: found ff05::1; allowed: an IPv4 multicast address",
  ],
  [{ ...multicast, multicast: { ttl: 0 } }, "multicast.ttl: found 0; allowed: hops, 1 to 255"],
  [{ discovery: "static" }, "vteps: found none; allowed: one VTEP at least with static discovery"],
  [{ vteps: ["192.0.2.7"] }, "vteps: found a list; allowed: none with discovery other than static"],
  [
    { ...listed, vteps: ["192.0.2.7", "2001:db8::1", "192.0.2.7"] },
    "vteps[1]: found 2001:db8::1; allowed: an IPv4 address, as the underlay is",
    "vteps[2]: found 192.0.2.7; allowed: each VTEP once",
  ],
  [
    { ...multicast, learningLimit: 1 },
    "learningLimit: found 1; allowed: 0 but with mode l2 and control-plane learning, which publishes what nodes learn",
  ],
  [
    { ...l3, gateways: ["10.0.0.1"] },
    "gateways: found 10.0.0.1; allowed: none with mode l3: each block has a gateway of its own",
  ],
  [{ ...l3, blockSize: 48 }, "blockSize: found 48; allowed: a power of two, 4 to 65536"],
  [
    { blockAssignment: "declared" },
    "blockAssignment: found declared; allowed: automatic with mode l2, which has no blocks",
  ],
  [
    { ...l3, blockSize: 512 },
    "subnets[0]: found 10.0.0.0/24; allowed: a prefix with room for a block of 512 addresses",
  ],
  [
    { crossSubnet: true },
    "crossSubnet: found true; allowed: false but with mode l3 and an encapsulation for the other nodes",
  ],
  [
    { ...l3, encapsulation: "direct", subnets: ["fd00::/64"] },
    "subnets[0]: found fd00::/64 over an IPv4 underlay; allowed: IPv4 prefixes: Linux routes IPv6 to no IPv4 next hop; use underlay ipv6, or an encapsulation",
  ],
  [
    { egress: true, subnets: ["10.0.0.0/24", "fd00::/64"], gateways: ["10.0.0.1"] },
    "gateways: found 10.0.0.1; allowed: an address of fd00::/64, too, for the node to answer for: egress and hostAccess need it",
  ],
];

describe("fields that go together", () => {
  for (const fields of allowed) it(JSON.stringify(fields), () => assert.deepEqual(problemsOf(fields), []));
});

describe("fields that do not", () => {
  for (const [fields, ...problems] of refused)
    it(JSON.stringify(fields), () => assert.deepEqual(problemsOf(fields), problems));
});

it("defaults follow from encapsulation and discovery", () => {
  const derived = (fields: object): unknown[] => {
    const parsed = parseNetworkDraft({ ...base, vni: undefined, ...fields });
    assert.ok(parsed.ok);
    const { port, learning, arpSuppression, multicast: settings } = parsed.value;
    return [port, learning, arpSuppression, settings];
  };
  assert.deepEqual(derived({}), [4789, "control-plane", true, undefined]);
  assert.deepEqual(derived({ encapsulation: "geneve" }), [6081, "control-plane", true, undefined]);
  assert.deepEqual(derived({ encapsulation: "nvgre" }), [0, "control-plane", true, undefined]);
  assert.deepEqual(derived(multicast), [4789, "data-plane", false, { ttl: 1 }]);
  assert.deepEqual(derived(listed), [4789, "data-plane", false, undefined]);
});

it("each network has a group of its own", () => {
  assert.equal(defaultGroup(0x123456 as Vni, "ipv4"), "239.18.52.86");
  assert.equal(defaultGroup(0x123456 as Vni, "ipv6"), "ff05::12:3456");
});

it("multicast addresses are known by their first octet", () => {
  for (const address of ["224.0.0.0", "239.255.255.255", "ff00::", "ff0e::1"]) assert.ok(isMulticast(ip(address)));
  for (const address of ["223.255.255.255", "240.0.0.0", "fe80::1", "::"]) assert.ok(!isMulticast(ip(address)));
});

it("a block's prefix length follows from its size", () => {
  assert.equal(blockPrefixLength(cidr("10.0.0.0/8"), 64), 26);
  assert.equal(blockPrefixLength(cidr("fd00::/64"), 65_536), 112);
});
