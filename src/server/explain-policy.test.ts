/** What becomes of packets by policies, asked of the server: what decides, and what cannot be asked. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { endpointId, refusal } from "../../test/support/server.ts";
import { cidr } from "../base/cidr.ts";
import { familyOf, type IpAddress, type Ipv4Address, ip } from "../base/ip.ts";
import { unwrap } from "../base/result.ts";
import {
  decide,
  type Party,
  type Policy,
  type PolicyDirection,
  parsePolicy,
  policyDirections,
} from "../model/policy/index.ts";
import type { Network, Node } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import { serverState } from "../testing/server-state.ts";
import { explainPolicy } from "./explain-policy.ts";
import type { State } from "./state.ts";

const network = (fields: object): Network => unwrap(parseNetwork({ tenant: "acme", ...fields }));
const policy = (fields: object, index = 0): Policy =>
  unwrap(parsePolicy({ name: `p${index}`, tenant: "acme", ...fields }));

const networks = [
  network({
    name: "front",
    vni: 1,
    subnets: ["10.1.0.0/24", "fd01::/64"],
    gateways: ["10.1.0.1", "fd01::1"],
    egress: true,
  }),
  network({ name: "back", vni: 2, subnets: ["10.2.0.0/24"], gateways: ["10.2.0.1"] }),
  network({ name: "pods", vni: 3, mode: "l3", subnets: ["10.3.0.0/16"] }),
  network({ name: "elsewhere", vni: 4, subnets: ["10.4.0.0/24"] }),
  network({ name: "rival", vni: 5, tenant: "other", subnets: ["10.1.0.0/24"] }),
];
const place = (id: number, network: string, node: string, addresses: string, labels: Record<string, string> = {}) => ({
  id: endpointId(id),
  network,
  node,
  ips: addresses.split(" ").map(ip),
  labels,
});
const endpoints = [
  place(1, "front", "h1", "10.1.0.2 fd01::2", { app: "web" }),
  place(2, "front", "h2", "10.1.0.3 fd01::3", { app: "client" }),
  place(3, "back", "h1", "10.2.0.3", { app: "db" }),
  place(4, "pods", "h1", "10.3.0.2"),
  place(5, "rival", "h1", "10.1.0.2", { app: "web" }),
  place(6, "back", "h2", "10.2.0.4", { app: "web" }),
];
const blocks = [
  { network: "pods", cidr: cidr("10.3.0.0/26"), node: "h1" },
  { network: "pods", cidr: cidr("10.3.0.64/26"), node: "h2" },
];

const node = (name: string, ipv4: string): Node => ({
  ...{ name, underlayMtu: 1500, generation: 1 },
  vtepAddresses: { ipv4: ip(ipv4) as Ipv4Address },
});
const nodes = [node("h1", "192.0.2.1"), node("h2", "192.0.2.2")];

const stateWith = (...policies: readonly object[]): State =>
  serverState({ networks, endpoints, blocks, nodes, policies: policies.map(policy) });

interface Question {
  readonly protocol?: string;
  readonly port?: number;
  readonly type?: number;
}

const ask = (state: State, from: string, to: string, question: Question = { protocol: "tcp", port: 80 }) =>
  explainPolicy(state, { from, to, protocol: "", ...question });

/** The decisions, as text. */
const reasons = (answer: ReturnType<typeof ask>): string[] =>
  (answer.decisions ?? []).map(({ direction, endpoint, verdict, decidedBy, policy = "", rule = "", logged = [] }) =>
    [
      `${direction} ${Number(`0x${endpoint}`)}: ${verdict} by ${[decidedBy, policy, rule].filter((word) => word !== "").join(" ")}`,
      ...logged.map((each) => `logged by ${each.policy} ${each.rule}`),
    ].join(", "),
  );

const allow = (fields: object = {}) => ({ direction: "ingress", action: "allow", ...fields });
const deny = (fields: object = {}) => ({ direction: "ingress", action: "deny", ...fields });

describe("explain says which rule decides", () => {
  const web = "app=web";
  const cases: [what: string, policies: object[], question: Parameters<typeof ask>, ...said: string[]][] = [];
  const add = (
    what: string,
    policies: object[],
    [from, to, question]: [string, string, Question?],
    ...said: string[]
  ): void => void cases.push([what, policies, [stateWith(...policies), from, to, question], ...said]);
  const pair: [string, string] = ["front/10.1.0.3", "front/10.1.0.2"];
  add(
    "no policy: the network's default",
    [],
    pair,
    "allow",
    "egress 2: allow by default",
    "ingress 1: allow by default",
  );
  add(
    "a rule that allows, by its name",
    [{ endpoints: web, rules: [allow({ name: "http", ports: [{ protocol: "tcp", ports: [80] }] })] }],
    pair,
    "allow",
    "egress 2: allow by default",
    "ingress 1: allow by rule p0 http",
  );
  add(
    "no rule: the policy that isolates",
    [{ endpoints: web, rules: [allow({ ports: [{ protocol: "tcp", ports: [81] }] })] }],
    pair,
    "deny",
    "egress 2: allow by default",
    "ingress 1: deny by isolation p0",
  );
  add(
    "the sender's policies, too",
    [{ endpoints: "app=client", rules: [{ direction: "egress", action: "deny", name: "quiet" }] }],
    pair,
    "deny",
    "egress 2: deny by rule p0 quiet",
    "ingress 1: allow by default",
  );
  add(
    "priority, then what denies; a rule without a name by its place",
    [
      { endpoints: web, priority: 20, rules: [deny()] },
      { endpoints: web, priority: 10, rules: [deny({ peers: [{ endpoints: "app=x" }] }), allow()] },
    ],
    pair,
    "allow",
    "egress 2: allow by default",
    "ingress 1: allow by rule p1 ingress-2",
  );
  add(
    "what only logs is named beside what decides",
    [
      {
        endpoints: web,
        isolates: [],
        rules: [
          { direction: "ingress", action: "log", name: "seen" },
          { direction: "ingress", action: "log", name: "other", ports: [{ protocol: "udp" }] },
          { direction: "egress", action: "log" },
        ],
      },
    ],
    pair,
    "allow",
    "egress 2: allow by default",
    "ingress 1: allow by default, logged by p0 seen",
  );
  add(
    "over IPv6 as over IPv4",
    [{ endpoints: web, rules: [allow({ peers: [{ subnet: "fd01::3/128" }] })] }],
    ["front/fd01::3", "front/fd01::2"],
    "allow",
    "egress 2: allow by default",
    "ingress 1: allow by rule p0 ingress-1",
  );
  add(
    "the same peer's IPv4 address is not in that subnet",
    [{ endpoints: web, rules: [allow({ peers: [{ subnet: "fd01::3/128" }] })] }],
    pair,
    "deny",
    "egress 2: allow by default",
    "ingress 1: deny by isolation p0",
  );
  add(
    "ICMPv6, if it is said so, of endpoints named by their ids",
    [{ endpoints: web, rules: [allow({ ports: [{ protocol: "icmpv6", types: [128] }] })] }],
    [endpointId(2), endpointId(1), { protocol: "icmpv6" }],
    "allow",
    "egress 2: allow by default",
    "ingress 1: allow by rule p0 ingress-1",
  );
  add(
    "somebody outside, of whom only the address counts",
    [
      {
        endpoints: web,
        rules: [allow({ name: "office", peers: [{ subnet: "192.0.2.0/24", except: ["192.0.2.128/25"] }] })],
      },
    ],
    ["192.0.2.7", "front/10.1.0.2"],
    "allow",
    "ingress 1: allow by rule p0 office",
  );
  add(
    "one whom the subnet excepts",
    [{ endpoints: web, rules: [allow({ peers: [{ subnet: "192.0.2.0/24", except: ["192.0.2.128/25"] }] })] }],
    ["192.0.2.200", "front/10.1.0.2"],
    "deny",
    "ingress 1: deny by isolation p0",
  );
  add(
    "by network and labels of the peer, who is in another network",
    [{ networks: ["front"], rules: [deny({ name: "dbs", peers: [{ endpoints: "app=db", networks: ["back"] }] })] }],
    ["10.2.0.3", "front/10.1.0.2"],
    "deny",
    "egress 3: allow by default",
    "ingress 1: deny by rule p0 dbs",
  );
  for (const [what, , question, verdict, ...said] of cases)
    it(what, () => {
      const answer = ask(...question);
      assert.equal(answer.verdict, verdict);
      assert.deepEqual(reasons(answer), said);
    });

  it("the default of a network that denies", () => {
    const denies = networks.map((each) => (each.name === "front" ? { ...each, policyDefault: "deny" as const } : each));
    const answer = ask(serverState({ networks: denies, endpoints }), ...pair);
    assert.deepEqual(reasons(answer), ["egress 2: deny by default", "ingress 1: deny by default"]);
  });
});

describe("explain about addresses that no endpoint is known to have", () => {
  const denies = { rules: [deny({ name: "evil", peers: [{ endpoints: "app=evil" }] })] };
  const cases: [what: string, address: string, of: number, said: string][] = [
    ["of the endpoint's network: whatever denies to endpoints", "10.1.0.77", 1, "deny by rule p0 evil"],
    ["of another network of its node", "10.2.0.77", 1, "deny by rule p0 evil"],
    ["of a network that its node does not have", "10.4.0.77", 1, "allow by default"],
    ["of the outside", "192.0.2.7", 1, "allow by default"],
    ["the gateway that the nodes are", "10.1.0.1", 1, "allow by default"],
    ["a gateway that a router of the tenant's is", "10.2.0.1", 3, "deny by rule p0 evil"],
    ["the gateway of a block of its node", "10.3.0.1", 4, "allow by default"],
    ["the gateway of a block of another node", "10.3.0.65", 4, "deny by rule p0 evil"],
    ["the VTEP of its node", "192.0.2.1", 1, "allow by default"],
    ["the VTEP of another node", "192.0.2.2", 1, "allow by default"],
  ];
  for (const [what, address, of, said] of cases)
    it(what, () =>
      assert.deepEqual(reasons(ask(stateWith(denies), address, endpointId(of))), [`ingress ${of}: ${said}`]),
    );

  it("the endpoint's node is what that has itself, and none of the others", () => {
    const allowed = cases.filter(([, address, of]) => {
      const state = stateWith({ rules: [allow({ peers: [{ node: "own" }] })] });
      return ask(state, address, endpointId(of)).verdict === "allow";
    });
    assert.deepEqual(
      allowed.map(([what]) => what),
      ["the gateway that the nodes are", "the gateway of a block of its node", "the VTEP of its node"],
    );
  });

  it("what allows to endpoints does not allow to them, and a subnet means them", () => {
    const state = stateWith({
      endpoints: "app=web",
      rules: [
        allow({ ports: [{ protocol: "tcp", ports: [81] }], peers: [{ subnet: "10.1.0.77/32" }] }),
        allow({ peers: [{ endpoints: "" }] }),
      ],
    });
    for (const [port, said] of [
      [80, "deny by isolation p0"],
      [81, "allow by rule p0 ingress-1"],
    ] as const)
      assert.deepEqual(reasons(ask(state, "10.1.0.77", endpointId(1), { port })), [`ingress 1: ${said}`]);
  });
});

describe("explain tells what it was asked about", () => {
  const state = stateWith();
  it("both ends, and what is said", () => {
    const { from, to, protocol, port, obstacle } = ask(state, "192.0.2.7", endpointId(1), { port: 443 });
    assert.deepEqual([protocol, port, obstacle], ["tcp", 443, undefined]);
    assert.deepEqual(from, { address: "192.0.2.7", endpoint: "", network: "", tenant: "", node: "", labels: {} });
    assert.deepEqual(to, {
      address: "10.1.0.2",
      endpoint: endpointId(1),
      network: "front",
      tenant: "acme",
      node: "h1",
      labels: { app: "web" },
    });
  });

  const completed: [question: Question, to: string, protocol: string, type: number | undefined][] = [
    [{ protocol: "icmp" }, "front/10.1.0.2", "icmp", 8],
    [{ type: 13 }, "front/10.1.0.2", "icmp", 13],
    [{ protocol: "icmpv6" }, endpointId(1), "icmpv6", 128],
    [{ type: 1 }, "front/fd01::2", "icmpv6", 1],
    [{ protocol: "47" }, "front/10.1.0.2", "47", undefined],
    [{ protocol: "1" }, "front/10.1.0.2", "icmp", 8],
  ];
  for (const [question, to, protocol, type] of completed)
    it(`${JSON.stringify(question)} to ${to}`, () => {
      const from = to.includes(":") ? "front/fd01::3" : to.includes("/") ? "front/10.1.0.3" : endpointId(2);
      const answer = ask(state, from, to, question);
      assert.deepEqual([answer.protocol, answer.type, answer.port], [protocol, type, undefined]);
    });

  it("what nothing passes, whatever policies say", () => {
    const between = ask(state, "front/10.1.0.2", "rival/10.1.0.2");
    assert.deepEqual([between.verdict, between.decisions], ["deny", undefined]);
    assert.match(between.obstacle ?? "", /network front is of tenant acme and network rival of tenant other/);
    const families = ask(state, "back/10.2.0.3", "front/fd01::2");
    assert.deepEqual([families.verdict, families.obstacle], ["deny", "they have no addresses of one IP family"]);
  });
});

describe("explain refuses", () => {
  const state = stateWith();
  const one = "front/10.1.0.2";
  const cases: [from: string, to: string, question: Question, code: Parameters<typeof refusal>[0], reason: RegExp][] = [
    [endpointId(99), one, { port: 80 }, "not-found", /there is no endpoint 000000000063/],
    ["none/10.1.0.2", one, { port: 80 }, "not-found", /there is no network none/],
    ["front/10.1.0.99", one, { port: 80 }, "not-found", /no endpoint of network front has the address 10\.1\.0\.99/],
    ["front/10.1.0", one, { port: 80 }, "invalid-argument", /^from: /],
    ["a b", one, { port: 80 }, "invalid-argument", /^from: found "a b"; allowed: the id of an endpoint/],
    [one, "", { port: 80 }, "invalid-argument", /^to: found ""/],
    [`${"x".repeat(10_000)}`, one, { port: 80 }, "invalid-argument", /^from: found "x{80}"; /],
    ["192.0.2.1", "192.0.2.2", { port: 80 }, "invalid-argument", /neither is an endpoint of weft/],
    [one, endpointId(1), { port: 80 }, "invalid-argument", /both are endpoint 000000000001/],
    ["192.0.2.1", one, {}, "invalid-argument", /what is said is not named/],
    ["192.0.2.1", one, { protocol: "tpc", port: 80 }, "invalid-argument", /^protocol: found "tpc"; allowed: /],
    ["192.0.2.1", one, { protocol: "256" }, "invalid-argument", /^protocol: found "256"/],
    [
      "192.0.2.1",
      one,
      { protocol: "tcp" },
      "invalid-argument",
      /^port: found nothing; policies tell ports of tcp apart/,
    ],
    ["192.0.2.1", one, { port: 65_536 }, "invalid-argument", /^port: found 65536; allowed: 0 to 65535/],
    ["192.0.2.1", one, { type: 256 }, "invalid-argument", /^type: found 256; allowed: 0 to 255/],
    ["192.0.2.1", one, { protocol: "icmp", port: 80 }, "invalid-argument", /^port: icmp has none/],
    ["192.0.2.1", one, { protocol: "47", type: 8 }, "invalid-argument", /^type: 47 has none/],
    ["192.0.2.1", one, { protocol: "udp", port: 1, type: 8 }, "invalid-argument", /^type: udp has none/],
    [
      "192.0.2.1",
      one,
      { protocol: "icmpv6" },
      "invalid-argument",
      /icmpv6 goes over IPv6, and the addresses are of IPv4/,
    ],
  ];
  for (const [from, to, question, code, reason] of cases)
    it(`${JSON.stringify(question)} from ${from.slice(0, 20)} to ${to}: ${reason.source.slice(0, 50)}`, () =>
      assert.throws(() => ask(state, from, to, question), refusal(code, reason)));
});

const labels = fc.constantFrom("", "app=web", "app in (web,db)", "!app", "app=client");
const peer = fc.oneof(
  fc.record({ endpoints: labels, networks: fc.subarray(["front", "back"], { minLength: 1 }) }),
  fc.record({ subnet: fc.constantFrom("10.1.0.0/24", "10.0.0.0/8", "fd01::/64", "10.2.0.3/32", "0.0.0.0/0") }),
);
const draft = fc.record({
  endpoints: labels,
  priority: fc.constantFrom(1, 2),
  isolates: fc.subarray([...policyDirections]),
  rules: fc.array(
    fc.record({
      direction: fc.constantFrom(...policyDirections),
      action: fc.constantFrom("allow", "deny", "log"),
      peers: fc.option(fc.array(peer, { minLength: 1, maxLength: 2 }), { nil: undefined }),
      ports: fc.constantFrom(undefined, [{ protocol: "tcp", ports: ["80-90"] }], [{ protocol: "udp" }]),
    }),
    { maxLength: 4 },
  ),
});

it("explain says what `decide` says, of whatever policies", () => {
  const members = endpoints.filter(({ network }) => network !== "rival");
  const own = fc.constantFrom(...members);
  fc.assert(
    fc.property(
      fc.array(draft, { maxLength: 4 }),
      own,
      own,
      fc.constantFrom("tcp", "udp"),
      (drafts, from, to, said) => {
        fc.pre(from !== to);
        const policies = drafts.map(policy);
        const port = 80;
        const answer = ask(stateWith(...drafts), from.id, to.id, { protocol: said, port });
        const inFamily = (of: readonly IpAddress[]): IpAddress => of.find((each) => familyOf(each) === 4) as IpAddress;
        const expected = (direction: PolicyDirection, at: typeof from, peer: typeof from) => {
          const party: Party = { address: inFamily(peer.ips), identity: peer };
          const protocol = said === "tcp" ? 6 : 17;
          return decide(policies, at, direction, party, { protocol, port }, "allow");
        };
        const decisions = [expected("egress", from, to), expected("ingress", to, from)];
        assert.equal(answer.verdict, decisions.every(({ verdict }) => verdict === "allow") ? "allow" : "deny");
        assert.deepEqual(
          answer.decisions?.map(({ verdict, policy, rule, logged }) => ({ verdict, policy, rule, logged })),
          decisions.map(({ verdict, by, isolatedBy, logged }) => ({
            verdict,
            policy: by?.policy.name ?? isolatedBy?.name,
            rule: by?.rule.name,
            logged: logged.map((each) => ({ policy: each.policy.name, rule: each.rule.name })),
          })),
        );
      },
    ),
  );
});
