import assert from "node:assert/strict";
import { describe, it, test } from "node:test";
import fc from "fast-check";
import type { Result } from "../base/result.ts";
import { type FieldProblem, formatProblem } from "./problem.ts";
import {
  parseEndpoint,
  parseEndpointDraft,
  parseNetwork,
  parseNetworkDraft,
  parseNode,
  parseNodeDraft,
  parseNodeSettings,
  parseTenant,
} from "./schema.ts";

function problemsOf(result: Result<unknown, FieldProblem[]>): string[] {
  return result.ok ? [] : result.error.map(formatProblem);
}

const networkBase = { name: "blue-net", tenant: "blue", vni: 100, subnets: ["10.0.0.0/24"] };
const nodeBase = { name: "h1", vtepAddresses: { ipv4: "192.0.2.1" }, underlayMtu: 1500, generation: 1 };
const endpointBase = {
  id: "0123456789ab",
  network: "blue-net",
  node: "h1",
  mac: "02:00:5e:10:00:01",
  ips: ["10.0.0.2"],
};

describe("what is left out", () => {
  it("of a tenant", () => assert.deepEqual(parseTenant({ name: "a" }), ok({ name: "a", placement: "own" })));
  const defaults = {
    mode: "l2",
    encapsulation: "vxlan",
    gateways: [],
    port: 4789,
    underlay: "ipv4",
    flood: "head-end",
    arpSuppression: true,
    blockSize: 64,
    blockAssignment: "automatic",
    discovery: "control-plane",
    vteps: [],
    learning: "control-plane",
    learningLimit: 0,
    ageing: 300,
    vlanTags: false,
    antiSpoof: true,
    stormControl: { port: 1000, network: 5000 },
    policyDefault: "allow",
    names: false,
    crossSubnet: false,
    egress: false,
    egressBlocked: ["169.254.0.0/16", "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32"],
    hostAccess: false,
    peers: [],
    changeTimeout: 30,
  };
  it("of a network", () => assert.deepEqual(parseNetwork(networkBase), ok({ ...networkBase, ...defaults })));
  it("of a network draft: absent stays absent, given as undefined too", () => {
    const { vni: _, ...rest } = networkBase;
    assert.deepEqual(parseNetworkDraft({ ...rest, mtu: undefined }), ok({ ...rest, ...defaults }));
  });
  it("of a node", () => {
    const node = { ...nodeBase, vtepAddresses: { ipv4: "192.0.2.1", ipv6: undefined } };
    assert.deepEqual(parseNode(node), ok(nodeBase));
  });
  it("of an endpoint", () =>
    assert.deepEqual(parseEndpoint(endpointBase), ok({ ...endpointBase, attachment: "netns", sequence: 0 })));
  it("of an endpoint draft", () =>
    assert.deepEqual(
      parseEndpointDraft({ id: "0123456789ab", network: "n" }),
      ok({ id: "0123456789ab", network: "n", ips: [], movable: false, attachment: "netns" }),
    ));
});

describe("gateways of a network with a router on each node", () => {
  const gatewaysOf = (fields: object): unknown => {
    const parsed = parseNetwork({ ...networkBase, subnets: ["10.0.0.0/24", "fd00::/64"], ...fields });
    return parsed.ok ? [parsed.value.gateway, parsed.value.gateways] : parsed.error;
  };
  const gateway = "distributed";
  it("are the first that are usable", () =>
    assert.deepEqual(gatewaysOf({ gateway }), [gateway, ["10.0.0.1", "fd00::1"]]));
  it("are those that are named, as far as some are", () =>
    assert.deepEqual(gatewaysOf({ gateway, gateways: ["fd00::9"] }), [gateway, ["fd00::9", "10.0.0.1"]]));
  it("are one of two addresses, where there are no more", () =>
    assert.deepEqual(gatewaysOf({ gateway, subnets: ["10.0.0.0/31"] }), [gateway, ["10.0.0.0"]]));
  it("are none in a layer-3 network", () => assert.deepEqual(gatewaysOf({ gateway, mode: "l3" }), [gateway, []]));
  it("are none where there is no router", () => assert.deepEqual(gatewaysOf({ gateway: "none" }), [undefined, []]));
});

it("text forms become canonical", () => {
  const network = parseNetwork({ ...networkBase, subnets: ["FD00:0::/64"], gateways: ["fd00::0:1"] });
  assert.ok(network.ok);
  assert.deepEqual([network.value.subnets, network.value.gateways], [["fd00::/64"], ["fd00::1"]]);
  const endpoint = parseEndpoint({ ...endpointBase, mac: "02-00-5E-10-00-01" });
  assert.equal(endpoint.ok && endpoint.value.mac, "02:00:5e:10:00:01");
});

const label = (longest: number) =>
  `a name of 1 to ${longest} lower-case letters, digits and hyphens that begins and ends with a letter or digit`;
const ipv4Subnet = "an IPv4 prefix of unicast addresses, /8 to /31, such as 10.0.0.0/24";
const ipv6Subnet = "an IPv6 prefix of global unicast (2000::/3) or unique local (fc00::/7) addresses, /48 to /127";
const subnetList = "a list of one IPv4 prefix, one IPv6 prefix, or one of each";
const labels =
  "labels, each a name of 1 to 350 letters, digits, dots, slashes, hyphens and underscores with a text of at most 255 characters";
const network = (fields: object) => parseNetwork({ ...networkBase, ...fields });
const node = (fields: object) => parseNode({ ...nodeBase, ...fields });
const settings = (fields: object) => parseNodeSettings({ labels: {}, approved: {}, ...fields });
const endpoint = (fields: object) => parseEndpoint({ ...endpointBase, ...fields });
const subnet = (text: string) => network({ subnets: [text] });

type Row = [Result<unknown, FieldProblem[]>, ...problems: string[]];
const refusals: Row[] = [
  [parseTenant("blue"), 'found "blue"; allowed: the fields name, placement, nodeSelector'],
  [parseTenant([]), "found an empty list; allowed: the fields name, placement, nodeSelector"],
  [parseTenant({}), `name: found nothing; allowed: ${label(40)}`],
  [parseTenant({ name: "Blue" }), `name: found "Blue"; allowed: ${label(40)}`],
  [parseTenant({ name: 100 }), `name: found 100; allowed: ${label(40)}, in quotes`],
  [parseTenant({ name: "A".repeat(100) }), `name: found "${"A".repeat(80)}…"; allowed: ${label(40)}`],
  [parseTenant({ name: "a", placement: "moon" }), 'placement: found "moon"; allowed: own or host'],
  [
    parseTenant({ name: "a", colour: 1 }),
    "colour: found a field of this name; allowed: the fields name, placement, nodeSelector",
  ],
  [
    parseTenant(JSON.parse('{"name": "a", "__proto__": {}}')),
    "__proto__: found a field of this name; allowed: the fields name, placement, nodeSelector",
  ],
  [network({ name: "a".repeat(64) }), `name: found "${"a".repeat(64)}"; allowed: ${label(63)}`],
  [network({ tenant: null }), `tenant: found null; allowed: ${label(40)}`],
  [network({ mode: "l4" }), 'mode: found "l4"; allowed: l2 or l3'],
  [
    network({ encapsulation: "stt" }),
    'encapsulation: found "stt"; allowed: vxlan or geneve or nvgre or gre or ipip or direct',
  ],
  [network({ vni: undefined }), "vni: found nothing; allowed: a VNI, 1 to 16777215"],
  [network({ vni: 0 }), "vni: found 0; allowed: a VNI, 1 to 16777215"],
  [network({ vni: 16_777_216 }), "vni: found 16777216; allowed: a VNI, 1 to 16777215"],
  [network({ vni: "100" }), 'vni: found "100"; allowed: a VNI, 1 to 16777215'],
  [network({ vni: 1.5 }), "vni: found 1.5; allowed: a VNI, 1 to 16777215"],
  [network({ port: 65_536 }), "port: found 65536; allowed: a UDP port, 0 to 65535"],
  [network({ underlay: "ipv5" }), 'underlay: found "ipv5"; allowed: ipv4 or ipv6'],
  [network({ flood: true }), "flood: found true; allowed: head-end or groups or none"],
  [network({ arpSuppression: "on" }), 'arpSuppression: found "on"; allowed: true or false'],
  [network({ antiSpoof: "no" }), 'antiSpoof: found "no"; allowed: on or off, or true or false'],
  [network({ dscp: 64 }), "dscp: found 64; allowed: a codepoint, 0 to 63, or inherit for that of the packet inside"],
  [
    network({ stormControl: { port: -1 } }),
    "stormControl.port: found -1; allowed: frames to groups each second, 0 for no limit, 0 to 1000000000",
  ],
  [network({ mtu: 67 }), "mtu: found 67; allowed: octets of an inner IP packet, 68 to 65535"],
  [
    network({ mtu: 1279, subnets: ["fd00::/64"] }),
    "mtu: found 1279; allowed: 1280 or more with an IPv6 subnet (RFC 8200 §5)",
  ],
  [network({ subnets: [] }), `subnets: found an empty list; allowed: ${subnetList}`],
  [network({ subnets: "10.0.0.0/24" }), `subnets: found "10.0.0.0/24"; allowed: ${subnetList}`],
  [
    network({ subnets: ["10.0.0.0/24", "10.0.1.0/24"] }),
    `subnets[1]: found 10.0.1.0/24, one more IPv4 prefix; allowed: ${subnetList}`,
  ],
  [subnet("10.0.0.1/24"), 'subnets[0]: found "10.0.0.1/24"; allowed: 10.0.0.0/24, the prefix without host bits'],
  [subnet("10.0.0.0"), 'subnets[0]: found "10.0.0.0"; allowed: a prefix such as 10.0.0.0/24 or fd00:0:0:1::/64'],
  ...["16.0.0.0/7", "10.0.0.0/32", "0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/8", "240.0.0.0/8"].map(
    (text): Row => [subnet(text), `subnets[0]: found "${text}"; allowed: ${ipv4Subnet}`],
  ),
  ...["fd00::/47", "fd00::/128", "fe80::/64", "ff00::/64", "::/64", "2::/64"].map(
    (text): Row => [subnet(text), `subnets[0]: found "${text}"; allowed: ${ipv6Subnet}`],
  ),
  [network({ gateways: ["10.0.1.1"] }), "gateways[0]: found 10.0.1.1; allowed: an address in 10.0.0.0/24"],
  [
    network({ gateways: ["10.0.0.1/24"] }),
    'gateways[0]: found "10.0.0.1/24"; allowed: an IPv4 or IPv6 address without a prefix length',
  ],
  [
    network({ gateways: ["10.0.0.255", "10.0.0.1", "10.0.0.2"] }),
    "gateways[0]: found 10.0.0.255, the broadcast address; allowed: an address that a host in 10.0.0.0/24 can have",
    "gateways[2]: found 10.0.0.2, one more in 10.0.0.0/24; allowed: at most one gateway of each subnet",
  ],
  [
    network({ port: -1, gateways: ["10.0.1.1"], vlan: 5 }),
    "port: found -1; allowed: a UDP port, 0 to 65535",
    "vlan: found a field of this name; allowed: the fields name, tenant, mode, encapsulation, vni, subnets, gateways, blockSize, blockAssignment, mtu, port, underlay, flood, arpSuppression, discovery, multicast, vteps, learning, learningLimit, ageing, vlanTags, antiSpoof, stormControl, policyDefault, dhcp, names, crossSubnet, egress, egressBlocked, hostAccess, bandwidth, endpointBandwidth, dscp, nodeSelector, gateway, peers, changeTimeout",
    "gateways[0]: found 10.0.1.1; allowed: an address in 10.0.0.0/24",
  ],
  [node({ vtepAddresses: {} }), "vtepAddresses: found neither ipv4 nor ipv6; allowed: one of them at least"],
  [node({ vtepAddresses: undefined }), "vtepAddresses: found nothing; allowed: the fields ipv4, ipv6"],
  ...["2001:db8::1", "192.0.2", ""].map(
    (text): Row => [
      node({ vtepAddresses: { ipv4: text } }),
      `vtepAddresses.ipv4: found "${text}"; allowed: an IPv4 address of the node that other nodes reach`,
    ],
  ),
  [
    node({ vtepAddresses: { ipv4: "127.0.0.1", ipv6: "::ffff:127.0.0.1" } }),
    'vtepAddresses.ipv4: found "127.0.0.1"; allowed: an IPv4 address of the node that other nodes reach, and 127.0.0.1 is a loopback address (RFC 1122 §3.2.1.3)',
    'vtepAddresses.ipv6: found "::ffff:127.0.0.1"; allowed: an IPv6 address of the node that other nodes reach, and ::ffff:7f00:1 is an IPv4-mapped address (RFC 4291 §2.5.5.2)',
  ],
  [
    parseNetworkDraft({ ...networkBase, discovery: "static", vteps: ["239.1.1.1", "127.0.0.1"] }),
    'vteps[0]: found "239.1.1.1"; allowed: an address of a host that nodes reach, and 239.1.1.1 is a multicast address (RFC 5771)',
    'vteps[1]: found "127.0.0.1"; allowed: an address of a host that nodes reach, and 127.0.0.1 is a loopback address (RFC 1122 §3.2.1.3)',
  ],
  [
    network({ nodeSelector: { zone: "\n" } }),
    'nodeSelector.zone: found "\\n"; allowed: at most 255 characters without control characters',
  ],
  [settings({ labels: { "a b": "" } }), `labels.a b: found a label of this name; allowed: ${labels}`],
  [
    settings({ labels: { rack: "\n" } }),
    'labels.rack: found "\\n"; allowed: at most 255 characters without control characters',
  ],
  [
    settings({ approved: { ipv6: "fe80::1" } }),
    'approved.ipv6: found "fe80::1"; allowed: an IPv6 address of the node that other nodes reach, and fe80::1 is a link-local address (RFC 4291 §2.5.6)',
  ],
  [node({ generation: -1 }), "generation: found -1; allowed: a generation, 0 to 4294967295"],
  [
    parseNodeDraft(nodeBase),
    "generation: found a field of this name; allowed: the fields name, vtepAddresses, underlayMtu",
  ],
  [endpoint({ id: "0123456789AB" }), 'id: found "0123456789AB"; allowed: 12 hexadecimal digits, lower case'],
  ...["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "0200.5e10.0001"].map(
    (text): Row => [
      endpoint({ mac: text }),
      `mac: found "${text}"; allowed: a unicast MAC address such as 02:00:5e:10:00:01`,
    ],
  ),
  [endpoint({ ips: [] }), "ips: found an empty list; allowed: one address at least"],
  [
    endpoint({ ips: ["10.0.0.1", "fd00::1", "10.0.0.2"] }),
    "ips[2]: found 10.0.0.2, one more IPv4 address; allowed: at most one of each IP family",
  ],
  [
    endpoint({ attachment: "card" }),
    'attachment: found "card"; allowed: netns or tap or interface or external or learned',
  ],
  [endpoint({ sequence: -1 }), "sequence: found -1; allowed: a sequence number, 0 to 9007199254740991"],
];
describe("refusals", () => {
  for (const [result, ...expected] of refusals)
    it(expected[0] ?? "", () => assert.deepEqual(problemsOf(result), expected));
});

it("any input gives a result, and each problem says what is allowed", () => {
  const parsers = [parseTenant, parseNetwork, parseNetworkDraft, parseNode, parseEndpoint, parseEndpointDraft];
  const keys = ["name", "subnets", "gateways", "vtepAddresses", "ipv4", "labels", "ips", "mtu", "__proto__"];
  const input = fc.object({ key: fc.constantFrom(...keys), maxDepth: 3 });
  fc.assert(
    fc.property(fc.oneof(input, fc.anything()), fc.constantFrom(...parsers), (value, parse) => {
      const result = parse(value);
      if (!result.ok) assert.ok(result.error.length > 0 && result.error.every(({ allowed }) => allowed !== ""));
    }),
  );
});

function ok<Value>(value: Value) {
  return { ok: true, value };
}

test("protection is on unless it is off, in words of YAML or of JSON; limits that are not named are the usual ones", () => {
  const read = (changes: object) => {
    const parsed = parseNetworkDraft({ name: "web", tenant: "acme", subnets: ["10.0.0.0/24"], ...changes });
    assert.ok(parsed.ok, JSON.stringify(parsed));
    return parsed.value;
  };
  for (const [antiSpoof, expected] of [
    [undefined, true],
    ["on", true],
    ["off", false],
    [false, false],
  ] as const)
    assert.equal(read(antiSpoof === undefined ? {} : { antiSpoof }).antiSpoof, expected);
  assert.deepEqual(read({ stormControl: { port: 0 } }).stormControl, { port: 0, network: 5000 });
});
