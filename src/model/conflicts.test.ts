import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ErrorCode, WeftError } from "../base/errors.ts";
import { ip } from "../base/ip.ts";
import {
  checkNetworkChange,
  checkNetworkDeletion,
  checkNewNetwork,
  checkNewTenant,
  checkNodeRegistration,
  checkTenantDeletion,
  chooseVni,
} from "./conflicts.ts";
import type { Network, Node, Tenant } from "./resources.ts";
import { type NetworkDraft, parseNetwork, parseNetworkDraft, parseNode } from "./schema.ts";

function expectOk<Value>(result: { ok: true; value: Value } | { ok: false; error: unknown }): Value {
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
}
const base = { name: "blue-net", tenant: "blue", vni: 100, subnets: ["10.0.0.0/24", "fd00::/64"] };
const network = (fields: object = {}): Network => expectOk(parseNetwork({ ...base, ...fields }));
const draft = (fields: object = {}): NetworkDraft => expectOk(parseNetworkDraft({ ...base, ...fields }));
const node = (name: string, ipv4: string, ipv6?: string): Node =>
  expectOk(parseNode({ name, vtepAddresses: { ipv4, ipv6 }, underlayMtu: 1500, generation: 1 }));

const tenants: Tenant[] = [
  { name: "blue", placement: "own" },
  { name: "red", placement: "own" },
];
const networks = [network()];
const endpoints = [{ id: "0123456789ab", node: "h1", ips: [ip("10.0.0.2"), ip("fd00::2")] }];

const table: [string, WeftError[], [ErrorCode, string, hint: string][]][] = [
  ["new tenant", checkNewTenant({ name: "green", placement: "own" }, tenants), []],
  [
    "tenant name taken",
    checkNewTenant({ name: "red", placement: "own" }, tenants),
    [
      [
        "already-exists",
        "create tenant red: a tenant of this name exists",
        "choose another name, or use the existing one: weft tenant show red",
      ],
    ],
  ],
  ["new network", checkNewNetwork(draft({ name: "n", vni: 101, subnets: ["10.0.1.0/24"] }), tenants, networks), []],
  [
    "same subnets, other tenant, VNI left to the server",
    checkNewNetwork(draft({ name: "n", vni: undefined, tenant: "red" }), tenants, networks),
    [],
  ],
  [
    "network name taken",
    checkNewNetwork(draft(), tenants, networks),
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
    checkNewNetwork(draft({ name: "n", tenant: "pink" }), tenants, networks),
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
    checkNewNetwork(
      draft({ name: "n", vni: 101, subnets: ["10.0.0.0/16", "fd00:0:0:0:8000::/65"] }),
      tenants,
      networks,
    ),
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
  ["no change", checkNetworkChange(network(), draft(), networks, endpoints), []],
  ["VNI left out keeps it", checkNetworkChange(network(), draft({ vni: undefined }), networks, endpoints), []],
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
      networks,
      endpoints,
    ),
    [],
  ],
  [
    "fixed fields",
    checkNetworkChange(network(), draft({ tenant: "red", vni: 7, port: 8472, underlay: "ipv6" }), networks, []),
    [
      ["tenant", "blue", "red"],
      ["vni", "100", "7"],
      ["port", "4789", "8472"],
      ["underlay", "ipv4", "ipv6"],
    ].map(([field, old, wanted]) => [
      "failed-precondition",
      `change network blue-net: ${field} is ${old} and cannot become ${wanted}`,
      `keep ${field}: ${old}, or create another network and move the endpoints there`,
    ]),
  ],
  ["subnets without endpoints", checkNetworkChange(network(), draft({ subnets: ["10.0.0.0/16"] }), networks, []), []],
  [
    "subnets with endpoints",
    checkNetworkChange(network(), draft({ subnets: ["10.0.0.0/16"] }), networks, endpoints),
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
      [...networks, network({ name: "n", vni: 9, subnets: ["10.9.9.0/24"] })],
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
    checkNetworkChange(network(), draft({ gateways: ["10.0.0.1", "fd00::2"] }), networks, endpoints),
    [
      [
        "already-exists",
        "change network blue-net: endpoint 0123456789ab has the address of gateway fd00::2",
        "choose another gateway, or detach that endpoint first",
      ],
    ],
  ],
  ["delete an empty tenant", checkTenantDeletion("red", networks), []],
  [
    "delete a tenant with networks",
    checkTenantDeletion(
      "blue",
      ["a", "b", "c", "d", "e", "f", "g"].map((name) => network({ name })),
    ),
    [["failed-precondition", "delete tenant blue: it has networks: a, b, c, d, e and 2 more", "delete them first"]],
  ],
  ["delete an empty network", checkNetworkDeletion("blue-net", []), []],
  [
    "delete a network with endpoints",
    checkNetworkDeletion("blue-net", endpoints),
    [["failed-precondition", "delete network blue-net: it has endpoints: 0123456789ab on h1", "detach them first"]],
  ],
  ["register again", checkNodeRegistration(node("h1", "192.0.2.1"), [node("h1", "192.0.2.1")]), []],
  ["register another", checkNodeRegistration(node("h2", "192.0.2.2"), [node("h1", "192.0.2.1")]), []],
  [
    "VTEP address taken",
    checkNodeRegistration(node("h2", "192.0.2.2", "2001:db8::1"), [node("h1", "192.0.2.1", "2001:db8::1")]),
    [
      [
        "already-exists",
        "register node h2: node h1 has the VTEP address 2001:db8::1",
        "give each node an underlay address of its own, or delete node h1 when it is gone",
      ],
    ],
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

describe("choice of a VNI", () => {
  it("begins at 4096", () => assert.deepEqual(chooseVni(new Set([1, 100])), { ok: true, value: 4096 }));
  it("takes the lowest free one", () =>
    assert.deepEqual(chooseVni(new Set([4096, 4097, 4099])), { ok: true, value: 4098 }));
  it("goes below 4096 last, and then gives up", () => {
    const taken = { has: (vni: number) => vni >= 3 } as ReadonlySet<number>;
    assert.deepEqual(chooseVni(taken), { ok: true, value: 1 });
    const none = chooseVni({ has: () => true } as unknown as ReadonlySet<number>);
    assert.equal(none.ok ? "" : none.error.message, "choose a VNI: all 16777215 VNIs are taken");
  });
});
