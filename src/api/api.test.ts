import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { cidr } from "../base/cidr.ts";
import { type ErrorCode, WeftError } from "../base/errors.ts";
import { type Ipv4Address, type Ipv6Address, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import type { Rate } from "../model/bandwidth.ts";
import { defaultEgressBlocked } from "../model/egress-blocked.ts";
import { type Policy, type PolicyMember, parseLabelSelector } from "../model/policy/index.ts";
import type { Block, Endpoint, FloatingAddress, Network, Node, Pod, Tenant, Vni } from "../model/resources.ts";
import { parseServerUrl } from "./clients.ts";
import type { Codec } from "./codec.ts";
import { networkState } from "./convert.ts";
import { fromConnectError, toConnectError } from "./errors.ts";
import { ErrorDetailSchema } from "./generated/weft/v1/errors_pb.js";
import { NetworkStateSchema } from "./generated/weft/v1/node_pb.js";
import { NetworkSchema, PolicySchema, TenantSchema } from "./generated/weft/v1/resources_pb.js";
import { kinds, policyMember } from "./kinds.ts";
import { formatToken, parseToken } from "./token.ts";

const selector = (text: string) => unwrap(parseLabelSelector(text));
const tenant: Tenant = { name: "acme", placement: "own" };
const everyTenant: Required<Tenant> = { ...tenant, nodeSelector: { zone: "a" } };
const network: Network = {
  name: "blue",
  tenant: "acme",
  mode: "l2",
  encapsulation: "vxlan",
  vni: 4096 as Vni,
  subnets: [cidr("10.0.0.0/24"), cidr("fd00::/64")],
  gateways: [ip("10.0.0.1")],
  blockSize: 64,
  mtu: 1400,
  port: 4789,
  underlay: "ipv6",
  flood: "none",
  arpSuppression: false,
  discovery: "control-plane",
  vteps: [],
  learning: "control-plane",
  changeTimeout: 45,
  learningLimit: 8,
  ageing: 60,
  names: false,
  crossSubnet: false,
  egress: false,
  egressBlocked: [],
  vlanTags: true,
  antiSpoof: false,
  stormControl: { port: 0, network: 7 },
  blockAssignment: "automatic",
  policyDefault: "deny",
  hostAccess: false,
  peers: [],
};
const routed: Network = {
  ...network,
  mode: "l3",
  encapsulation: "gre",
  gateways: [],
  blockSize: 256,
  blockAssignment: "declared",
  port: 0,
  flood: "head-end",
  arpSuppression: true,
  learningLimit: 0,
  vlanTags: false,
  crossSubnet: true,
  egress: true,
  egressBlocked: [cidr("169.254.0.0/16"), cidr("fd00:ec2::/32")],
  hostAccess: true,
};
const flooded: Network = {
  ...network,
  flood: "head-end",
  learning: "data-plane",
  learningLimit: 0,
};
const rate = (text: string): Rate => text as Rate;
/** Every field that there is, but for such as do not go together: none is lost on the way. */
const everyNetwork: Required<Omit<Network, "gateway">> = {
  ...flooded,
  mtu: 1400,
  nodeSelector: { zone: "a" },
  bandwidth: { send: { limit: rate("1Gbit"), burst: 500_000 } },
  endpointBandwidth: { send: { guarantee: rate("1Mbit") }, receive: { limit: rate("1500kbit") } },
  dscp: 46,
  dhcp: {
    dns: [ip("10.1.0.53"), ip("fd00::53")],
    domain: "lab.example",
    ntp: [ip("10.1.0.123")],
    leaseTime: 600,
    bootServer: ip("10.1.0.69") as Ipv4Address,
    bootFile: "pxelinux.0",
    metadata: true,
  },
  names: true,
  discovery: "multicast",
  multicast: { group: ip("ff05::7"), ttl: 4, interface: "eth1" },
};
const inheriting: Network = { ...flooded, dscp: "inherit" };
const between: Network = {
  ...network,
  gateways: [ip("10.0.0.1"), ip("fd00::1")],
  gateway: "distributed",
  peers: ["red/red", "green/green"],
};
const multicastDefaults: Network = { ...flooded, discovery: "multicast", multicast: { ttl: 1 } };
const listed: Network = { ...flooded, discovery: "static", vteps: [ip("2001:db8::7")] };
const block: Block = { network: "blue", node: "h1", cidr: cidr("10.0.0.64/26"), generation: 7 };
const node: Node = {
  name: "h1",
  vtepAddresses: { ipv4: ip("192.0.2.1") as Ipv4Address, ipv6: ip("2001:db8::1") as Ipv6Address },
  underlayMtu: 1500,
  generation: 3,
};
const endpoint: Endpoint = {
  id: "0123456789ab",
  network: "blue",
  node: "h1",
  mac: mac("02:00:00:00:00:01"),
  ips: [ip("10.0.0.2"), ip("fd00::2")],
  attachment: "netns",
  sequence: 5,
};
const floatingAddress: FloatingAddress = {
  name: ip("192.0.2.50"),
  network: "blue",
  endpoint: ip("10.0.0.2"),
  announce: "none",
};
const everyEndpoint: Required<Endpoint> = {
  ...endpoint,
  labels: { app: "web", legacy: "" },
  learnedIps: [ip("fd00::2")],
  floatingAddresses: [floatingAddress, { ...floatingAddress, name: ip("2001:db8::50"), endpoint: ip("fd00::2") }],
  standby: {
    node: "h2",
    when: "ready",
    port: {
      netns: "",
      interface: "",
      routePriority: 0,
      device: "vm1",
      tap: { owner: 1000, multiQueue: true },
      bandwidth: { send: { limit: "10Mbit" } },
      allowedAddresses: [{ prefix: "10.0.0.100", mac: "" }],
    },
    place: { netns: "/run/netns/c1", interface: "eth0", device: "" },
    fromDead: true,
  },
  formerNodes: ["h3"],
  movable: true,
};
const everyPod: Required<Pod> = {
  name: "0a1b2c3d-0000-4000-8000-000000000001",
  node: "h1",
  title: "shop/web-0",
  networks: ["blue", "red"],
  ips: [ip("10.0.0.2"), ip("fd00::2")],
  mac: mac("02:00:00:00:00:02"),
  labels: { app: "web", "kubernetes/namespace/example.org/team": "" },
  refusal: "weft.dev/mac: found nothing",
  managedBy: "kubernetes",
};
const podOfDefaults: Pod = { name: "p", node: "h1", title: "", networks: ["blue"], ips: [] };
const everyPolicy: Required<Policy> = {
  name: "shop",
  tenant: "acme",
  priority: 0,
  networks: ["blue", "red"],
  endpoints: selector("app=shop,env in (prod,test),!legacy"),
  isolates: [],
  rules: [
    {
      name: "in",
      direction: "ingress",
      action: "allow",
      peers: [
        { networks: [] },
        { endpoints: selector("tier!=db"), networks: ["red"] },
        { subnet: cidr("10.0.0.0/8"), except: [cidr("10.9.0.0/16")] },
        { node: "own" },
      ],
      ports: [
        { protocol: "tcp", ports: ["0", "443", "8000-8100"], types: [] },
        { protocol: "icmp", ports: [], types: [0, 8] },
        { protocol: "0", ports: [], types: [] },
      ],
    },
    { name: "egress-2", direction: "egress", action: "log", peers: [], ports: [] },
    { name: "egress-3", direction: "egress", action: "deny", peers: [{ subnet: cidr("::/0"), except: [] }], ports: [] },
  ],
  managedBy: "kubernetes",
};
const { endpoints: _, managedBy: __, ...ofAll } = everyPolicy;
const policyOfAll: Policy = { ...ofAll, priority: 1000, networks: [], isolates: ["ingress", "egress"], rules: [] };
const member: PolicyMember = {
  id: "0123456789ab",
  tenant: "acme",
  network: "blue",
  ips: [ip("10.0.0.2"), ip("fd00::2")],
  labels: { app: "web", legacy: "" },
};

test("a policy of which a message says nothing has the defaults", () => {
  const rules = [{ direction: "ingress", action: "allow" }];
  const read = kinds.policy.fromMessage(create(PolicySchema, { name: "p", tenant: "acme", rules }));
  assert.ok(read.ok);
  const { priority, isolates, rules: ruled, networks } = read.value;
  assert.deepEqual([priority, isolates, networks, ruled[0]?.name], [1000, ["ingress"], [], "ingress-1"]);
});

test("a network that says nothing of what egress leaves out has the default list", () => {
  const message = kinds.network.toMessage(routed);
  delete message.egressBlocked;
  const read = kinds.network.decode(toBinary(NetworkSchema, message));
  assert.deepEqual(read, { ok: true, value: { ...routed, egressBlocked: defaultEgressBlocked } });
});

test("resources cross the wire unchanged, with all that they have", () => {
  const { mtu: _, ...computed } = network;
  const { ipv4 } = node.vtepAddresses;
  assert.ok(ipv4 !== undefined);
  const crossings: [Pick<Codec<unknown, never>, "encode" | "decode">, unknown[]][] = [
    [kinds.tenant, [tenant, everyTenant]],
    [kinds.network, [network, computed, routed, flooded, everyNetwork, inheriting, multicastDefaults, listed, between]],
    [kinds.block, [block]],
    [kinds["floating-address"], [floatingAddress]],
    [kinds.pod, [everyPod, podOfDefaults]],
    [kinds.node, [node, { ...node, vtepAddresses: { ipv4 } }, { ...node, vtepAddresses: {} }]],
    [kinds.endpoint, [endpoint, everyEndpoint]],
    [kinds.policy, [everyPolicy, policyOfAll]],
    [policyMember, [member, { ...member, ips: [], labels: {} }]],
    [
      networkState,
      [
        { network, effectiveMtu: 1400, placement: "own" },
        { network, effectiveMtu: 1400, placement: "host", leftBehind: ["h9"] },
      ],
    ],
  ];
  for (const [codec, values] of crossings)
    for (const value of values) assert.deepEqual(codec.decode(codec.encode(value)), { ok: true, value });
});

test("messages that break the contract are refused, with the reason", () => {
  const cases: [{ ok: boolean; error?: WeftError }, RegExp][] = [
    [
      kinds.tenant.fromMessage(create(TenantSchema, { placement: "moon" })),
      /placement: found "moon"; allowed: own or host/,
    ],
    [
      kinds.network.fromMessage({ ...kinds.network.toMessage(network), mode: "l9" }),
      /mode: found "l9"; allowed: l2 or l3/,
    ],
    [
      kinds.network.fromMessage({ ...kinds.network.toMessage(network), encapsulation: "x" }),
      /encapsulation: found "x"/,
    ],
    [kinds.network.fromMessage({ ...kinds.network.toMessage(network), underlay: "x" }), /underlay: found "x"/],
    [kinds.network.fromMessage({ ...kinds.network.toMessage(network), flood: "all" }), /flood: found "all"/],
    [kinds.network.fromMessage({ ...kinds.network.toMessage(network), vni: 0 }), /vni: found nothing; allowed: a VNI/],
    [kinds.network.fromMessage({ ...kinds.network.toMessage(network), port: 65_536 }), /port: found 65536/],
    [kinds.network.fromMessage({ ...kinds.network.toMessage(network), discovery: "static" }), /vteps: found none/],
    [kinds.network.fromMessage({ ...kinds.network.toMessage(network), subnets: ["10.0.0.1/24"] }), /without host bits/],
    [
      kinds.network.fromMessage({ ...kinds.network.toMessage(network), gateways: ["10.0.0"] }),
      /gateways\[0\]: found "10\.0\.0"/,
    ],
    [kinds.block.fromMessage({ ...kinds.block.toMessage(block), cidr: "10.0.0.1/26" }), /host bits/],
    [networkState.fromMessage(create(NetworkStateSchema)), /network is missing/],
    [kinds.node.fromMessage({ ...kinds.node.toMessage(node), vtepIpv4: "fd00::1" }), /is not an IPv4 address/],
    [kinds.node.fromMessage({ ...kinds.node.toMessage(node), vtepIpv6: "10.0.0.1" }), /is not an IPv6 address/],
    [kinds.node.fromMessage({ ...kinds.node.toMessage(node), vtepIpv6: "x" }), /"x" is not/],
    [kinds.endpoint.fromMessage({ ...kinds.endpoint.toMessage(endpoint), mac: "02" }), /"02" is not a MAC/],
    [kinds.endpoint.fromMessage({ ...kinds.endpoint.toMessage(endpoint), ips: ["1"] }), /"1" is not/],
    [kinds.endpoint.fromMessage({ ...kinds.endpoint.toMessage(endpoint), attachment: "" }), /unknown attachment/],
    [kinds.endpoint.fromMessage({ ...kinds.endpoint.toMessage(endpoint), labels: { a: " " } }), /labels\.a: found " "/],
    [kinds.policy.fromMessage({ ...kinds.policy.toMessage(everyPolicy), endpoints: "=" }), /endpoints: found "="/],
    [kinds.policy.fromMessage({ ...kinds.policy.toMessage(everyPolicy), name: "" }), /name: found nothing/],
    [policyMember.fromMessage({ ...policyMember.toMessage(member), ips: ["1"] }), /"1" is not/],
    [policyMember.fromMessage({ ...policyMember.toMessage(member), labels: { "-": "" } }), /labels\.-/],
  ];
  for (const [result, reason] of cases) {
    assert.equal(result.ok, false);
    assert.equal(result.error?.code, "invalid-argument");
    assert.match(result.error?.reason ?? "", reason);
  }
});

/** As a client reads it from the wire: details are octets there. */
function received(error: ConnectError): ConnectError {
  const copy = new ConnectError(error.rawMessage, error.code);
  copy.details = error.details.map((detail) =>
    "desc" in detail
      ? { type: detail.desc.typeName, value: toBinary(ErrorDetailSchema, create(ErrorDetailSchema, detail.value)) }
      : detail,
  );
  return copy;
}

test("an error keeps its code and all its words", () => {
  const codes: ErrorCode[] = [
    "invalid-argument",
    "not-found",
    "already-exists",
    "failed-precondition",
    "exhausted",
    "permission-denied",
    "unauthenticated",
    "unavailable",
    "unsupported",
    "internal",
  ];
  for (const code of codes)
    for (const hint of [undefined, "try this"]) {
      const sent = new WeftError({ code, attempted: "do it", reason: "no", ...(hint === undefined ? {} : { hint }) });
      const got = fromConnectError(received(toConnectError(sent)), "call");
      assert.deepEqual([got.code, got.attempted, got.reason, got.hint], [code, "do it", "no", hint]);
    }
});

test("what is no error of weft becomes one", () => {
  assert.equal(toConnectError(new TypeError("oops")).code, Code.Internal);
  const cases: [unknown, ErrorCode, string][] = [
    [received(toConnectError(new TypeError("oops"))), "internal", "oops"],
    [new ConnectError("late", Code.DeadlineExceeded), "unavailable", "late"],
    [new ConnectError("gone", Code.Aborted), "unavailable", "gone"],
    [new Error("odd"), "internal", "odd"],
  ];
  for (const [thrown, code, reason] of cases) {
    const error = fromConnectError(thrown, "call");
    assert.deepEqual([error.code, error.attempted, error.reason], [code, "call", reason]);
  }
});

test("a token is read as it was written, and not when a part is missing", () => {
  const fingerprint = "f".repeat(43);
  const token = { issuer: "weft", secret: "s".repeat(32), fingerprint } as const;
  for (const each of [token, { issuer: "vouched", secret: "head.-_.signature", fingerprint } as const])
    assert.deepEqual(parseToken(`${formatToken(each)}\n`), { ok: true, value: each });
  for (const text of [
    "",
    "weft-",
    `vouched-.${fingerprint}`,
    `vouched-two words.${fingerprint}`,
    formatToken(token).slice(1),
    formatToken(token).slice(0, -1),
    `${formatToken(token)}x`,
  ])
    assert.equal(parseToken(text).ok, false, text);
});

test("the URL of a server is https with an address and a port", () => {
  assert.deepEqual(parseServerUrl("https://192.0.2.1:7473"), { host: "192.0.2.1", port: 7473 });
  assert.deepEqual(parseServerUrl("https://[fd00::1]:7473"), { host: "fd00::1", port: 7473 });
  assert.deepEqual(parseServerUrl("https://server.example"), { host: "server.example", port: 443 });
  for (const text of ["", "192.0.2.1:7473", "http://192.0.2.1:7473", "https://192.0.2.1/x"])
    assert.throws(() => parseServerUrl(text), /is not the URL of a server/);
});
