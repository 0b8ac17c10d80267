/**
 * The semantics of Kubernetes' NetworkPolicy, by the cases of its published end-to-end tests (kubernetes/kubernetes,
 * test/e2e/network/netpol/network_policy.go), in weft's words: a pod is an endpoint with the labels `ns` and `pod`, a policy of a namespace
 * is for endpoints with its `ns`. Cases about named ports are left out: endpoints have none.
 */

/** `x/a`: pod a of namespace x. */
export type Pod = `${"x" | "y" | "z"}/${"a" | "b" | "c"}`;
export const pods: readonly Pod[] = (["x", "y", "z"] as const).flatMap((ns) =>
  (["a", "b", "c"] as const).map((pod): Pod => `${ns}/${pod}`),
);

/** What may be said after a step. */
export interface Expectation {
  readonly protocol: "tcp" | "udp";
  readonly port: 80 | 81;
  readonly allowed: (from: Pod, to: Pod) => boolean;
}

/** Policies that hold from then on, labels that pods get, and what follows. `address`: of a pod, as a prefix of itself alone. */
export interface Step {
  readonly policies: (address: (pod: Pod) => string) => readonly object[];
  readonly labels?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly expect: readonly Expectation[];
}

export interface Case {
  readonly name: string;
  readonly steps: readonly Step[];
}

const nsOf = (pod: Pod): string => pod.slice(0, 1);
const nameOf = (pod: Pod): string => pod.slice(2);
const tcp = (port: 80 | 81, allowed: Expectation["allowed"]): Expectation => ({ protocol: "tcp", port, allowed });
const udp = (port: 80 | 81, allowed: Expectation["allowed"]): Expectation => ({ protocol: "udp", port, allowed });
const all = (): boolean => true;
const port = (number: number, protocol = "tcp") => ({ protocol, ports: [number] });
const ingress = (peers?: readonly object[], ports?: readonly object[]): object => rule("ingress", peers, ports);
const egress = (peers?: readonly object[], ports?: readonly object[]): object => rule("egress", peers, ports);
function rule(direction: string, peers?: readonly object[], ports?: readonly object[]): object {
  return { direction, action: "allow", ...(peers ? { peers } : {}), ...(ports ? { ports } : {}) };
}
const from = (selector: string) => ({ endpoints: selector });
const once = (name: string, policies: readonly object[], ...expect: Expectation[]): Case => ({
  name,
  steps: [{ policies: () => policies, expect }],
});
/** A policy for pod a of namespace x. */
const forServer = { endpoints: "ns=x,pod=a" };
/** Who is not the server is reached as before. */
const toServer =
  (allowed: (from: Pod) => boolean) =>
  (from: Pod, to: Pod): boolean =>
    to !== "x/a" || allowed(from);
const fromClient =
  (allowed: (to: Pod) => boolean) =>
  (from: Pod, to: Pod): boolean =>
    from !== "x/a" || allowed(to);

const denyAll = { endpoints: "ns=x", isolates: ["ingress", "egress"] };

export const cases: readonly Case[] = [
  once(
    "default-deny-ingress",
    [{ endpoints: "ns=x", isolates: ["ingress"] }],
    tcp(80, (_, to) => nsOf(to) !== "x"),
  ),
  once(
    "default-deny-all",
    [denyAll],
    tcp(80, (from, to) => nsOf(from) !== "x" && nsOf(to) !== "x"),
    udp(80, (from, to) => nsOf(from) !== "x" && nsOf(to) !== "x"),
  ),
  once(
    "allow traffic from pods within the server's namespace, by PodSelector",
    [{ ...forServer, rules: [ingress([from("ns=x,pod=b")])] }],
    tcp(
      80,
      toServer((from) => from === "x/b"),
    ),
  ),
  once(
    "allow traffic only from a different namespace, by NamespaceSelector",
    [{ ...forServer, rules: [ingress([from("ns=y")])] }],
    tcp(
      80,
      toServer((from) => nsOf(from) === "y"),
    ),
  ),
  once(
    "PodSelector with MatchExpressions",
    [{ ...forServer, rules: [ingress([from("ns=x,pod in (b)")])] }],
    tcp(
      80,
      toServer((from) => from === "x/b"),
    ),
  ),
  once(
    "NamespaceSelector with MatchExpressions",
    [{ ...forServer, rules: [ingress([from("ns in (y)")])] }],
    tcp(
      80,
      toServer((from) => nsOf(from) === "y"),
    ),
  ),
  once(
    "PodSelector or NamespaceSelector",
    [{ ...forServer, rules: [ingress([from("ns!=x"), from("ns=x,pod=b")])] }],
    tcp(
      80,
      toServer((from) => nsOf(from) !== "x" || from === "x/b"),
    ),
  ),
  once(
    "PodSelector and NamespaceSelector",
    [{ ...forServer, rules: [ingress([from("ns notin (x),pod=b")])] }],
    tcp(
      80,
      toServer((from) => nsOf(from) !== "x" && nameOf(from) === "b"),
    ),
  ),
  once(
    "multiple PodSelectors and NamespaceSelectors",
    [{ ...forServer, rules: [ingress([from("ns notin (x),pod in (b,c)")])] }],
    tcp(
      80,
      toServer((from) => nsOf(from) !== "x" && nameOf(from) !== "a"),
    ),
  ),
  once(
    "any PodSelectors",
    [{ ...forServer, rules: [ingress([from("ns=x,pod=b"), from("ns=x,pod=c")])] }],
    tcp(
      80,
      toServer((from) => nsOf(from) === "x"),
    ),
  ),
  once(
    "allow traffic only from a pod in a different namespace, by PodSelector and NamespaceSelector",
    [{ ...forServer, rules: [ingress([from("ns=y,pod=a")])] }],
    tcp(
      80,
      toServer((from) => from === "y/a"),
    ),
  ),
  once(
    "based on ports",
    [{ ...forServer, rules: [ingress([from("ns=y")], [port(81)])] }],
    tcp(
      81,
      toServer((from) => nsOf(from) === "y"),
    ),
    tcp(
      80,
      toServer(() => false),
    ),
  ),
  once(
    "a range of ports",
    [{ ...forServer, rules: [ingress(undefined, [{ protocol: "tcp", ports: ["81-90"] }])] }],
    tcp(81, all),
    tcp(
      80,
      toServer(() => false),
    ),
  ),
  once(
    "multiple, stacked policies with overlapping PodSelectors",
    [
      { ...forServer, rules: [ingress([from("ns=y")], [port(81)])] },
      { ...forServer, rules: [ingress([from("ns=y")], [port(80)])] },
    ],
    tcp(
      81,
      toServer((from) => nsOf(from) === "y"),
    ),
    tcp(
      80,
      toServer((from) => nsOf(from) === "y"),
    ),
  ),
  once("allow-all", [{ endpoints: "ns=x", rules: [ingress()] }], tcp(80, all), tcp(81, all), udp(80, all)),
  {
    name: "an updated policy is enforced",
    steps: [
      { policies: () => [{ endpoints: "ns=x", rules: [ingress()] }], expect: [tcp(80, all)] },
      {
        policies: () => [{ endpoints: "ns=x", rules: [ingress(undefined, [port(81)])] }],
        expect: [tcp(80, (_, to) => nsOf(to) !== "x"), tcp(81, all)],
      },
    ],
  },
  {
    name: "ingress access from an updated namespace",
    steps: [
      {
        policies: () => [{ ...forServer, rules: [ingress([from("ns2=updated")])] }],
        expect: [
          tcp(
            80,
            toServer(() => false),
          ),
        ],
      },
      {
        policies: () => [{ ...forServer, rules: [ingress([from("ns2=updated")])] }],
        labels: Object.fromEntries(["a", "b", "c"].map((pod) => [`y/${pod}`, { ns: "y", pod, ns2: "updated" }])),
        expect: [
          tcp(
            80,
            toServer((from) => nsOf(from) === "y"),
          ),
        ],
      },
    ],
  },
  {
    name: "ingress access from an updated pod",
    steps: [
      {
        policies: () => [{ ...forServer, rules: [ingress([from("ns=x,pod2=updated")])] }],
        expect: [
          tcp(
            80,
            toServer(() => false),
          ),
        ],
      },
      {
        policies: () => [{ ...forServer, rules: [ingress([from("ns=x,pod2=updated")])] }],
        labels: { "x/b": { ns: "x", pod: "b", pod2: "updated" } },
        expect: [
          tcp(
            80,
            toServer((from) => from === "x/b"),
          ),
        ],
      },
    ],
  },
  {
    name: "ingress access to an updated pod",
    steps: [
      { policies: () => [{ endpoints: "ns=x,target=isolated", isolates: ["ingress"] }], expect: [tcp(80, all)] },
      {
        policies: () => [{ endpoints: "ns=x,target=isolated", isolates: ["ingress"] }],
        labels: { "x/a": { ns: "x", pod: "a", target: "isolated" } },
        expect: [
          tcp(
            80,
            toServer(() => false),
          ),
        ],
      },
    ],
  },
  once(
    "deny egress from pods, by PodSelector",
    [{ ...forServer, isolates: ["egress"] }],
    tcp(
      80,
      fromClient(() => false),
    ),
  ),
  once(
    "deny egress from all pods in a namespace",
    [{ endpoints: "ns=x", isolates: ["egress"] }],
    tcp(80, (from) => nsOf(from) !== "x"),
  ),
  once(
    "ingress and egress together",
    [{ ...forServer, rules: [ingress([from("ns=x,pod=b")], [port(80)]), egress(undefined, [port(80)])] }],
    tcp(80, (from, to) => to !== "x/a" || from === "x/b"),
    tcp(81, (from, to) => from !== "x/a" && to !== "x/a"),
  ),
  once(
    "egress denied on the client's side, even if the server's allows",
    [
      { ...forServer, rules: [egress([from("ns=y,pod=a")])] },
      { endpoints: "ns=y,pod=a", rules: [ingress([from("ns=x,pod=a")])] },
      { endpoints: "ns=y,pod=b", rules: [ingress([from("ns=x,pod=a")])] },
    ],
    tcp(80, (from, to) => {
      if (from === "x/a") return to === "y/a";
      return to !== "y/a" && to !== "y/b";
    }),
  ),
  once(
    "egress to a server in a different namespace, by PodSelector and NamespaceSelector",
    [{ ...forServer, rules: [egress([from("ns=y,pod=a")])] }],
    tcp(
      80,
      fromClient((to) => to === "y/a"),
    ),
  ),
  once(
    "any port of a specific protocol",
    [{ ...forServer, rules: [ingress(undefined, [{ protocol: "tcp" }])] }],
    tcp(80, all),
    tcp(81, all),
    udp(
      80,
      toServer(() => false),
    ),
  ),
  once(
    "ingress allow-all beside one that allows less",
    [
      { ...forServer, rules: [ingress([from("ns=x,pod=b")], [port(80)])] },
      { ...forServer, rules: [ingress()] },
    ],
    tcp(80, all),
    tcp(81, all),
  ),
  once(
    "egress allow-all beside one that allows less",
    [
      { ...forServer, rules: [egress([from("ns=y")], [port(80)])] },
      { ...forServer, rules: [egress()] },
    ],
    tcp(80, all),
    tcp(81, all),
  ),
  {
    name: "nothing is enforced after policies are deleted",
    steps: [
      { policies: () => [denyAll], expect: [tcp(80, (from, to) => nsOf(from) !== "x" && nsOf(to) !== "x")] },
      { policies: () => [], expect: [tcp(80, all)] },
    ],
  },
  {
    name: "egress to a server in a CIDR block",
    steps: [
      {
        policies: (address) => [{ ...forServer, rules: [egress([{ subnet: address("z/b") }])] }],
        expect: [
          tcp(
            80,
            fromClient((to) => to === "z/b"),
          ),
        ],
      },
    ],
  },
  {
    name: "the except clause of a CIDR block",
    steps: [
      {
        policies: (address) => [
          { ...forServer, rules: [egress([{ subnet: "10.0.0.0/24", except: [address("z/b")] }])] },
        ],
        expect: [
          tcp(
            80,
            fromClient((to) => to !== "z/b"),
          ),
        ],
      },
    ],
  },
  {
    name: "an address in a CIDR block and in another's except clause",
    steps: [
      {
        policies: (address) => [
          { ...forServer, rules: [egress([{ subnet: "10.0.0.0/24", except: [address("z/b")] }])] },
          { ...forServer, rules: [egress([{ subnet: address("z/b") }])] },
        ],
        expect: [tcp(80, fromClient(all))],
      },
    ],
  },
  once(
    "ingress and egress are controlled by themselves",
    [
      { endpoints: "ns=x,pod=a", rules: [ingress([from("ns=x,pod=b")])] },
      { endpoints: "ns=x,pod=a", rules: [egress([from("ns=x,pod=b")])] },
      { endpoints: "ns=x,pod=b", isolates: ["ingress"] },
    ],
    tcp(80, (from, to) => {
      if (to === "x/b") return false;
      if (from === "x/a") return false;
      return to !== "x/a" || from === "x/b";
    }),
  ),
  once(
    "SCTP is not taken for TCP",
    [{ ...forServer, rules: [ingress(undefined, [port(81, "sctp")])] }],
    tcp(
      81,
      toServer(() => false),
    ),
    tcp(
      80,
      toServer(() => false),
    ),
  ),
  once(
    "UDP is not taken for TCP",
    [{ ...forServer, rules: [ingress(undefined, [port(81, "udp")])] }],
    tcp(
      81,
      toServer(() => false),
    ),
    udp(81, all),
    udp(
      80,
      toServer(() => false),
    ),
  ),
  once(
    "pods that a policy for SCTP selects are isolated, the others are not",
    [
      { ...forServer, rules: [ingress(undefined, [port(80, "sctp")])] },
      { ...forServer, rules: [ingress([from("ns=y")], [port(80)])] },
    ],
    tcp(
      80,
      toServer((from) => nsOf(from) === "y"),
    ),
  ),
  once(
    "no policy for a pod leaves it open, in the namespace of one that is not",
    [{ endpoints: "ns=x,pod=b", isolates: ["ingress", "egress"] }],
    tcp(80, (from, to) => from !== "x/b" && to !== "x/b"),
  ),
];
