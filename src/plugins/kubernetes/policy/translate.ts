import { type Policy, type PolicyDirection, parsePolicy, policyDirections } from "../../../model/policy/index.ts";
import { formatProblem } from "../../../model/problem.ts";
import { managedBy } from "../managed-by.ts";
import type { NetworkPolicy, Protocol } from "../objects.ts";
import { namespaceName, portLabel } from "../pod-labels.ts";
import { having, peersOf, selectorOf } from "./peers.ts";
import { policyName } from "./policy-name.ts";
import { namedPorts, numberedPorts, portOf, type Rule, rulesOf } from "./rules.ts";
import { requirements } from "./selector.ts";
import type { ServiceIndex } from "./services.ts";

/** What beside a NetworkPolicy decides what it means. */
export interface Surroundings {
  /** The numbers that pods have for a named port. */
  numbersOf(protocol: Protocol, name: string): Iterable<number>;
  services(): ServiceIndex;
}

export interface Translated {
  readonly policies: readonly Policy[];
  /** What could not be said, and is not allowed therefore. */
  readonly remarks: readonly string[];
}

type Draft = Pick<Policy, "name" | "tenant" | "managedBy" | "isolates"> & {
  readonly endpoints: string;
  readonly rules: readonly Rule[];
};

/**
 * A NetworkPolicy of networking.k8s.io/v1 in weft's words, for the endpoints of pods in networks of a tenant. It makes one policy of
 * weft's, and one more for each number that pods have for a named port of its `ingress`: that is a port of the pods that it selects.
 * What weft cannot say is left out: rules allow, and what none allows is denied.
 */
export function translate({ metadata, spec }: NetworkPolicy, tenant: string, around: Surroundings): Translated {
  const remarks: string[] = [];
  const remark = (text: string): void => void remarks.push(text);
  const { namespace, name } = metadata;
  const ofNamespace = `${namespaceName}=${namespace}`;
  const selector = selectorOf([ofNamespace, ...requirements(spec.podSelector)], remark);
  const isolates = isolatedBy(spec);
  // What its own node sends to a pod, and gets from it, always passes.
  const rules: Rule[] = isolates.flatMap((direction) => rulesOf(direction, [{ node: "own" }], undefined));
  const common = { tenant, managedBy };
  const main = { ...common, name: policyName(tenant, namespace, name), isolates };
  // Who is selected cannot be said: it holds for all of the namespace, and allows none of them anything.
  if (selector === undefined) return { policies: parsed({ ...main, endpoints: ofNamespace, rules }, remark), remarks };
  const ofNumber = new Map<string, Rule[]>();
  for (const { from, ports } of isolates.includes("ingress") ? spec.ingress : []) {
    const peers = peersOf(from, namespace, remark);
    rules.push(...rulesOf("ingress", peers, numberedPorts(ports)));
    for (const { protocol, name: port, number } of namedPorts(ports, around.numbersOf)) {
      const requirement = `${portLabel(protocol, port)}=${number}`;
      const known = ofNumber.get(requirement) ?? [];
      ofNumber.set(requirement, [...known, ...rulesOf("ingress", peers, [portOf(protocol, number)])]);
    }
  }
  for (const { to, ports } of isolates.includes("egress") ? spec.egress : []) {
    const peers = peersOf(to, namespace, remark);
    rules.push(...rulesOf("egress", peers, numberedPorts(ports)));
    for (const { protocol, name: port, number } of namedPorts(ports, around.numbersOf))
      rules.push(
        ...rulesOf("egress", having(peers, `${portLabel(protocol, port)}=${number}`), [portOf(protocol, number)]),
      );
  }
  const ofNumbers = Array.from(ofNumber, ([requirement, each]) => ({
    ...common,
    name: policyName(tenant, namespace, name, requirement),
    endpoints: `${selector},${requirement}`,
    isolates: [],
    rules: each,
  }));
  const drafts = [withServices({ ...main, endpoints: selector, rules }, around), ...ofNumbers];
  return { policies: drafts.flatMap((draft) => parsed(draft, remark)), remarks };
}

/** `policyTypes`, or what the API server makes of their absence. */
function isolatedBy({ policyTypes, egress }: NetworkPolicy["spec"]): PolicyDirection[] {
  if (policyTypes.length === 0) return egress.length > 0 ? ["ingress", "egress"] : ["ingress"];
  return policyDirections.filter((direction) => policyTypes.some((type) => type.toLowerCase() === direction));
}

/** What is sent to a service's address leaves a pod under that address: where its backends are allowed, so is that. */
function withServices(draft: Draft, { services }: Surroundings): Draft {
  const read = draft.isolates.includes("egress") ? parsePolicy(draft) : undefined;
  if (read?.ok !== true) return draft;
  const reached = services().reachedBy(read.value.rules);
  const ofServices = reached.flatMap(({ subnets, ...port }) =>
    rulesOf(
      "egress",
      subnets.map((subnet) => ({ subnet, except: [] })),
      [portOf(port.protocol, port.number)],
    ),
  );
  return { ...draft, rules: [...draft.rules, ...ofServices] };
}

/** One that weft does not take isolates still. */
function parsed(draft: Draft, remark: (text: string) => void): Policy[] {
  const read = parsePolicy(draft);
  if (read.ok) return [read.value];
  remark(`its rules are left out: ${read.error.map(formatProblem).join("; ")}`);
  const bare = parsePolicy({ ...draft, rules: [] });
  return bare.ok ? [bare.value] : [];
}
