/**
 * What weft makes of NetworkPolicies says what these say, by an evaluator of their published meaning
 * (https://kubernetes.io/docs/concepts/services-networking/network-policies/, and the API's reference of networking.k8s.io/v1).
 */
import assert from "node:assert/strict";
import { describe, it, test } from "node:test";
import fc from "fast-check";
import { cidrContains, cidrOf, parseInterfaceAddress } from "../../../base/cidr.ts";
import { type IpAddress, ip } from "../../../base/ip.ts";
import { decide, type Identity, type Party, type Policy, protocolNumber } from "../../../model/policy/index.ts";
import {
  type LabelSelector,
  type Namespace,
  type NetworkPolicy,
  namespaceSchema,
  networkPolicySchema,
  type Pod,
  type PolicyPeer,
  type PolicyPort,
  type Protocol,
  podSchema,
  type Service,
  serviceSchema,
} from "../objects.ts";
import { labelsOf, namedPorts } from "../pod-labels.ts";
import { ServiceIndex } from "./services.ts";
import { translate } from "./translate.ts";

const tenant = "blue";
const meta = (namespace: string, name: string, labels: object = {}) => ({
  namespace,
  name,
  uid: `${namespace}/${name}`,
  labels,
});
const namespace = (name: string, labels: object): Namespace =>
  namespaceSchema.parse({ metadata: meta("", name, labels) });
const pod = (
  of: string,
  name: string,
  address: string,
  labels: object,
  ports: readonly object[] = [],
  spec: object = {},
): Pod =>
  podSchema.parse({
    metadata: meta(of, name, labels),
    spec: { nodeName: "h1", containers: [{ ports }], ...spec },
    status: { phase: "Running", podIPs: [{ ip: address }] },
  });
const policy = (of: string, spec: object, name = "p"): NetworkPolicy =>
  networkPolicySchema.parse({ metadata: meta(of, name), spec: { podSelector: {}, ...spec } });

/** A cluster, and who is at an end of a connection there: a pod, the node that the pod at the other end is on, or an address outside. */
interface Cluster {
  readonly namespaces: readonly Namespace[];
  readonly pods: readonly Pod[];
  readonly services?: readonly Service[];
}
type End = Pod | "node" | IpAddress;
interface Said {
  readonly protocol: Protocol;
  readonly port: number;
}

const isPod = (end: End): end is Pod => typeof end === "object";
const nodeAddress = ip("10.0.0.254");
const addressOf = (end: End): IpAddress =>
  isPod(end) ? ip(end.status.podIPs[0]?.ip ?? "") : end === "node" ? nodeAddress : end;
const namespaceOf = ({ namespaces }: Cluster, { metadata }: Pod): Namespace =>
  namespaces.find((each) => each.metadata.name === metadata.namespace) as Namespace;

/** Kubernetes' meaning. */
const kubernetes = {
  selects({ matchLabels, matchExpressions }: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
    const has = (key: string): boolean => Object.hasOwn(labels, key);
    return (
      Object.entries(matchLabels).every(([key, value]) => has(key) && labels[key] === value) &&
      matchExpressions.every(({ key, operator, values }) => {
        if (operator === "Exists") return has(key);
        if (operator === "DoesNotExist") return !has(key);
        const isIn = has(key) && values.includes(labels[key] ?? "");
        return operator === "In" ? isIn : !isIn;
      })
    );
  },
  isPeer(cluster: Cluster, { podSelector, namespaceSelector, ipBlock }: PolicyPeer, of: string, end: End): boolean {
    if (ipBlock != null) {
      const within = (prefix: string): boolean => {
        const { address, prefixLength } = parsed(prefix);
        return cidrContains(cidrOf(address, prefixLength), addressOf(end));
      };
      return within(ipBlock.cidr) && !ipBlock.except.some(within);
    }
    if (!isPod(end) || (podSelector == null && namespaceSelector == null)) return false;
    const isOfNamespace =
      namespaceSelector == null
        ? end.metadata.namespace === of
        : this.selects(namespaceSelector, namespaceOf(cluster, end).metadata.labels);
    return isOfNamespace && (podSelector == null || this.selects(podSelector, end.metadata.labels));
  },
  /** `receiver`: whose ports names are of. */
  isPort({ protocol, port, endPort }: PolicyPort, receiver: End, said: Said): boolean {
    if (protocol !== said.protocol) return false;
    if (port === undefined) return true;
    if (typeof port === "number") return said.port >= port && said.port <= (endPort ?? port);
    return (
      isPod(receiver) &&
      [...namedPorts(receiver)].some(
        (each) => each.protocol === protocol && each.name === port && each.number === said.port,
      )
    );
  },
  passes(
    cluster: Cluster,
    policies: readonly NetworkPolicy[],
    direction: "Ingress" | "Egress",
    of: Pod,
    other: End,
    said: Said,
  ): boolean {
    if (other === "node") return true;
    const isolating = policies.filter(({ metadata, spec }) => {
      const types =
        spec.policyTypes.length > 0 ? spec.policyTypes : spec.egress.length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
      return (
        metadata.namespace === of.metadata.namespace &&
        types.includes(direction) &&
        this.selects(spec.podSelector, of.metadata.labels)
      );
    });
    if (isolating.length === 0) return true;
    return isolating.some(({ metadata, spec }) => {
      const rules =
        direction === "Ingress"
          ? spec.ingress.map(({ from, ports }) => ({ peers: from, ports }))
          : spec.egress.map(({ to, ports }) => ({ peers: to, ports }));
      const receiver = direction === "Ingress" ? of : other;
      return rules.some(({ peers, ports }) => {
        const [blocks, others] = [
          peers.filter(({ ipBlock }) => ipBlock != null),
          peers.filter(({ ipBlock }) => ipBlock == null),
        ];
        const isAmong = (some: readonly PolicyPeer[]): boolean =>
          some.some((peer) => this.isPeer(cluster, peer, metadata.namespace, other));
        const isOther = peers.length === 0 || isAmong(others);
        if (ports.length === 0) return isOther || isAmong(blocks);
        return ports.some((port) => {
          // The reference leaves open what a name is at addresses. Here only pods have names of ports.
          const isNamed = direction === "Egress" && typeof port.port === "string";
          return (isOther || (!isNamed && isAmong(blocks))) && this.isPort(port, receiver, said);
        });
      });
    });
  },
};
function parsed(prefix: string): { readonly address: IpAddress; readonly prefixLength: number } {
  const read = parseInterfaceAddress(prefix);
  if (!read.ok) throw new TypeError(prefix);
  return read.value;
}

/** What weft makes of it. */
function weftPolicies(cluster: Cluster, policies: readonly NetworkPolicy[]): Policy[] {
  const numbersOf = (protocol: Protocol, name: string): Set<number> =>
    new Set(
      cluster.pods.flatMap((each) =>
        [...namedPorts(each)].flatMap((port) => (port.protocol === protocol && port.name === name ? port.number : [])),
      ),
    );
  const services = new ServiceIndex(cluster.services ?? [], cluster.pods, (each) =>
    labelsOf(each, namespaceOf(cluster, each)),
  );
  return policies.flatMap((each) => {
    const { policies: made, remarks } = translate(each, tenant, { numbersOf, services: () => services });
    assert.deepEqual(remarks, []);
    return made;
  });
}
function weftPasses(
  cluster: Cluster,
  policies: readonly Policy[],
  direction: "Ingress" | "Egress",
  of: Pod,
  other: End,
  said: Said,
): boolean {
  const identityOf = (each: Pod): Identity => ({ network: "pods", labels: labelsOf(each, namespaceOf(cluster, each)) });
  const party: Party = {
    address: addressOf(other),
    ...(isPod(other) ? { identity: identityOf(other) } : other === "node" ? { identity: "node" as const } : {}),
  };
  const protocol = protocolNumber(said.protocol.toLowerCase());
  return (
    decide(
      policies,
      identityOf(of),
      direction === "Ingress" ? "ingress" : "egress",
      party,
      { protocol, port: said.port },
      "allow",
    ).verdict === "allow"
  );
}

const labels = fc.dictionary(fc.constantFrom("app", "example.org/tier"), fc.constantFrom("a", "b", ""), { maxKeys: 2 });
const selector = fc.record(
  {
    matchLabels: labels,
    matchExpressions: fc.array(
      fc.oneof(
        fc.record({
          key: fc.constantFrom("app", "example.org/tier"),
          operator: fc.constantFrom("In", "NotIn"),
          values: fc.array(fc.constantFrom("a", "b", "c", ""), { minLength: 1, maxLength: 2 }),
        }),
        fc.record({
          key: fc.constantFrom("app", "example.org/tier"),
          operator: fc.constantFrom("Exists", "DoesNotExist"),
        }),
      ),
      { maxLength: 2 },
    ),
  },
  { requiredKeys: [] },
);
const names = ["x", "y"] as const;
const cluster: fc.Arbitrary<Cluster> = fc.record({
  namespaces: fc.tuple(...names.map((name) => labels.map((of) => namespace(name, of)))),
  pods: fc
    .array(
      fc.record({
        of: fc.constantFrom(...names),
        labels,
        ports: fc.array(
          fc.record({
            name: fc.constantFrom("http", "dns"),
            containerPort: fc.constantFrom(80, 81, 8080),
            protocol: fc.constantFrom("TCP", "UDP"),
          }),
          { maxLength: 2 },
        ),
      }),
      { minLength: 2, maxLength: 5 },
    )
    .map((list) =>
      list.map((each, index) => pod(each.of, `pod-${index}`, `10.0.0.${index + 1}`, each.labels, each.ports)),
    ),
});
const ipBlock = fc.constantFrom(
  { cidr: "10.0.0.0/24" },
  { cidr: "10.0.0.2/32" },
  { cidr: "10.0.0.77/24", except: ["10.0.0.0/30"] },
  { cidr: "0.0.0.0/0", except: ["10.0.0.1/32", "192.0.2.0/24"] },
  { cidr: "192.0.2.0/24" },
  { cidr: "::/0" },
);
const peer = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: selector }),
  fc.record({ podSelector: selector, namespaceSelector: selector }),
  fc.record({ ipBlock }),
);
const port = fc.oneof(
  fc.record({ protocol: fc.constantFrom("TCP", "UDP", "SCTP") }),
  fc.record({ protocol: fc.constantFrom("TCP", "UDP"), port: fc.constantFrom(80, 81, 8080, "http", "dns", "none") }),
  fc.record({ port: fc.constantFrom(80, "http") }),
  fc.record({ port: fc.constant(80), endPort: fc.constantFrom(80, 100, 8080) }),
);
const listOf = <Item>(item: fc.Arbitrary<Item>): fc.Arbitrary<Item[]> => fc.array(item, { maxLength: 2 });
const networkPolicy = fc.record({
  of: fc.constantFrom(...names),
  spec: fc.record(
    {
      podSelector: selector,
      policyTypes: fc.subarray(["Ingress", "Egress"], { minLength: 1 }),
      ingress: listOf(fc.record({ from: listOf(peer), ports: listOf(port) }, { requiredKeys: [] })),
      egress: listOf(fc.record({ to: listOf(peer), ports: listOf(port) }, { requiredKeys: [] })),
    },
    { requiredKeys: ["podSelector"] },
  ),
});
const policies = fc
  .array(networkPolicy, { maxLength: 4 })
  .map((list) => list.map(({ of, spec }, index) => policy(of, spec, `p${index}`)));
const said = fc.record({
  protocol: fc.constantFrom<Protocol>("TCP", "UDP", "SCTP"),
  port: fc.constantFrom(79, 80, 81, 100, 8080, 8081),
});

test("what passes by weft's policies is what passes by Kubernetes'", () => {
  const seen = { true: 0, false: 0 };
  fc.assert(
    fc.property(cluster, policies, said, (of, list, what) => {
      const made = weftPolicies(of, list);
      const others: End[] = [...of.pods, "node", ip("192.0.2.7"), ip("203.0.113.7")];
      for (const one of of.pods)
        for (const other of others)
          for (const direction of ["Ingress", "Egress"] as const) {
            if (one === other) continue;
            const expected = kubernetes.passes(of, list, direction, one, other, what);
            seen[`${expected}`]++;
            assert.equal(weftPasses(of, made, direction, one, other, what), expected);
          }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(seen.true > 1_000 && seen.false > 1_000, JSON.stringify(seen));
});

describe("a policy", () => {
  const small: Cluster = { namespaces: [namespace("x", {})], pods: [] };

  it("has a name of its own for each tenant, however long its own is", () => {
    const long = policy("x", {}, `${"a".repeat(100)}.b`);
    const [of, other] = ["blue", "red"].map((each) => {
      const { policies: made } = translate(long, each, {
        numbersOf: () => [],
        services: () => new ServiceIndex([], [], () => ({})),
      });
      return made[0]?.name ?? "";
    });
    assert.match(of ?? "", /^x-a{48}-[0-9a-f]{12}$/);
    assert.notEqual(of, other);
  });

  it("isolates whom it is for, and allows nothing of what weft cannot say", () => {
    const many = {
      matchExpressions: Array.from({ length: 65 }, (_, index) => ({ key: `l${index}`, operator: "Exists" })),
    };
    const around = { numbersOf: () => [], services: () => new ServiceIndex([], [], () => ({})) };
    const peers = translate(policy("x", { ingress: [{ from: [{ podSelector: many }] }] }), tenant, around);
    assert.deepEqual(
      peers.policies[0]?.rules.map(({ peers: of }) => of),
      [[{ node: "own" }]],
    );
    assert.match(peers.remarks.join(), /a selector of 66 requirements is left out; allowed: at most 64/);
    const selected = translate(policy("x", { podSelector: many, ingress: [{}] }), tenant, around);
    assert.deepEqual(
      selected.policies.map(({ endpoints, isolates, rules }) => [endpoints, isolates, rules.length]),
      [["kubernetes/pod/namespace=x", ["ingress"], 1]],
    );
    assert.equal(selected.remarks.length, 1);
  });

  it("is as many rules as it has lists that are too long for one", () => {
    const from = Array.from({ length: 1_001 }, (_, index) => ({
      ipBlock: { cidr: `10.${index >> 8}.${index & 255}.0/24` },
    }));
    const [made] = weftPolicies(small, [policy("x", { ingress: [{ from }] })]);
    assert.deepEqual(
      made?.rules.map(({ peers }) => peers.length),
      [1, 1_000, 1],
    );
  });

  it("takes a port's name for the number that each pod has for it", () => {
    const http = (containerPort: number) => [{ name: "http", containerPort }];
    const pods = [
      pod("x", "a", "10.0.0.1", {}, http(80)),
      pod("x", "b", "10.0.0.2", {}, http(8080)),
      pod("x", "c", "10.0.0.3", {}),
    ];
    const of: Cluster = { ...small, pods };
    const ports = [{ port: "http" }];
    const made = weftPolicies(of, [
      policy("x", { policyTypes: ["Ingress", "Egress"], ingress: [{ ports }], egress: [{ ports }] }),
    ]);
    const reached = (direction: "Ingress" | "Egress") =>
      pods.flatMap((receiver) =>
        [80, 8080].flatMap((port) => {
          const [one, other] = direction === "Ingress" ? [receiver, pods[2] as Pod] : [pods[2] as Pod, receiver];
          const passes = weftPasses(of, made, direction, one, other, { protocol: "TCP", port });
          return passes ? `${receiver.metadata.name} ${port}` : [];
        }),
      );
    assert.deepEqual(reached("Ingress"), ["a 80", "b 8080"]);
    assert.deepEqual(reached("Egress"), ["a 80", "b 8080"]);
  });

  it("says which program keeps it", () =>
    assert.deepEqual(
      weftPolicies(small, [policy("x", {})]).map(({ managedBy, tenant: of }) => [managedBy, of]),
      [["kubernetes", "blue"]],
    ));
});

describe("a service is reached where all of its backends are", () => {
  const web = { app: "web" };
  const http = [{ name: "http", containerPort: 8080 }];
  const pods = [
    pod("x", "client", "10.0.0.1", {}),
    pod("x", "web-1", "10.0.0.2", { ...web, canary: "no" }, http),
    pod("x", "web-2", "10.0.0.3", { ...web, canary: "yes" }, http),
    pod("x", "ended", "10.0.0.4", web, http),
    pod("y", "other", "10.0.0.5", web, http),
  ].map((each) => (each.metadata.name === "ended" ? { ...each, status: { ...each.status, phase: "Failed" } } : each));
  const service = (spec: object): Service => serviceSchema.parse({ metadata: meta("x", "web"), spec });
  const usual = {
    clusterIPs: ["10.96.0.10", "fd96::10"],
    clusterIP: "10.96.0.10",
    selector: web,
    ports: [{ port: 80, targetPort: "http" }],
  };
  const reaches = (to: object, ports: readonly object[] | undefined, of: Service, port = 80): boolean => {
    const around: Cluster = { namespaces: [namespace("x", {}), namespace("y", {})], pods, services: [of] };
    const egress = [{ to: [to], ...(ports === undefined ? {} : { ports }) }];
    const made = weftPolicies(around, [policy("x", { podSelector: {}, policyTypes: ["Egress"], egress })]);
    return weftPasses(around, made, "Egress", pods[0] as Pod, ip("10.96.0.10"), { protocol: "TCP", port });
  };
  const cases: [what: string, to: object, ports: readonly object[] | undefined, spec: object, isReached: boolean][] = [
    ["by labels", { podSelector: { matchLabels: web } }, undefined, usual, true],
    ["by labels and the port of the pods", { podSelector: { matchLabels: web } }, [{ port: 8080 }], usual, true],
    ["by labels and the name of it", { podSelector: { matchLabels: web } }, [{ port: "http" }], usual, true],
    ["by their addresses", { ipBlock: { cidr: "10.0.0.0/24" } }, undefined, usual, true],
    ["not by the port of the service", { podSelector: { matchLabels: web } }, [{ port: 80 }], usual, false],
    ["not by another protocol", { podSelector: { matchLabels: web } }, [{ port: 8080, protocol: "UDP" }], usual, false],
    ["not if some are not", { podSelector: { matchLabels: { canary: "yes" } } }, undefined, usual, false],
    ["not without backends", { podSelector: {} }, undefined, { ...usual, selector: { app: "none" } }, false],
    ["not without a selector", { podSelector: {} }, undefined, { ...usual, selector: {} }, false],
    [
      "not without an address",
      { podSelector: {} },
      undefined,
      { ...usual, clusterIP: "None", clusterIPs: ["None"] },
      false,
    ],
  ];
  for (const [what, to, ports, spec, isReached] of cases)
    it(what, () => assert.equal(reaches(to, ports, service(spec)), isReached));

  it("at the port that it has, and no other", () =>
    assert.equal(reaches({ podSelector: {} }, undefined, service(usual), 81), false));

  it("with backends in the network of their host by address alone", () => {
    const hosted = [pod("x", "client", "10.0.0.1", {}), pod("x", "api", "192.0.2.1", web, http, { hostNetwork: true })];
    const around: Cluster = { namespaces: [namespace("x", {})], pods: hosted, services: [service(usual)] };
    const reached = (to: object): boolean => {
      const made = weftPolicies(around, [policy("x", { policyTypes: ["Egress"], egress: [{ to: [to] }] })]);
      return weftPasses(around, made, "Egress", hosted[0] as Pod, ip("10.96.0.10"), { protocol: "TCP", port: 80 });
    };
    assert.equal(reached({ podSelector: { matchLabels: web } }), false);
    assert.equal(reached({ ipBlock: { cidr: "192.0.2.0/24" } }), true);
  });
});
