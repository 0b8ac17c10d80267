import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { unwrap } from "../../base/result.ts";
import { formatProblem } from "../problem.ts";
import {
  appliesTo,
  decide,
  type Identity,
  isolating,
  isPeerOf,
  labelSelectorAllowed,
  type Party,
  type Policy,
  parseEndpointLabels,
  parseLabelSelector,
  parsePolicy,
  policyFields,
  rankedRules,
  selects,
} from "./index.ts";

const policy = (fields: object = {}): Policy => unwrap(parsePolicy({ name: "p", tenant: "acme", ...fields }));
const rule = (fields: object = {}) => ({ direction: "ingress", action: "allow", ...fields });

describe("label selectors", () => {
  const canonical: [text: string, canonical: string][] = [
    ["", ""],
    ["  ", ""],
    ["app", "app"],
    ["! app", "!app"],
    ["app = web", "app=web"],
    ["app==web", "app=web"],
    ["app=", "app="],
    ["app!=web", "app!=web"],
    ["env in (test, prod,prod)", "env in (prod,test)"],
    ["env in (prod)", "env=prod"],
    ["env notin (b,a) , x", "env notin (a,b),x"],
    ["example.org/app=a.b_c-d", "example.org/app=a.b_c-d"],
  ];
  for (const [text, expected] of canonical)
    it(`${JSON.stringify(text)} is ${JSON.stringify(expected)}`, () =>
      assert.deepEqual(parseLabelSelector(text), { ok: true, value: expected }));

  const refused = [
    "=web",
    "app=a b",
    "app=-a",
    "-app",
    "app in web",
    "app in (a",
    "app in (a b)",
    "app,,x",
    "app,",
    "!app=web",
    `app=${"a".repeat(64)}`,
    Array.from({ length: 65 }, (_, index) => `l${index}`).join(),
    "x".repeat(351),
    "x".repeat(40_000),
  ];
  for (const text of refused)
    it(`${JSON.stringify(text.slice(0, 40))} is none`, () =>
      assert.deepEqual(parseLabelSelector(text), { ok: false, error: labelSelectorAllowed }));

  const name = fc.stringMatching(/^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,12}[A-Za-z0-9])?$/);
  const value = fc.stringMatching(/^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,12}[A-Za-z0-9])?)?$/);
  const requirement = fc.oneof(
    name,
    name.map((label) => `!${label}`),
    fc.tuple(name, fc.constantFrom("=", "==", "!="), value).map((parts) => parts.join("")),
    fc
      .tuple(name, fc.constantFrom("in", "notin"), fc.array(value, { minLength: 1, maxLength: 4 }))
      .map(([label, word, values]) => `${label} ${word} (${values.join(", ")})`),
  );
  const selector = fc.array(requirement, { maxLength: 5 }).map((parts) => parts.join(", "));

  it("reads its canonical text as itself, and that selects the same", () =>
    fc.assert(
      fc.property(selector, fc.dictionary(name, value), (text, labels) => {
        const read = unwrap(parseLabelSelector(text));
        const again = unwrap(parseLabelSelector(read));
        assert.equal(again, read);
        assert.equal(selects(again, labels), selects(read, labels));
      }),
    ));

  it("never throws, whatever the text", () =>
    fc.assert(fc.property(fc.string(), (text) => void parseLabelSelector(text))));

  const meanings: [text: string, labels: Record<string, string>, isSelected: boolean][] = [
    ["", {}, true],
    ["app", { app: "" }, true],
    ["app", {}, false],
    ["!app", {}, true],
    ["!app", { app: "" }, false],
    ["app=web", { app: "web" }, true],
    ["app=web", { app: "db" }, false],
    ["app=", { app: "" }, true],
    ["app=", {}, false],
    ["app!=web", {}, true],
    ["app!=web", { app: "web" }, false],
    ["env in (prod,test)", { env: "test" }, true],
    ["env in (prod,test)", {}, false],
    ["env notin (prod,test)", {}, true],
    ["env notin (prod,test)", { env: "prod" }, false],
    ["app=web,tier", { app: "web" }, false],
    ["constructor", {}, false],
  ];
  for (const [text, labels, isSelected] of meanings)
    it(`${JSON.stringify(text)} selects ${JSON.stringify(labels)}: ${isSelected}`, () =>
      assert.equal(selects(unwrap(parseLabelSelector(text)), labels), isSelected));
});

describe("policies are read", () => {
  it("with defaults", () =>
    assert.deepEqual(policy(), {
      name: "p",
      tenant: "acme",
      priority: 1000,
      networks: [],
      isolates: [],
      rules: [],
    }));

  it("with rules that have names, isolating where one of them allows", () => {
    const { isolates, rules } = policy({
      rules: [rule(), rule({ direction: "egress", action: "deny" }), rule({ direction: "egress", action: "log" })],
    });
    assert.deepEqual(isolates, ["ingress"]);
    assert.deepEqual(
      rules.map(({ name }) => name),
      ["ingress-1", "egress-2", "egress-3"],
    );
  });

  it("with ports and protocols by number or name, as one text", () =>
    assert.deepEqual(
      policy({
        rules: [rule({ ports: [{ protocol: 6, ports: [443, "80-80", "0-65535"] }, { protocol: "89" }] })],
      }).rules[0]?.ports,
      [
        { protocol: "tcp", ports: ["443", "80", "0-65535"], types: [] },
        { protocol: "89", ports: [], types: [] },
      ],
    ));

  it("and as operators write them, the same again", () => {
    const written = policy({
      priority: 0,
      networks: ["a"],
      endpoints: "app=web",
      isolates: [],
      rules: [
        rule({
          peers: [
            { endpoints: "" },
            { networks: ["a"] },
            { subnet: "10.0.0.0/8", except: ["10.1.0.0/16"] },
            { node: "own" },
          ],
          ports: [{ protocol: "icmp", types: [0] }, { protocol: "udp" }],
        }),
        rule({ action: "log" }),
      ],
      managedBy: "kubernetes",
    });
    const fields = policyFields(written);
    assert.deepEqual(unwrap(parsePolicy(fields)), written);
    assert.ok(!JSON.stringify(fields).replace('"isolates":[]', "").includes("[]"));
    assert.deepEqual(unwrap(parsePolicy(policyFields(policy()))), policy());
  });

  const inRule = (fields: object): object => ({ rules: [rule(fields)] });
  const withPeer = (peer: object): object => inRule({ peers: [peer] });
  const withPort = (port: object): object => inRule({ ports: [port] });
  const refusals: [fields: object, problem: RegExp][] = [
    [{ name: "A" }, /^name: found "A"; allowed:/],
    [{ tenant: undefined }, /^tenant: found nothing; allowed:/],
    [{ priority: -1 }, /^priority: found -1; allowed: a priority, 0 to 65535$/],
    [{ priority: 65_536 }, /^priority: found 65536/],
    [{ networks: [] }, /^networks: found an empty list; allowed: a list of 1 to 1000 networks; leave it out for all$/],
    [{ networks: ["A"] }, /^networks\[0\]: found "A"/],
    [{ endpoints: "a=(" }, /^endpoints: found "a=\("; allowed: at most 64 requirements/],
    [{ isolates: ["up"] }, /^isolates\[0\]: found "up"; allowed: ingress or egress$/],
    [{ rules: {} }, /^rules: found a map; allowed: a list of at most 10000 rules$/],
    [{ verdict: "allow" }, /^verdict: found a field of this name; allowed: the fields name, tenant, priority/],
    [inRule({ direction: "up" }), /^rules\[0\]\.direction: found "up"; allowed: ingress or egress$/],
    [inRule({ action: "drop" }), /^rules\[0\]\.action: found "drop"; allowed: allow or deny or log$/],
    [inRule({ name: "A" }), /^rules\[0\]\.name: found "A"/],
    [
      { rules: [rule({ name: "a" }), rule({ name: "a" })] },
      /^rules\[1\]\.name: found a; allowed: a name that no other rule has$/,
    ],
    [{ rules: [rule({ name: "ingress-2" }), rule()] }, /^rules\[1\]\.name: found ingress-2/],
    [inRule({ peers: [] }), /^rules\[0\]\.peers: found an empty list; allowed: a list of 1 to 1000 peers/],
    [inRule({ ports: [] }), /^rules\[0\]\.ports: found an empty list/],
    [withPeer({}), /^rules\[0\]\.peers\[0\]: found neither; allowed: endpoints, networks, subnet or node/],
    [
      withPeer({ endpoints: "a", subnet: "10.0.0.0/8" }),
      /^rules\[0\]\.peers\[0\]: found endpoints and a subnet; allowed: either/,
    ],
    [
      withPeer({ endpoints: "a", except: ["10.0.0.0/8"] }),
      /peers\[0\]\.except: found prefixes; allowed: beside subnet/,
    ],
    [withPeer({ node: "h1" }), /peers\[0\]\.node: found "h1"; allowed: own$/],
    [withPeer({ node: "own", endpoints: "a" }), /peers\[0\]: found a node and others; allowed: either of them$/],
    [{ managedBy: "A" }, /^managedBy: found "A"/],
    [withPeer({ networks: [] }), /peers\[0\]\.networks: found an empty list/],
    [
      withPeer({ subnet: "10.0.0.1/8" }),
      /peers\[0\]\.subnet: found "10\.0\.0\.1\/8"; allowed: a prefix without host bits/,
    ],
    [
      withPeer({ subnet: "10.0.0.0/8", except: ["11.0.0.0/16"] }),
      /except\[0\]: found 11\.0\.0\.0\/16; allowed: a prefix in 10\.0\.0\.0\/8$/,
    ],
    [withPeer({ subnet: "10.0.0.0/8", except: ["10.0.0.0/8"] }), /except\[0\]: found 10\.0\.0\.0\/8/],
    [
      withPort({ protocol: "gre" }),
      /ports\[0\]\.protocol: found "gre"; allowed: icmp, tcp, udp, icmpv6, sctp, or the number/,
    ],
    [withPort({ protocol: 256 }), /protocol: found 256/],
    [withPort({}), /protocol: found nothing/],
    [withPort({ protocol: "tcp", ports: [] }), /ports\[0\]\.ports: found an empty list/],
    [withPort({ protocol: "tcp", ports: [65_536] }), /ports\[0\]\.ports\[0\]: found 65536; allowed: destination ports/],
    [withPort({ protocol: "tcp", ports: ["9-8"] }), /found "9-8"; allowed: destination ports/],
    [
      withPort({ protocol: "icmp", ports: [1] }),
      /ports\[0\]\.ports: found ports of icmp; allowed: ports of tcp, udp or sctp$/,
    ],
    [withPort({ protocol: "tcp", types: [0] }), /types: found types of tcp; allowed: types of icmp or icmpv6$/],
    [withPort({ protocol: "icmp", types: [256] }), /types\[0\]: found 256; allowed: a type of ICMP message, 0 to 255$/],
  ];
  for (const [fields, expected] of refusals)
    it(`but not ${JSON.stringify(fields).slice(0, 90)}`, () => {
      const read = parsePolicy({ name: "p", tenant: "acme", ...fields });
      assert.ok(!read.ok);
      const texts = read.error.map(formatProblem);
      assert.equal(texts.length, 1, texts.join("; "));
      assert.match(texts[0] ?? "", expected);
    });
});

it("labels of endpoints are names with values that selectors can ask for", () => {
  assert.deepEqual(parseEndpointLabels({ app: "web", legacy: "" }), { ok: true, value: { app: "web", legacy: "" } });
  assert.deepEqual(parseEndpointLabels({}), { ok: true, value: undefined });
  const many = Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`l${index}`, ""]));
  for (const labels of [{ "a b": "" }, { a: "b c" }, { a: "x".repeat(64) }, { a: 1 }, many, ["a"]])
    assert.equal(parseEndpointLabels(labels).ok, false, JSON.stringify(labels).slice(0, 80));
});

describe("what is decided", () => {
  const web: Identity = { network: "front", labels: { app: "web" } };
  const db: Identity = { network: "back", labels: { app: "db" } };
  const party = (address: string, identity?: Party["identity"]): Party => ({
    address: ip(address),
    ...(identity === undefined ? {} : { identity }),
  });
  const fromDb = party("10.2.0.1", db);
  const outside = party("203.0.113.7");
  const https = { protocol: 6, port: 443 };
  const decided = (
    policies: readonly Policy[],
    peer = fromDb,
    said: { readonly protocol: number; readonly port?: number } = https,
    otherwise: "allow" | "deny" = "allow",
  ): string => {
    const { verdict, by, isolatedBy, logged } = decide(policies, web, "ingress", peer, said, otherwise);
    const reason = by !== undefined ? `${by.policy.name}/${by.rule.name}` : (isolatedBy?.name ?? "default");
    return [verdict, reason, ...logged.map(({ policy: of, rule: each }) => `log ${of.name}/${each.name}`)].join(" ");
  };
  const named = (name: string, ...rules: object[]) => policy({ name, rules });

  it("the default of the network, where no policy says anything", () => {
    assert.equal(decided([]), "allow default");
    assert.equal(decided([], fromDb, https, "deny"), "deny default");
    assert.equal(decided([named("p", rule({ direction: "egress" }))]), "allow default");
    assert.equal(decided([policy({ networks: ["back"], rules: [rule({ action: "deny" })] })]), "allow default");
    assert.equal(decided([policy({ endpoints: "app=db", rules: [rule({ action: "deny" })] })]), "allow default");
  });

  it("nothing else than what is allowed, where a policy isolates", () => {
    const only = rule({ peers: [{ endpoints: "app=api" }] });
    assert.equal(decided([named("z", only), named("a", only)], fromDb), "deny a");
    assert.equal(decided([policy({ isolates: ["ingress"] })]), "deny p");
    assert.equal(decided([policy({ isolates: [], rules: [only] })]), "allow default");
    assert.equal(
      decided([named("z", only), named("b", rule({ peers: [{ networks: ["back"] }] }))]),
      "allow b/ingress-1",
    );
  });

  it("the lower priority first, of one priority what denies and logs, then by name", () => {
    const [allow, deny, log] = ["allow", "deny", "log"].map((action) => rule({ action }));
    assert.equal(decided([named("a", allow as object), named("b", deny as object)]), "deny b/ingress-1");
    const urgent = policy({ name: "z", priority: 0, rules: [allow] });
    assert.equal(decided([urgent, named("b", deny as object)]), "allow z/ingress-1");
    assert.equal(decided([named("b", allow as object), named("a", allow as object)]), "allow a/ingress-1");
    assert.equal(
      decided([named("a", allow as object, log as object), named("b", log as object)]),
      "allow a/ingress-1 log a/ingress-2 log b/ingress-1",
    );
    assert.deepEqual(
      rankedRules([named("a", allow as object, log as object, deny as object)], "ingress").map(
        ({ rule: { name } }) => name,
      ),
      ["ingress-2", "ingress-3", "ingress-1"],
    );
  });

  it("by protocol, port and type", () => {
    const only = (port: object) => [named("p", rule({ ports: [port] }))];
    const tcp = only({ protocol: "tcp", ports: ["400-443"] });
    assert.equal(decided(tcp), "allow p/ingress-1");
    assert.equal(decided(tcp, fromDb, { protocol: 6, port: 444 }), "deny p");
    assert.equal(decided(tcp, fromDb, { protocol: 17, port: 443 }), "deny p");
    assert.equal(decided(only({ protocol: "tcp" }), fromDb, { protocol: 6, port: 1 }), "allow p/ingress-1");
    const reply = only({ protocol: "icmp", types: [0] });
    assert.equal(decided(reply, fromDb, { protocol: 1, port: 0 }), "allow p/ingress-1");
    assert.equal(decided(reply, fromDb, { protocol: 1, port: 8 }), "deny p");
    assert.equal(decided(only({ protocol: 89 }), fromDb, { protocol: 89 }), "allow p/ingress-1");
  });

  it("by who is at the other end", () => {
    const only = (peer: object) => [named("p", rule({ peers: [peer] }))];
    const subnet = only({ subnet: "203.0.113.0/24", except: ["203.0.113.64/26"] });
    assert.equal(decided(subnet, outside), "allow p/ingress-1");
    assert.equal(decided(subnet, party("203.0.113.65")), "deny p");
    assert.equal(decided(subnet), "deny p");
    assert.equal(decided(only({ subnet: "10.2.0.0/16" })), "allow p/ingress-1");
    assert.equal(decided(only({ endpoints: "app=db", networks: ["back"] })), "allow p/ingress-1");
    assert.equal(decided(only({ endpoints: "app=db", networks: ["front"] })), "deny p");
    assert.equal(decided(only({ endpoints: "" })), "allow p/ingress-1");
    assert.equal(decided(only({ endpoints: "" }), outside), "deny p");
    const node = party("10.2.0.254", "node");
    assert.equal(decided(only({ node: "own" }), node), "allow p/ingress-1");
    assert.equal(decided(only({ node: "own" })), "deny p");
    assert.equal(decided(only({ node: "own" }), outside), "deny p");
    assert.equal(decided(only({ endpoints: "" }), node), "deny p");
    assert.equal(decided(only({ subnet: "10.2.0.0/16" }), node), "allow p/ingress-1");
  });

  it("against those of whom nothing is known yet", () => {
    const unknown = party("10.2.0.9", "unknown");
    const peers = [{ endpoints: "app=db" }];
    assert.equal(decided([named("p", rule({ peers }))], unknown), "deny p");
    assert.equal(decided([named("p", rule({ peers, action: "deny" }))], unknown), "deny p/ingress-1");
    assert.equal(decided([named("p", rule({ peers, action: "log" }))], unknown), "allow default");
    assert.ok(isPeerOf({ subnet: cidr("10.2.0.0/16"), except: [] }, unknown, "allow"));
  });

  it("by policies that are for the endpoint, of which the first by name isolates", () => {
    const both = [policy({ name: "b", isolates: ["egress"] }), policy({ name: "a", isolates: ["egress"] })];
    assert.equal(isolating(both, "egress")?.name, "a");
    assert.equal(isolating(both, "ingress"), undefined);
    assert.ok(appliesTo(policy({ networks: ["front"], endpoints: "app=web" }), web));
    assert.ok(!appliesTo(policy({ networks: ["front"], endpoints: "app=web" }), db));
  });
});
