import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { type ErrorCode, WeftError } from "../base/errors.ts";
import { type Ipv4Address, ip } from "../base/ip.ts";
import {
  checkNetworkChange,
  checkNetworkDeletion,
  checkNetworkUnnamed,
  checkNewFloatingAddress,
  checkNewNetwork,
  checkNewPolicy,
  checkNewTenant,
  checkPolicyChange,
  checkTenantDeletion,
  chooseVni,
  plainRules,
} from "./conflicts.ts";
import type { Declared } from "./declared.ts";
import type { Encapsulation } from "./encapsulation.ts";
import { FloatingIndex } from "./floating-index.ts";
import { NetworkIndex } from "./network-index.ts";
import { vtepsOf } from "./node-registration.ts";
import { type Policy, parsePolicy } from "./policy/index.ts";
import type { FloatingAddress, Network, NetworkDraft, Node, Tenant } from "./resources.ts";
import { parseFloatingAddress, parseNetwork, parseNetworkDraft } from "./schema.ts";

function expectOk<Value>(result: { ok: true; value: Value } | { ok: false; error: unknown }): Value {
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
}
const base = { name: "blue-net", tenant: "blue", vni: 100, subnets: ["10.0.0.0/24", "fd00::/64"] };
const network = (fields: object = {}): Network => expectOk(parseNetwork({ ...base, ...fields }));
const draft = (fields: object = {}): NetworkDraft => expectOk(parseNetworkDraft({ ...base, ...fields }));

const tenants: Tenant[] = [
  { name: "blue", placement: "own" },
  { name: "red", placement: "own" },
];
const networks = [network()];
/** All that there is, for the rules to look at. */
function declared(
  tenants: readonly Tenant[],
  networks: readonly Network[],
  policies: readonly Policy[] = [],
  floating: readonly FloatingAddress[] = [],
  nodes: readonly Node[] = [],
): Declared {
  const index = new NetworkIndex();
  for (const each of networks) index.put(each);
  const floatingIndex = new FloatingIndex();
  for (const each of floating) floatingIndex.put(each);
  const of = { tenant: tenants, network: networks, policy: policies, "floating-address": floating, pod: [] };
  return {
    get: (kind, name) => (of[kind] as readonly { name: string }[]).find((each) => each.name === name) as never,
    rivalsOf: (draft) => index.rivals(draft),
    tenantsOnHosts: () => tenants.filter(({ placement }) => placement === "host"),
    networksOf: (tenant) => index.ofTenant(tenant),
    overlappingIn: (tenant, subnets) => index.overlappingIn(tenant, subnets),
    withPeers: (tenant) => index.withPeers(tenant),
    policiesOf: (tenant) => policies.filter((policy) => policy.tenant === tenant),
    routedTo: (address) => index.routedTo(address),
    withVtep: (address) => index.withVtep(address),
    floatingAt: (network, endpoint) => floatingIndex.at(network, endpoint),
    floatingOf: (network) => floatingIndex.ofNetwork(network),
    floatingWithin: (prefixes) => prefixes.flatMap((prefix) => [...floatingIndex.within(prefix)]),
    nodeAt: (address) => nodes.find((node) => vtepsOf(node).includes(address)),
  };
}
/** A network that may have peers. */
const peering = (fields: object = {}): Network =>
  network({ name: "new", tenant: "red", vni: 900, subnets: ["10.40.0.0/24"], gateway: "distributed", ...fields });
const withPeers = [
  network(),
  peering({
    name: "web",
    tenant: "blue",
    vni: 901,
    subnets: ["10.20.0.0/24", "fd20::/64"],
    peers: ["red/db", "green/far"],
  }),
  peering({ name: "far", tenant: "green", vni: 902, subnets: ["10.30.0.0/24"], peers: ["blue/web"] }),
];
const peers = declared([...tenants, { name: "green", placement: "own" }], withPeers);
const peeringOf = (name: string): Network => withPeers.find((each) => each.name === name) ?? network();
const ambiguous = (message: string): ["already-exists", string, string] => [
  "already-exists",
  `${message}, and by their peers one node would route to both`,
  "choose a prefix that none of them uses, or name that peer no more: weft network set NAME --peer none",
];
const policy = (fields: object = {}): Policy =>
  expectOk(parsePolicy({ name: "p", tenant: "blue", networks: ["blue-net"], ...fields }));
const peerOf = (network: string) => ({
  rules: [{ direction: "ingress", action: "allow", peers: [{ networks: [network] }] }],
});
const endpoints = [{ id: "0123456789ab", node: "h1", ips: [ip("10.0.0.2"), ip("fd00::2")] }];

const given = declared(tenants, networks);
const kube: Tenant = { name: "kube", placement: "host" };
const withHost = declared([...tenants, kube], networks);
/** A network in the host's own namespace. */
const onHost = (fields: object = {}): NetworkDraft =>
  draft({
    ...{
      name: "pods",
      tenant: "kube",
      vni: 200,
      mode: "l3",
      subnets: ["10.50.0.0/16"],
      hostAccess: true,
      egress: true,
    },
    ...fields,
  });
const notOnHost = (what: string, hint: string): ["failed-precondition", string, string] => [
  "failed-precondition",
  `create network pods: ${what} does not go with tenant kube, whose networks are in the host's own namespace`,
  hint,
];
const withPolicy = declared(tenants, [...networks, network({ name: "red-net", tenant: "red", vni: 7 })], [policy()]);

const openFields = { name: "open", vni: 101, subnets: ["10.1.0.0/24"], gateways: ["10.1.0.1"], egress: true };
const openNetwork = network(openFields);
const floatingAddress = (fields: object = {}): FloatingAddress =>
  expectOk(parseFloatingAddress({ name: "192.0.2.50", network: "open", endpoint: "10.1.0.5", ...fields }));
const listing = { name: "listing", vni: 103, tenant: "red", discovery: "static", vteps: ["192.0.2.50"] };
/** With a floating address, a node, and a VTEP that a network lists. */
const floating = declared(
  tenants,
  [
    ...networks,
    openNetwork,
    network({ ...listing, vteps: ["192.0.2.7"] }),
    network({ name: "routed", vni: 102, tenant: "red", mode: "l3", hostAccess: true, subnets: ["10.9.0.0/24"] }),
  ],
  [],
  [floatingAddress()],
  [{ name: "h1", vtepAddresses: { ipv4: ip("192.0.2.1") as Ipv4Address }, underlayMtu: 1500, generation: 1 }],
);

const table: [string, WeftError[], [ErrorCode, string, hint: string | undefined][]][] = [
  ["new tenant", checkNewTenant({ name: "green", placement: "own" }, given), []],
  [
    "tenant name taken",
    checkNewTenant({ name: "red", placement: "own" }, given),
    [
      [
        "already-exists",
        "create tenant red: a tenant of this name exists",
        "choose another name, or use the existing one: weft tenant show red",
      ],
    ],
  ],
  ["a tenant on hosts", checkNewTenant(kube, given), []],
  [
    "a second tenant on hosts",
    checkNewTenant({ name: "other", placement: "host" }, withHost),
    [
      [
        "already-exists",
        "create tenant other: tenant kube has placement host, and those of two would not be apart in one namespace",
        "give it placement own, or its networks to tenant kube",
      ],
    ],
  ],
  [
    "a tenant that moves",
    plainRules.tenant.change(kube, { ...kube, placement: "own" }, withHost),
    [
      [
        "failed-precondition",
        "change tenant kube: placement is host and cannot become own",
        "keep placement: host, or create another tenant and move the endpoints there",
      ],
    ],
  ],
  [
    "a tenant on hosts for other nodes",
    plainRules.tenant.change(kube, { ...kube, nodeSelector: { a: "b" } }, withHost),
    [],
  ],
  ["a network on hosts", checkNewNetwork(onHost(), withHost), []],
  [
    "a layer-2 network on hosts",
    checkNewNetwork(onHost({ mode: "l2", gateways: ["10.50.0.1"] }), withHost),
    [notOnHost("mode l2", "say mode: l3")],
  ],
  [
    "a network on hosts that they do not reach",
    checkNewNetwork(onHost({ hostAccess: false }), withHost),
    [notOnHost("hostAccess: false", "say hostAccess: true: a host reaches what it routes to")],
  ],
  [
    "networks on hosts without a tunnel",
    [
      ...checkNewNetwork(onHost({ encapsulation: "direct" }), withHost),
      ...checkNewNetwork(onHost({ crossSubnet: true }), withHost),
    ],
    [
      notOnHost("encapsulation direct", "choose an encapsulation, without crossSubnet"),
      notOnHost("crossSubnet", "choose an encapsulation, without crossSubnet"),
    ],
  ],
  [
    "a network on hosts that answers DHCP",
    checkNewNetwork(onHost({ dhcp: {} }), withHost),
    [notOnHost("dhcp", "attach what asks for its address to a network of another tenant")],
  ],
  ["new network", checkNewNetwork(draft({ name: "n", vni: 101, subnets: ["10.0.1.0/24"] }), given), []],
  [
    "same subnets, other tenant, VNI left to the server",
    checkNewNetwork(draft({ name: "n", vni: undefined, tenant: "red" }), given),
    [],
  ],
  [
    "network name taken",
    checkNewNetwork(draft(), given),
    [
      [
        "already-exists",
        "create network blue-net: a network of this name exists",
        "choose another name, or use the existing one: weft network show blue-net",
      ],
    ],
  ],
  [
    "tenant missing, VNI taken",
    checkNewNetwork(draft({ name: "n", tenant: "pink" }), given),
    [
      ["not-found", "create network n: there is no tenant pink", "create it first: weft tenant create pink"],
      [
        "already-exists",
        "create network n: VNI 100 is taken by network blue-net of tenant blue",
        "choose another VNI, or none: the server chooses a free one then",
      ],
    ],
  ],
  [
    "both subnets overlap",
    checkNewNetwork(draft({ name: "n", vni: 101, subnets: ["10.0.0.0/16", "fd00:0:0:0:8000::/65"] }), given),
    [
      [
        "already-exists",
        "create network n: subnet 10.0.0.0/16 overlaps 10.0.0.0/24 of network blue-net of the same tenant blue",
        "choose a prefix that the tenant does not use, or another tenant",
      ],
      [
        "already-exists",
        "create network n: subnet fd00::8000:0:0:0/65 overlaps fd00::/64 of network blue-net of the same tenant blue",
        "choose a prefix that the tenant does not use, or another tenant",
      ],
    ],
  ],
  ["no change", checkNetworkChange(network(), draft(), given, endpoints, []), []],
  ["VNI left out keeps it", checkNetworkChange(network(), draft({ vni: undefined }), given, endpoints, []), []],
  [
    "what may change at any time",
    checkNetworkChange(
      network(),
      draft({
        mtu: 1400,
        flood: "none",
        arpSuppression: false,
        gateways: ["10.0.0.1"],
        subnets: ["fd00::/64", "10.0.0.0/24"],
      }),
      given,
      endpoints,
      [],
    ),
    [],
  ],
  [
    "encapsulation, port, discovery and learning at any time",
    checkNetworkChange(
      network(),
      draft({ encapsulation: "geneve", port: 7000, discovery: "static", vteps: ["192.0.2.9"], ageing: 20 }),
      given,
      endpoints,
      [],
    ),
    [],
  ],
  [
    "routes and address translation at any time",
    checkNetworkChange(
      network({ mode: "l3" }),
      draft({
        mode: "l3",
        encapsulation: "gre",
        crossSubnet: true,
        underlay: "ipv4",
        subnets: ["10.0.0.0/24"],
        egress: true,
        hostAccess: true,
      }),
      given,
      [],
      [],
    ),
    [],
  ],
  [
    "fixed fields",
    checkNetworkChange(network(), draft({ tenant: "red", mode: "l3", vni: 7, underlay: "ipv6" }), given, [], []),
    [
      ["tenant", "blue", "red"],
      ["mode", "l2", "l3"],
      ["vni", "100", "7"],
      ["underlay", "ipv4", "ipv6"],
    ].map(([field, old, wanted]) => [
      "failed-precondition",
      `change network blue-net: ${field} is ${old} and cannot become ${wanted}`,
      `keep ${field}: ${old}, or create another network and move the endpoints there`,
    ]),
  ],
  ["subnets without endpoints", checkNetworkChange(network(), draft({ subnets: ["10.0.0.0/16"] }), given, [], []), []],
  [
    "subnets with endpoints",
    checkNetworkChange(network(), draft({ subnets: ["10.0.0.0/16"] }), given, endpoints, []),
    [
      [
        "failed-precondition",
        "change network blue-net: subnets are 10.0.0.0/24, fd00::/64 and cannot become 10.0.0.0/16 while there are endpoints (1)",
        "detach the endpoints first, or create another network",
      ],
    ],
  ],
  [
    "subnets that another network has",
    checkNetworkChange(
      network(),
      draft({ subnets: ["10.9.0.0/16"] }),
      declared(tenants, [...networks, network({ name: "n", vni: 9, subnets: ["10.9.9.0/24"] })]),
      [],
      [],
    ),
    [
      [
        "already-exists",
        "change network blue-net: subnet 10.9.0.0/16 overlaps 10.9.9.0/24 of network n of the same tenant blue",
        "choose a prefix that the tenant does not use, or another tenant",
      ],
    ],
  ],
  [
    "gateway that an endpoint has",
    checkNetworkChange(network(), draft({ gateways: ["10.0.0.1", "fd00::2"] }), given, endpoints, []),
    [
      [
        "already-exists",
        "change network blue-net: endpoint 0123456789ab has the address of gateway fd00::2",
        "choose another gateway, or detach that endpoint first",
      ],
    ],
  ],
  [
    "subnets and block size with blocks",
    checkNetworkChange(
      network({ mode: "l3" }),
      draft({ mode: "l3", blockSize: 32 }),
      given,
      [],
      [{ node: "h1", cidr: cidr("10.0.0.0/26") }],
    ),
    [
      [
        "failed-precondition",
        "change network blue-net: blockSize cannot change while nodes own blocks: 10.0.0.0/26 of h1",
        "create another network and move the endpoints there",
      ],
    ],
  ],
  [
    "who chooses blocks, with blocks",
    checkNetworkChange(
      network({ mode: "l3" }),
      draft({ mode: "l3", blockAssignment: "declared" }),
      given,
      [],
      [{ node: "h1", cidr: cidr("10.0.0.0/26") }],
    ),
    [
      [
        "failed-precondition",
        "change network blue-net: blockAssignment cannot change while nodes own blocks: 10.0.0.0/26 of h1",
        "create another network and move the endpoints there",
      ],
    ],
  ],
  [
    "block size without blocks, and where it means nothing",
    [
      ...checkNetworkChange(network({ mode: "l3" }), draft({ mode: "l3", blockSize: 32 }), given, [], []),
      ...checkNetworkChange(network(), draft({ blockSize: 32 }), given, endpoints, []),
    ],
    [],
  ],
  [
    "a VNI that is no VSID",
    checkNetworkChange(network(), draft({ vni: undefined, encapsulation: "nvgre" }), given, endpoints, []),
    [
      [
        "invalid-argument",
        "change network blue-net: vni: found 100; allowed: a VSID, 4096 to 16777214, with nvgre (RFC 7637 §3)",
        undefined,
      ],
    ],
  ],
  ["delete an empty tenant", checkTenantDeletion("red", given), []],
  [
    "delete a tenant with networks",
    checkTenantDeletion(
      "blue",
      declared(
        tenants,
        ["a", "b", "c", "d", "e", "f", "g"].map((name) => network({ name })),
      ),
    ),
    [["failed-precondition", "delete tenant blue: it has networks: a, b, c, d, e and 2 more", "delete them first"]],
  ],
  ["new policy", checkNewPolicy(policy(peerOf("blue-net")), given), []],
  [
    "policy of no tenant, whose name is taken",
    checkNewPolicy(policy({ tenant: "pink", networks: undefined }), withPolicy),
    [
      ["not-found", "create policy p: there is no tenant pink", "create it first: weft tenant create pink"],
      [
        "already-exists",
        "create policy p: a policy of this name exists",
        "choose another name, or use the existing one: weft policy show p",
      ],
    ],
  ],
  [
    "policy that names what is no network of its tenant, as a peer's as well",
    checkNewPolicy(policy({ name: "q", networks: ["none"], ...peerOf("red-net") }), withPolicy),
    [
      [
        "not-found",
        "create policy q: there is no network none",
        "create it first, or see the spelling: weft network list",
      ],
      [
        "failed-precondition",
        "create policy q: network red-net is of tenant red, and the policy of tenant blue",
        "name networks of its own tenant; endpoints of networks that these are peers of are known by subnet alone",
      ],
    ],
  ],
  ["policy changes", checkPolicyChange(policy(), policy({ priority: 5, networks: undefined }), withPolicy), []],
  [
    "policy changes its tenant, and names a network of it",
    checkPolicyChange(policy(), policy({ tenant: "red", networks: ["none"] }), withPolicy),
    [
      [
        "failed-precondition",
        "change policy p: tenant is blue and cannot become red",
        "keep tenant: blue, or give the policy for the other tenant another name",
      ],
      [
        "not-found",
        "change policy p: there is no network none",
        "create it first, or see the spelling: weft network list",
      ],
    ],
  ],
  ["delete a network that no policy names", checkNetworkUnnamed("other-net", [policy(peerOf("blue-net"))]), []],
  [
    "delete a network that policies name",
    checkNetworkUnnamed("blue-net", [policy(), policy({ name: "q", networks: undefined, ...peerOf("blue-net") })]),
    [
      [
        "failed-precondition",
        "delete network blue-net: policies name it: p, q",
        "let them name others, or delete them first: weft policy delete NAME",
      ],
    ],
  ],
  [
    "delete a tenant with networks and policies",
    checkTenantDeletion("blue", withPolicy),
    [
      ["failed-precondition", "delete tenant blue: it has networks: blue-net", "delete them first"],
      ["failed-precondition", "delete tenant blue: it has policies: p", "delete them first"],
    ],
  ],
  ["delete an empty network", checkNetworkDeletion("blue-net", [], given), []],
  [
    "delete a network with endpoints",
    checkNetworkDeletion("blue-net", endpoints, given),
    [["failed-precondition", "delete network blue-net: it has endpoints: 0123456789ab on h1", "detach them first"]],
  ],
  ["delete an empty network beside one with floating addresses", checkNetworkDeletion("other", [], floating), []],
  [
    "delete a network with floating addresses",
    checkNetworkDeletion("open", [], floating),
    [["failed-precondition", "delete network open: it has floating addresses: 192.0.2.50", "delete them first"]],
  ],
  [
    "new floating address",
    checkNewFloatingAddress(floatingAddress({ name: "192.0.2.51", endpoint: "10.1.0.6" }), floating),
    [],
  ],
  [
    "floating address that there is",
    checkNewFloatingAddress(floatingAddress(), floating),
    [
      [
        "already-exists",
        "create floating-address 192.0.2.50: a floating-address of this name exists",
        "choose another name, or use the existing one: weft floating-address show 192.0.2.50",
      ],
    ],
  ],
  [
    "floating address of an endpoint that has one",
    checkNewFloatingAddress(floatingAddress({ name: "192.0.2.51" }), floating),
    [
      [
        "already-exists",
        "create floating-address 192.0.2.51: 10.1.0.5 of network open has the floating address 192.0.2.50",
        "an endpoint has one of each family; delete that one first: weft floating-address delete 192.0.2.50",
      ],
    ],
  ],
  [
    "floating address in a network that is missing",
    checkNewFloatingAddress(floatingAddress({ network: "none" }), given),
    [
      [
        "not-found",
        "create floating-address 192.0.2.50: there is no network none",
        "list the networks with: weft network list",
      ],
    ],
  ],
  [
    "floating address in a network whose nodes are no gateway, of an address outside",
    checkNewFloatingAddress(floatingAddress({ network: "blue-net" }), given),
    [
      [
        "failed-precondition",
        "create floating-address 192.0.2.50: 10.1.0.5, which the floating address 192.0.2.50 stands for in network blue-net, is in none of its subnets 10.0.0.0/24, fd00::/64",
        "name an address that an endpoint of the network has, or can have",
      ],
      [
        "failed-precondition",
        "create floating-address 192.0.2.50: nodes are no gateway of network blue-net, so that endpoints could not answer under the floating address 192.0.2.50",
        "let them be: weft network set blue-net --gateway distributed, or with a way out --egress --gateway ADDRESS, one in each subnet",
      ],
    ],
  ],
  [
    "floating address of a gateway",
    checkNewFloatingAddress(floatingAddress({ name: "192.0.2.51", endpoint: "10.1.0.1" }), floating),
    [
      [
        "failed-precondition",
        "create floating-address 192.0.2.51: 10.1.0.1, which the floating address 192.0.2.51 stands for in network open, is a gateway",
        "name an address that an endpoint of the network has, or can have",
      ],
    ],
  ],
  [
    "floating address that is a VTEP's",
    checkNewFloatingAddress(floatingAddress({ name: "192.0.2.1", endpoint: "10.1.0.6" }), floating),
    [
      [
        "already-exists",
        "create floating-address 192.0.2.1: 192.0.2.1 is the VTEP address of node h1",
        "choose an address that no host has",
      ],
    ],
  ],
  [
    "network that names peers that are yet to come, or to name it",
    checkNewNetwork(peering({ peers: ["blue/web", "blue/no"] }), peers),
    [],
  ],
  ["network that is in force with a peer", checkNewNetwork(peering({ name: "db", peers: ["blue/web"] }), peers), []],
  [
    "network of a name that a peer has, of another tenant than it names",
    checkNewNetwork(peering({ name: "db", tenant: "green", subnets: ["10.0.0.0/16"], peers: ["blue/web"] }), peers),
    [],
  ],
  [
    "network whose peer has its subnet, and so have another network of that one's tenant, and a peer of such",
    [
      ...checkNewNetwork(peering({ name: "db", subnets: ["10.20.0.0/16"], peers: ["blue/web"] }), peers),
      ...checkNewNetwork(peering({ name: "db", subnets: ["10.0.0.0/16"], peers: ["blue/web"] }), peers),
      ...checkNewNetwork(peering({ name: "db", subnets: ["10.30.0.0/25"], peers: ["blue/web"] }), peers),
    ],
    [
      ambiguous(
        "create network db: subnet 10.20.0.0/16 of network db of tenant red overlaps 10.20.0.0/24 of network web of tenant blue",
      ),
      ambiguous(
        "create network db: subnet 10.0.0.0/16 of network db of tenant red overlaps 10.0.0.0/24 of network blue-net of tenant blue",
      ),
      ambiguous(
        "create network db: subnet 10.30.0.0/25 of network db of tenant red overlaps 10.30.0.0/24 of network far of tenant green",
      ),
    ],
  ],
  [
    "network in a subnet of a peer of its tenant's",
    checkNewNetwork(peering({ tenant: "blue", subnets: ["10.30.0.0/24"] }), peers),
    [
      ambiguous(
        "create network new: subnet 10.30.0.0/24 of network new of tenant blue overlaps 10.30.0.0/24 of network far of tenant green",
      ),
    ],
  ],
  [
    "subnets that come to overlap those of a network of a peer's tenant",
    checkNetworkChange(peeringOf("far"), { ...peeringOf("far"), subnets: [cidr("10.0.0.128/25")] }, peers, [], []),
    [
      ambiguous(
        "change network far: subnet 10.0.0.128/25 of network far of tenant green overlaps 10.0.0.0/24 of network blue-net of tenant blue",
      ),
    ],
  ],
  [
    "subnets of a network that its peer names no more",
    checkNewNetwork(peering({ name: "other", subnets: ["10.0.0.0/24"], peers: ["green/far"] }), peers),
    [],
  ],
  [
    "floating address that a network lists as a VTEP",
    checkNewFloatingAddress(floatingAddress({ name: "192.0.2.7", endpoint: "10.1.0.6" }), floating),
    [
      [
        "already-exists",
        "create floating-address 192.0.2.7: the floating address 192.0.2.7 is a VTEP that network listing of tenant red lists",
        "choose an address that no host has",
      ],
    ],
  ],
  ...[
    [
      "create",
      checkNewNetwork(draft({ ...listing, name: "n", vni: 104, subnets: ["10.7.0.0/24"] }), floating),
    ] as const,
    ["change", checkNetworkChange(network(listing), draft(listing), floating, [], [])] as const,
  ].map(([verb, errors]): (typeof table)[number] => {
    const name = verb === "create" ? "n" : "listing";
    return [
      `a network that lists a floating address as a VTEP: ${verb}`,
      errors,
      [
        [
          "already-exists",
          `${verb} network ${name}: the floating address 192.0.2.50 is a VTEP that network ${name} of tenant red lists`,
          "choose another VTEP, or delete it: weft floating-address delete 192.0.2.50",
        ],
      ],
    ];
  }),
  [
    "floating address in a subnet of the tenant",
    checkNewFloatingAddress(floatingAddress({ name: "10.0.0.9", endpoint: "10.1.0.6" }), floating),
    [
      [
        "already-exists",
        "create floating-address 10.0.0.9: the floating address 10.0.0.9 is in subnet 10.0.0.0/24 of network blue-net, and tenant blue would look for it there",
        "choose an address that the tenant's networks do not use",
      ],
    ],
  ],
  [
    "floating address in a subnet that hosts route",
    checkNewFloatingAddress(floatingAddress({ name: "10.9.0.9", endpoint: "10.1.0.6" }), floating),
    [
      [
        "already-exists",
        "create floating-address 10.9.0.9: the floating address 10.9.0.9 is in subnet 10.9.0.0/24 of network routed of tenant red, which hosts route themselves (hostAccess, crossSubnet or encapsulation direct)",
        "choose an address of the underlay that no network uses",
      ],
    ],
  ],
  [
    "a network that hosts route with a floating address in it",
    checkNewNetwork(
      draft({ name: "n", vni: 105, tenant: "red", mode: "l3", hostAccess: true, subnets: ["192.0.2.0/24"] }),
      floating,
    ),
    [
      [
        "already-exists",
        "create network n: the floating address 192.0.2.50 is in subnet 192.0.2.0/24 of network n of tenant red, which hosts route themselves (hostAccess, crossSubnet or encapsulation direct)",
        "choose another subnet, or delete it: weft floating-address delete 192.0.2.50",
      ],
    ],
  ],
  [
    "a network whose nodes cease to be its gateways under a floating address",
    checkNetworkChange(openNetwork, draft({ ...openFields, egress: false }), floating, [], []),
    [
      [
        "failed-precondition",
        "change network open: nodes are no gateway of network open, so that endpoints could not answer under the floating address 192.0.2.50",
        "let them be: weft network set open --gateway distributed, or with a way out --egress --gateway ADDRESS, one in each subnet",
      ],
    ],
  ],
  [
    "a network whose nodes only route between the tenant's networks, under a floating address",
    checkNetworkChange(openNetwork, draft({ ...openFields, egress: false, gateway: "distributed" }), floating, [], []),
    [],
  ],
];
describe("conflicts", () => {
  for (const [name, errors, expected] of table)
    it(name, () => {
      assert.ok(errors.every((error) => error instanceof WeftError));
      assert.deepEqual(
        errors.map(({ code, message, hint }) => [code, message, hint]),
        expected,
      );
    });
});

/** One network beside another of another tenant: the reasons against it, whether it is new or becomes so. */
const beside: [string, network: object, other: object, reasons: string[]][] = [
  ["two by gre", { mode: "l3", encapsulation: "gre" }, { mode: "l3", encapsulation: "gre" }, []],
  [
    "two by ipip, of one inner family",
    { mode: "l3", encapsulation: "ipip" },
    { mode: "l3", encapsulation: "ipip", subnets: ["10.7.0.0/24"] },
    ["network other of tenant red carries IPv4 by ipip over ipv4: such packets say nothing about their network"],
  ],
  [
    "two by ipip, of both inner families",
    { mode: "l3", encapsulation: "ipip", underlay: "ipv6" },
    { mode: "l3", encapsulation: "ipip", underlay: "ipv6", crossSubnet: true },
    [4, 6].map(
      (family) =>
        `network other of tenant red carries IPv${family} by ipip over ipv6: such packets say nothing about their network`,
    ),
  ],
  [
    "two by ipip, of different inner families or underlays",
    { mode: "l3", encapsulation: "ipip", subnets: ["10.0.0.0/24"] },
    { mode: "l3", encapsulation: "ipip", subnets: ["fd00::/64"] },
    [],
  ],
  [
    "two by ipip, of different underlays",
    { mode: "l3", encapsulation: "ipip" },
    { mode: "l3", encapsulation: "ipip", underlay: "ipv6" },
    [],
  ],
  ["the same subnets, one routed by hosts", { mode: "l3", hostAccess: true }, { mode: "l3" }, []],
  [
    "the same subnets, both routed by hosts",
    { mode: "l3", hostAccess: true, subnets: ["10.0.0.0/16"] },
    { mode: "l3", encapsulation: "direct", subnets: ["10.0.9.0/24"] },
    [
      "subnet 10.0.0.0/16 overlaps 10.0.9.0/24 of network other of tenant red, and hosts route both themselves (hostAccess, crossSubnet or encapsulation direct)",
    ],
  ],
  [
    "other subnets, both routed by hosts",
    { mode: "l3", hostAccess: true, subnets: ["10.1.0.0/16"] },
    { mode: "l3", crossSubnet: true, subnets: ["10.2.0.0/16"] },
    [],
  ],
  ["vxlan and geneve on ports of their own", {}, { encapsulation: "geneve" }, []],
  [
    "vxlan and geneve on one port",
    { port: 6081 },
    { encapsulation: "geneve" },
    ["UDP port 6081 over ipv4 is that of network other of tenant red, for geneve: a port takes one encapsulation"],
  ],
  ["vxlan and geneve on one port of two underlays", { port: 6081 }, { encapsulation: "geneve", underlay: "ipv6" }, []],
  ["static beside control-plane discovery", { discovery: "static", vteps: ["192.0.2.9"] }, {}, []],
  ["two with multicast", { discovery: "multicast", multicast: { ttl: 1 } }, { discovery: "multicast" }, []],
  [
    "multicast beside control-plane discovery",
    { discovery: "multicast" },
    {},
    [
      "UDP port 4789 is that of network other of tenant red, with control-plane discovery: with multicast a port is open to all senders",
    ],
  ],
  [
    "static beside multicast discovery",
    { discovery: "static", vteps: ["192.0.2.9"] },
    { discovery: "multicast" },
    [
      "UDP port 4789 is that of network other of tenant red, with multicast discovery: with multicast a port is open to all senders",
    ],
  ],
  ["multicast on a port of its own", { discovery: "multicast", port: 8472 }, {}, []],
];
describe("beside a network of another tenant", () => {
  for (const [name, fields, others, reasons] of beside)
    it(name, () => {
      const other = network({ name: "other", tenant: "red", vni: 9, ...others });
      const reasonsOf = (errors: WeftError[]): string[] => errors.map(({ reason }) => reason);
      assert.deepEqual(reasonsOf(checkNewNetwork(draft(fields), declared(tenants, [other]))), reasons);
      const { mode, underlay } = draft(fields);
      const before = network({ mode, underlay, subnets: draft(fields).subnets });
      assert.deepEqual(
        reasonsOf(checkNetworkChange(before, draft(fields), declared(tenants, [before, other]), [], [])),
        reasons,
      );
    });
});

describe("choice of a VNI", () => {
  const freeFrom =
    (isFree: (vni: number) => boolean) =>
    (from: number): number | undefined => {
      for (let vni = from; vni <= 0xff_ffff; vni++) if (isFree(vni)) return vni;
      return undefined;
    };
  const choose = (isFree: (vni: number) => boolean, encapsulation: Encapsulation = "vxlan") => {
    const chosen = chooseVni(freeFrom(isFree), encapsulation);
    return chosen.ok ? chosen.value : chosen.error.message;
  };

  it("begins at 4096", () =>
    assert.equal(
      choose((vni) => vni !== 1),
      4096,
    ));
  it("takes the lowest free one", () =>
    assert.equal(
      choose((vni) => ![4096, 4097, 4099].includes(vni)),
      4098,
    ));
  it("goes below 4096 last, and then gives up", () => {
    assert.equal(
      choose((vni) => vni === 0xff_ffff),
      0xff_ffff,
    );
    assert.equal(
      choose((vni) => vni < 3),
      1,
    );
    assert.equal(
      choose(() => false),
      "choose a VNI: all 16777215 VNIs are taken",
    );
  });
  it("keeps to what the encapsulation has", () => {
    const edges = (vni: number): boolean => vni < 4096 || vni === 0xff_ffff;
    assert.equal(choose(edges, "nvgre"), "choose a VNI: all 16773119 VSIDs are taken");
    assert.equal(
      choose((vni) => edges(vni) || vni === 0xff_fffe, "nvgre"),
      0xff_fffe,
    );
  });
});
