import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { type IpAddress, ip } from "../base/ip.ts";
import { unwrap } from "../base/result.ts";
import { checkVtepsOutside, judgeRegistration, type RegistrationFacts } from "./node-registration.ts";
import type { Network, Node, VtepAddresses } from "./resources.ts";
import { parseNetwork, parseNode } from "./schema.ts";

function vteps(...addresses: string[]): VtepAddresses {
  return Object.fromEntries(addresses.map((text) => [text.includes(":") ? "ipv6" : "ipv4", ip(text)]));
}

function node(name: string, addresses: VtepAddresses, underlayMtu = 1500): Node {
  // A stored node may have lost its addresses.
  return { name, vtepAddresses: addresses, underlayMtu, generation: 1 };
}

function network(fields: object): Network {
  return unwrap(parseNetwork({ name: "pods", tenant: "acme", vni: 100, subnets: ["10.0.0.0/24"], ...fields }));
}

const alone: RegistrationFacts = {
  known: undefined,
  source: ip("192.0.2.1"),
  approved: {},
  vtepPrefixes: [],
  nodes: [],
  sourceOf: () => undefined,
  networks: [],
  isFloating: () => false,
};

/** The verdict on h1: what is said against it, or who loses what. */
function verdict(draft: Node, facts: Partial<RegistrationFacts>): string[] {
  const { refusals, displaced } = judgeRegistration(draft, { ...alone, ...facts });
  return [
    ...refusals.map(({ code, message, hint }) => `${code}: ${message}; try: ${hint}`),
    ...displaced.map(({ node: other, lost }) => `${other.name} loses ${lost}`),
  ];
}

function expectRefusal(words: readonly string[], ...patterns: readonly RegExp[]): void {
  assert.equal(words.length, 1, JSON.stringify(words));
  for (const pattern of patterns) assert.match(words[0] ?? "", pattern);
}

const v4 = vteps("192.0.2.1");
const both = vteps("192.0.2.1", "2001:db8::1");

describe("which VTEP addresses a node may have", () => {
  it("the one that its connection comes from", () => assert.deepEqual(verdict(node("h1", v4), {}), []));

  it("none that its connection does not prove; the error says what to do", () => {
    expectRefusal(
      verdict(node("h1", v4), { source: ip("198.51.100.7") }),
      /^failed-precondition: register node h1: the node's connection comes from 198\.51\.100\.7, which does not prove that it has the VTEP address 192\.0\.2\.1;/,
      /weft node set h1 --vtep 192\.0\.2\.1, or start the server with --vtep-prefix/,
    );
    expectRefusal(verdict(node("h1", v4), { source: undefined }), /an unknown address/);
  });

  it("of two families the other one is approved, or in a prefix", () => {
    expectRefusal(verdict(node("h1", both), {}), /VTEP address 2001:db8::1;/, /weft node set h1 --vtep 2001:db8::1,/);
    expectRefusal(
      verdict(node("h1", both), { source: ip("198.51.100.7"), approved: vteps("2001:db8::9") }),
      /192\.0\.2\.1 and 2001:db8::1;/,
      /--vtep 192\.0\.2\.1,2001:db8::1,/,
    );
    assert.deepEqual(verdict(node("h1", both), { approved: vteps("2001:db8::1") }), []);
    // What is approved already stays so when the command is followed.
    expectRefusal(
      verdict(node("h1", both), { source: undefined, approved: vteps("2001:db8::1") }),
      /--vtep 192\.0\.2\.1,2001:db8::1,/,
    );
  });

  it("with prefixes those that lie in them, wherever the connection comes from, and those approved", () => {
    const vtepPrefixes = [cidr("192.0.2.0/24"), cidr("2001:db8::/64")];
    assert.deepEqual(verdict(node("h1", both), { vtepPrefixes, source: ip("10.1.1.1") }), []);
    const outside = node("h1", vteps("198.51.100.1"));
    expectRefusal(
      verdict(outside, { vtepPrefixes, source: ip("198.51.100.1") }),
      /198\.51\.100\.1 is in none of the server's VTEP prefixes: 192\.0\.2\.0\/24, 2001:db8::\/64;/,
      /weft node set h1 --vtep 198\.51\.100\.1/,
    );
    assert.deepEqual(verdict(outside, { vtepPrefixes, approved: vteps("198.51.100.1") }), []);
  });

  it("what it has registered before, as long as it does not change", () => {
    const known = node("h1", both);
    assert.deepEqual(verdict(node("h1", both, 1400), { known, source: ip("10.1.1.1") }), []);
    expectRefusal(
      verdict(node("h1", vteps("192.0.2.1", "2001:db8::2")), { known, source: ip("10.1.1.1") }),
      /address 2001:db8::2;/,
    );
  });

  it("none of a network that hosts route themselves", () => {
    const inside = { source: ip("10.0.0.5") };
    const draft = node("h1", vteps("10.0.0.5"));
    assert.deepEqual(verdict(draft, { ...inside, networks: [network({})] }), []);
    const routed = network({ mode: "l3", hostAccess: true });
    expectRefusal(verdict(draft, { ...inside, networks: [routed] }), /10\.0\.0\.5 is in a subnet of network pods/);
    assert.deepEqual(checkVtepsOutside(network({}), undefined, [draft]), []);
    assert.match(
      checkVtepsOutside(routed, undefined, [draft])[0]?.message ?? "",
      /^create network pods: subnet 10\.0\.0\.0\/24 holds 10\.0\.0\.5, the VTEP address of node h1/,
    );
    assert.match(checkVtepsOutside(routed, network({}), [draft])[0]?.message ?? "", /^change network pods/);
    assert.deepEqual(checkVtepsOutside(routed, routed, [draft]), [], "as it was before");
  });
});

describe("the underlay MTU", () => {
  for (const mtu of [1280, 1500, 65_535])
    it(`may be ${mtu}`, () => assert.deepEqual(verdict(node("h1", v4, mtu), {}), []));
  for (const mtu of [700, 1279, 65_536])
    it(`may not become ${mtu}, and may stay so`, () => {
      expectRefusal(
        verdict(node("h1", v4, mtu), { known: node("h1", v4) }),
        new RegExp(`underlayMtu: found ${mtu}; allowed: octets of an underlay IP packet, 1280 .*to 65535;`),
        mtu < 1280 ? /raise the MTU/ : /loopback interface.*--underlay/,
      );
      assert.deepEqual(verdict(node("h1", v4, mtu), { known: node("h1", v4, mtu) }), []);
    });
});

describe("an address that another node has", () => {
  const other = node("h2", both);
  const from = (source: string) => (name: string) => (name === "h2" ? ip(source) : undefined);

  it("is its own, whoever asks for it from elsewhere", () => {
    const vtepPrefixes = [cidr("192.0.2.0/24")];
    expectRefusal(
      verdict(node("h1", v4), { nodes: [other], vtepPrefixes, source: ip("10.1.1.1") }),
      /^already-exists: register node h1: node h2 has the VTEP address 192\.0\.2\.1;/,
      /delete node h2/,
    );
  });

  it("goes to the node that is connected from it, when the other one is not", () => {
    assert.deepEqual(verdict(node("h1", v4), { nodes: [other] }), ["h2 loses 192.0.2.1"]);
    assert.deepEqual(verdict(node("h1", v4), { nodes: [other], sourceOf: from("192.0.2.7") }), ["h2 loses 192.0.2.1"]);
  });

  it("is never taken from who is connected from it", () =>
    expectRefusal(
      verdict(node("h1", v4), { nodes: [other], sourceOf: from("192.0.2.1") }),
      /node h2 has the VTEP address 192\.0\.2\.1, and is connected from it now/,
    ));

  it("goes with the one that is proved, if it is admitted", () => {
    assert.deepEqual(verdict(node("h1", both), { nodes: [other], approved: vteps("2001:db8::1") }), [
      "h2 loses 192.0.2.1,2001:db8::1",
    ]);
    const refused = verdict(node("h1", both), { nodes: [other] });
    expectRefusal(refused, /does not prove that it has the VTEP address 2001:db8::1/);
  });

  it("does not go with an address that the other never had", () => {
    const vtepPrefixes = [cidr("192.0.2.0/24"), cidr("2001:db8::/64")];
    const draft = node("h1", vteps("192.0.2.9", "2001:db8::1"));
    expectRefusal(verdict(draft, { nodes: [other], vtepPrefixes, source: ip("192.0.2.9") }), /node h2 has the VTEP/);
  });

  it("goes to whom the administrator named, unless the other is connected from it", () => {
    const facts = { nodes: [other], source: ip("10.1.1.1"), approved: v4 };
    assert.deepEqual(verdict(node("h1", v4), facts), ["h2 loses 192.0.2.1"]);
    expectRefusal(verdict(node("h1", v4), { ...facts, sourceOf: from("192.0.2.1") }), /connected from it now/);
  });

  it("is nobody's, and free, once its node has lost it", () => {
    const source: IpAddress = ip("192.0.2.1");
    assert.deepEqual(verdict(node("h1", v4), { nodes: [node("h2", {})], source }), []);
  });
});

it("a node says of itself one address at least", () =>
  assert.equal(parseNode({ name: "h1", vtepAddresses: {}, underlayMtu: 1500, generation: 1 }).ok, false));
