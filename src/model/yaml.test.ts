import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { parseNetwork } from "./schema.ts";
import { formatFileProblem, parseResources, type Resource, stringifyResources } from "./yaml.ts";

const name40 = "a name of 1 to 40 lower-case letters, digits and hyphens that begins and ends with a letter or digit";
const resourceMap = "a map with kind and the fields of a resource";

it("reads the resources of all documents", () => {
  const text = `# The blue tenant.
kind: tenant
name: blue
---
kind: network
name: blue-net
tenant: blue
vni: 100
subnets: [10.0.0.0/24, fd00::/64]
---
`;
  assert.deepEqual(parseResources(text, "f"), {
    ok: true,
    value: [
      { kind: "tenant", name: "blue", placement: "own" },
      {
        kind: "network",
        name: "blue-net",
        tenant: "blue",
        mode: "l2",
        encapsulation: "vxlan",
        vni: 100,
        subnets: ["10.0.0.0/24", "fd00::/64"],
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
      },
    ],
  });
});

for (const text of ["", "# nothing\n", "---\n---\n", "\ufeff"])
  it(`reads no resource from ${JSON.stringify(text)}`, () =>
    assert.deepEqual(parseResources(text, "f"), { ok: true, value: [] }));

const refusals: [name: string, text: string, ...problems: string[]][] = [
  ["a scalar", "5", `f:1:1: found 5; allowed: ${resourceMap}`],
  ["a list", "\n- a", `f:2:1: found a list of 1; allowed: ${resourceMap}`],
  ["no kind", "name: a", "f:1:1: kind: found nothing; allowed: tenant or network or policy or floating-address or pod"],
  [
    "an unknown kind",
    "name: a\nkind: Tenant",
    'f:2:7: kind: found "Tenant"; allowed: tenant or network or policy or floating-address or pod',
  ],
  [
    "a kind that every object has",
    "kind: constructor",
    'f:1:7: kind: found "constructor"; allowed: tenant or network or policy or floating-address or pod',
  ],
  [
    "a node",
    "kind: node\nname: h1",
    'f:1:7: kind: found "node"; allowed: tenant or network or policy or floating-address or pod; a node comes into being when its agent joins',
  ],
  [
    "an endpoint",
    "kind: endpoint",
    'f:1:7: kind: found "endpoint"; allowed: tenant or network or policy or floating-address or pod; an endpoint comes into being when it is attached on its node',
  ],
  ["a missing field", "\nkind: tenant", `f:2:1: name: found nothing; allowed: ${name40}`],
  ["an empty field", "kind: tenant\nname:", `f:2:6: name: found null; allowed: ${name40}`],
  ["a number for text", "kind: tenant\nname: 5", `f:2:7: name: found 5; allowed: ${name40}, in quotes`],
  ["CR LF", "kind: tenant\r\nname: A\r\n", `f:2:7: name: found "A"; allowed: ${name40}`],
  [
    "an unknown field",
    "kind: tenant\nname: a\ncolour: blue",
    "f:3:9: colour: found a field of this name; allowed: the fields name, placement, nodeSelector",
  ],
  [
    "a key that is no text",
    "? [a]\n: b\nkind: tenant\nname: a",
    "f:1:1: [ a ]: found a field of this name; allowed: the fields name, placement, nodeSelector",
  ],
  [
    "__proto__",
    "kind: tenant\nname: a\n__proto__: {}",
    "f:3:12: __proto__: found a field of this name; allowed: the fields name, placement, nodeSelector",
  ],
  [
    "a merge key",
    "<<: {name: a}\nkind: tenant\nname: a",
    "f:1:5: <<: found a field of this name; allowed: the fields name, placement, nodeSelector",
  ],
  [
    "all problems of all documents",
    "kind: network\nname: n\ntenant: t\nmtu: 5\nsubnets:\n  - 10.0.0.0/24\n  - 10.0.0.1/24\n---\nkind: tenant\nname: A\n---\n[",
    "f:4:6: mtu: found 5; allowed: octets of an inner IP packet, 68 to 65535",
    'f:7:5: subnets[1]: found "10.0.0.1/24"; allowed: 10.0.0.0/24, the prefix without host bits',
    `f:10:7: name: found "A"; allowed: ${name40}`,
    "f:12:2: found unreadable text (Flow sequence must end with a ]); allowed: YAML 1.2",
  ],
  [
    "a problem behind an alias",
    "kind: network\nname: n\ntenant: t\nsubnets: &s [10.0.0.1/24]\ngateways: *s",
    'f:4:14: subnets[0]: found "10.0.0.1/24"; allowed: 10.0.0.0/24, the prefix without host bits',
    'f:4:14: gateways[0]: found "10.0.0.1/24"; allowed: an IPv4 or IPv6 address without a prefix length',
  ],
  [
    "a field twice",
    "kind: tenant\nname: a\nname: b\nname: c",
    "f:3:1: name: found a second field of this name; allowed: each field once",
    "f:4:1: name: found a second field of this name; allowed: each field once",
  ],
  [
    "a resource twice",
    "kind: tenant\nname: a\n---\nkind: tenant\nname: a",
    "f:5:7: name: found tenant a, as in line 2; allowed: each resource once",
  ],
  [
    "a tab",
    "kind: tenant\n\tname: a",
    "f:2:1: found unreadable text (Tabs are not allowed as indentation); allowed: YAML 1.2",
  ],
  ["a tag", "kind: tenant\nname: !a b", "f:2:7: found unreadable text (Unresolved tag: !a); allowed: YAML 1.2"],
  [
    "an alias without an anchor",
    "kind: tenant\nname: *b",
    "f:1:1: found Unresolved alias (the anchor must be set before the alias): b; allowed: an anchor before each alias, and aliases for at most 100 nodes",
  ],
  [
    "many laughs",
    `kind: tenant\na0: &a0 [x, x]\n${Array.from({ length: 30 }, (_, n) => `a${n + 1}: &a${n + 1} [*a${n}, *a${n}]`).join("\n")}`,
    "f:1:1: found Excessive alias count indicates a resource exhaustion attack; allowed: an anchor before each alias, and aliases for at most 100 nodes",
  ],
  [
    "a file too large",
    " ".repeat(16 * 1024 * 1024 + 1),
    "f:1:1: found a file of 16777217 characters; allowed: at most 16777216 characters",
  ],
];
describe("refuses", () => {
  for (const [name, text, ...expected] of refusals)
    it(name, () => {
      const result = parseResources(text, "f");
      assert.deepEqual(result.ok ? [] : result.error.map(formatFileProblem), expected);
    });

  it("a tag that is called as the reason of something else", () => {
    const result = parseResources("kind: !stack tenant", "f");
    assert.match(
      result.ok ? "" : result.error.map(formatFileProblem).join("\n"),
      /found unreadable text \(Unresolved tag: !stack/,
    );
  });

  it("very deep nesting, without an exception", () => {
    const result = parseResources("[".repeat(100_000), "f");
    assert.match(
      result.ok ? "" : result.error.map(formatFileProblem).join("\n"),
      /^f:1:\d+: found unreadable text \(nested too deeply\); allowed: YAML 1\.2$/,
    );
  });
});

it("never throws", () => {
  const pieces = fc.constantFrom(
    "kind: tenant\n",
    "name: ",
    "- ",
    "[",
    "{",
    "*a",
    "&a ",
    "---\n",
    "\n",
    " ",
    "'",
    '"',
    "? ",
    ": ",
    "!",
    "|",
    "\0",
  );
  fc.assert(fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => void parseResources(parts.join(""), "f")));
});

describe("export", () => {
  it("reads back to the same", () => {
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
    const network = fc
      .record({
        name: label,
        tenant: label,
        vni: fc.integer({ min: 1, max: 16_777_215 }),
        subnets: fc.constantFrom(["10.0.0.0/24"], ["fd00::/64"], ["10.0.0.0/24", "fd00::/64"]),
        mtu: fc.option(fc.integer({ min: 1280, max: 65_535 }), { nil: undefined }),
        underlay: fc.constantFrom("ipv4", "ipv6"),
        blockSize: fc.constantFrom(4, 64),
        ageing: fc.integer({ min: 10, max: 86_400 }),
        kind: fc.constantFrom(
          { flood: "none", arpSuppression: false, learningLimit: 7 },
          { discovery: "multicast", multicast: { ttl: 4, interface: "100" }, port: 8472 },
          { discovery: "static", vteps: ["2001:db8::7"], underlay: "ipv6" },
          { learning: "data-plane", encapsulation: "geneve" },
          {
            mode: "l3",
            encapsulation: "gre",
            blockSize: 4,
            crossSubnet: true,
            underlay: "ipv6",
            egress: true,
            egressBlocked: [],
          },
          { mode: "l3", encapsulation: "direct", blockSize: 4, hostAccess: true, underlay: "ipv6" },
        ),
      })
      .map(({ kind, ...fields }): Resource => {
        const parsed = parseNetwork({ ...fields, ...kind });
        assert.ok(parsed.ok);
        return { kind: "network", ...parsed.value };
      });
    const tenant = label.map((name): Resource => ({ kind: "tenant", name, placement: "own" }));
    const resources = fc.uniqueArray(fc.oneof(tenant, network), {
      selector: ({ kind, ...fields }) => `${kind} ${"name" in fields ? fields.name : ""}`,
      maxLength: 5,
    });
    fc.assert(
      fc.property(resources, (given) =>
        assert.deepEqual(parseResources(stringifyResources(given), "f"), { ok: true, value: given }),
      ),
    );
  });

  it("quotes a name that YAML would read as something else", () =>
    assert.equal(
      stringifyResources([{ kind: "tenant", name: "100", placement: "own" }]),
      'kind: tenant\nname: "100"\nplacement: own\n',
    ));

  it("shows nodes and endpoints too", () => {
    const resources: Resource[] = [
      {
        kind: "node",
        name: "h1",
        vtepAddresses: {},
        underlayMtu: 1500,
        generation: 2,
      },
      {
        kind: "endpoint",
        id: "0123456789ab",
        network: "n",
        node: "h1",
        mac: mac("02:00:00:00:00:01"),
        ips: [ip("10.0.0.2")],
        attachment: "netns",
        sequence: 1,
      },
    ];
    assert.equal(
      stringifyResources(resources),
      `kind: node
name: h1
vtepAddresses: {}
underlayMtu: 1500
generation: 2
---
kind: endpoint
id: 0123456789ab
network: n
node: h1
mac: 02:00:00:00:00:01
ips:
  - 10.0.0.2
attachment: netns
sequence: 1
`,
    );
  });
});
