import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Cidr, cidr, cidrContains } from "../../base/cidr.ts";
import { type IpAddress, ip } from "../../base/ip.ts";
import {
  appliesTo,
  decide,
  hasPorts,
  type Identity,
  type Party,
  type Policy,
  parsePolicy,
  policyDirections,
} from "../../model/policy/index.ts";
import { PeerClasses } from "./peer-classes.ts";
import { outcomeIdentifier, PolicyGroup } from "./policy-group.ts";
import { ruleIdentifier, type Verdict, type VerdictList, verdictList } from "./verdict-list.ts";

function policy(draft: object): Policy {
  const parsed = parsePolicy(draft);
  if (!parsed.ok) throw new TypeError(JSON.stringify(parsed.error));
  return parsed.value;
}

/** As the kernel's trie finds it: the longest that fits. */
function lookUp({ rows }: VerdictList, protocol: number, port: number): Verdict {
  const fits = rows.filter(
    (row) =>
      row.protocol === undefined ||
      (row.protocol === protocol && port >>> (16 - row.length) === row.port >>> (16 - row.length)),
  );
  const rank = (row: (typeof rows)[number]): number => (row.protocol === undefined ? -1 : row.length);
  const longest = fits.reduce((best, row) => (rank(row) > rank(best) ? row : best));
  return longest.verdict;
}

const labels = fc.dictionary(fc.constantFrom("app", "env"), fc.constantFrom("a", "b", "c"), { maxKeys: 2 });
const selector = fc.constantFrom("", "app=a", "app!=a", "app in (a,b)", "env", "!env", "app=b,env=c");
const network = fc.constantFrom("front", "back");
const subnet = fc.constantFrom(
  "10.0.0.0/8",
  "10.0.0.0/24",
  "10.0.0.0/30",
  "10.0.0.2/32",
  "0.0.0.0/0",
  "fd00::/64",
  "::/0",
);
const inside: Readonly<Record<string, readonly string[]>> = {
  "10.0.0.0/8": ["10.0.0.0/24", "10.0.0.4/30"],
  "10.0.0.0/24": ["10.0.0.0/30", "10.0.0.2/32"],
  "0.0.0.0/0": ["10.0.0.0/8"],
  "::/0": ["fd00::2/128"],
};
const peer = fc.oneof(
  fc.record({ endpoints: selector, networks: fc.array(network, { minLength: 1, maxLength: 1 }) }),
  fc.record({ endpoints: selector }),
  fc.constant({ node: "own" }),
  subnet.chain((of) => fc.record({ subnet: fc.constant(of), except: fc.subarray([...(inside[of] ?? [])]) })),
);
const ports = fc.oneof(
  fc.constant({ protocol: "tcp" }),
  fc.constant({ protocol: 47 }),
  fc.record({
    protocol: fc.constantFrom("icmp", "icmpv6"),
    types: fc.array(fc.constantFrom(0, 3, 8, 128), { minLength: 1 }),
  }),
  fc.record({
    protocol: fc.constantFrom("tcp", "udp"),
    ports: fc.array(fc.constantFrom("80", "81", "443", "0-1023", "1024-65535", "80-443", "65535"), {
      minLength: 1,
      maxLength: 3,
    }),
  }),
);
const optional = <Value>(of: fc.Arbitrary<Value>): fc.Arbitrary<Value[] | undefined> =>
  fc.option(fc.array(of, { minLength: 1, maxLength: 3 }), { nil: undefined });
const rule = fc.record({
  direction: fc.constantFrom(...policyDirections),
  action: fc.constantFrom("allow", "deny", "log"),
  peers: optional(peer),
  ports: optional(ports),
});
const draft = fc.record({
  priority: fc.constantFrom(1, 1000),
  endpoints: selector,
  networks: fc.option(fc.array(network, { minLength: 1, maxLength: 1 }), { nil: undefined }),
  isolates: fc.option(fc.subarray([...policyDirections]), { nil: undefined }),
  rules: fc.array(rule, { maxLength: 6 }),
});
const identity = fc.record({ network, labels }) as fc.Arbitrary<Identity>;
const address = fc
  .constantFrom("10.0.0.1", "10.0.0.2", "10.0.0.5", "10.0.1.1", "192.0.2.1", "fd00::1", "fd00::2", "2001:db8::1")
  .map(ip);
const said = fc.record({
  protocol: fc.constantFrom(6, 17, 1, 58, 47, 89),
  port: fc.constantFrom(0, 3, 8, 79, 80, 81, 128, 443, 444, 1023, 1024, 65535),
});

test("what goes to the kernel says what policies say", () => {
  const drafts = fc.array(draft, { maxLength: 4 });
  const everything = fc.record({
    drafts,
    of: identity,
    peer: identity,
    address,
    said,
    who: fc.constantFrom("member" as const, "nobody" as const, "node" as const, "unknown" as const),
    otherwise: fc.constantFrom("allow" as const, "deny" as const),
    direction: fc.constantFrom(...policyDirections),
  });
  fc.assert(
    fc.property(everything, ({ drafts, of, peer, address, said, who, otherwise, direction }) => {
      const policies = drafts.map((each, index) => policy({ ...each, name: `p${index}`, tenant: "blue" }));
      const applying = policies.filter((each) => appliesTo(each, of));
      const group = new PolicyGroup(applying, direction, otherwise);
      const isInside = who === "unknown" || who === "node";
      const own = isInside ? [cidr("0.0.0.0/0"), cidr("::/0")] : [];
      const classes = new PeerClasses(policies, own, who === "node" ? [address] : []);
      const is = who === "member" ? classes.ofMember(peer, address) : classes.ofNobody(address);
      const party: Party = {
        address,
        ...(who === "member" ? { identity: peer } : isInside ? { identity: who } : {}),
      };
      const { protocol } = said;
      const port =
        hasPorts(protocol) || protocol === 1 || protocol === 58 ? said.port & (hasPorts(protocol) ? 0xffff : 0xff) : 0;
      const decision = decide(policies, of, direction, party, { protocol, port }, otherwise);
      const outcome = decision.isolatedBy === undefined ? { otherwise } : { isolatedBy: decision.isolatedBy.name };
      const [logged] = decision.logged;
      const expected: Verdict = {
        isAllowed: decision.verdict === "allow",
        rule: decision.by === undefined ? outcomeIdentifier(outcome, direction) : ruleIdentifier(decision.by),
        logged: logged === undefined ? 0n : ruleIdentifier(logged),
      };
      if (group.id === 0n) assert.equal(decision.verdict, "allow");
      else assert.deepEqual(lookUp(group.listOf(is) ?? group.generalList, protocol, port), expected);
    }),
    { numRuns: 3_000 },
  );
});

test("an address is of the class of the longest prefix that holds it", () => {
  const addresses = fc.array(address, { minLength: 1 });
  fc.assert(
    fc.property(fc.array(draft, { maxLength: 4 }), addresses, (drafts, all) => {
      const policies = drafts.map((each, index) => policy({ ...each, name: `p${index}`, tenant: "blue" }));
      const classes = new PeerClasses(policies, [cidr("10.0.0.0/24")], [ip("10.0.0.1")]);
      const prefixes = [...classes.prefixes()];
      for (const each of all) assert.equal(longest(prefixes, each) ?? 0n, classes.ofNobody(each).id);
    }),
  );
});

function longest(prefixes: readonly (readonly [Cidr, { readonly id: bigint }])[], of: IpAddress): bigint | undefined {
  const index = prefixes.filter(([prefix]) => cidrContains(prefix, of));
  return index.sort(([a], [b]) => Number(b.split("/")[1]) - Number(a.split("/")[1]))[0]?.[1].id;
}

test("ten thousand rules about ports are as many rows, and one about all of them is two", () => {
  const rules = Array.from({ length: 10_000 }, (_, port) => ({
    direction: "ingress",
    action: "allow",
    ports: [{ protocol: "tcp", ports: [2 * port] }],
  }));
  const of = policy({ name: "many", tenant: "blue", rules });
  const ranked = of.rules.map((each) => ({ policy: of, rule: each }));
  const base = { isAllowed: false, rule: 1n };
  assert.equal(verdictList(ranked, base).rows.length, 10_002);
  const [whole] = policy({
    name: "whole",
    tenant: "blue",
    rules: [{ direction: "ingress", action: "allow", ports: [{ protocol: "tcp" }] }],
  }).rules;
  assert.ok(whole !== undefined);
  assert.equal(verdictList([{ policy: of, rule: whole }], base).rows.length, 2);
});
