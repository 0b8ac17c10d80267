import { type Cidr, hostPrefix } from "../../../base/cidr.ts";
import { familyOf, type IpAddress, parseIp } from "../../../base/ip.ts";
import {
  isPeerOf,
  isSaidIn,
  type Labels,
  type Party,
  type PolicyRule,
  protocolNumber,
} from "../../../model/policy/index.ts";
import { hasEnded, type Pod, type Protocol, type Service } from "../objects.ts";
import { namedPorts } from "../pod-labels.ts";

/** A port of a service, at one of its addresses, and where it leads. */
interface ServicePort {
  readonly subnet: Cidr;
  readonly protocol: Protocol;
  readonly number: number;
  readonly backends: readonly Backend[];
}

interface Backend {
  readonly party: Party;
  readonly port: number;
}

/** A port of services at these addresses. */
export interface ReachedPort {
  readonly protocol: Protocol;
  readonly number: number;
  readonly subnets: readonly Cidr[];
}

/** The services that lead to pods. */
export class ServiceIndex {
  readonly #ports: readonly ServicePort[];
  /** By what a rule says: many policies have the same. */
  readonly #reached = new Map<string, ReadonlySet<ServicePort>>();

  /** `labelsOf`: those of the pod's endpoints. */
  constructor(services: Iterable<Service>, pods: Iterable<Pod>, labelsOf: (pod: Pod) => Labels) {
    const byNamespace = Map.groupBy(pods, ({ metadata }) => metadata.namespace);
    this.#ports = Array.from(services).flatMap((service) =>
      portsOf(service, byNamespace.get(service.metadata.namespace) ?? [], labelsOf),
    );
  }

  /** The ports all of whose backends some one of the rules lets endpoints send to. */
  reachedBy(rules: readonly PolicyRule[]): ReachedPort[] {
    const reached = new Map<
      string,
      { readonly protocol: Protocol; readonly number: number; readonly subnets: Cidr[] }
    >();
    const egress = rules.filter(({ direction }) => direction === "egress");
    for (const { subnet, protocol, number } of new Set(egress.flatMap((rule) => [...this.#reachedBy(rule)]))) {
      const key = `${protocol} ${number}`;
      const known = reached.get(key) ?? { protocol, number, subnets: [] };
      reached.set(key, known);
      known.subnets.push(subnet);
    }
    return [...reached.values()];
  }

  #reachedBy(rule: PolicyRule): ReadonlySet<ServicePort> {
    const key = JSON.stringify([rule.peers, rule.ports]);
    const known = this.#reached.get(key);
    if (known !== undefined) return known;
    const reached = new Set(
      this.#ports.filter(({ protocol, backends }) => backends.every((backend) => allows(rule, protocol, backend))),
    );
    this.#reached.set(key, reached);
    return reached;
  }
}

function portsOf({ spec }: Service, pods: readonly Pod[], labelsOf: (pod: Pod) => Labels): ServicePort[] {
  const selector = Object.entries(spec.selector);
  if (selector.length === 0) return [];
  const selected = pods.filter(
    (pod) => !hasEnded(pod) && selector.every(([key, value]) => pod.metadata.labels[key] === value),
  );
  const addresses = spec.clusterIPs.length > 0 ? spec.clusterIPs : [spec.clusterIP];
  return addresses.flatMap((text) => {
    const address = parseIp(text);
    if (!address.ok) return [];
    return spec.ports.flatMap(({ protocol, port: number, targetPort = number }) => {
      const backends = selected.flatMap((pod) => backendOf(pod, protocol, targetPort, address.value, labelsOf) ?? []);
      return backends.length === 0 ? [] : [{ subnet: hostPrefix(address.value), protocol, number, backends }];
    });
  });
}

/** One that has no such port, or no address of the family yet, is none. */
function backendOf(
  pod: Pod,
  protocol: Protocol,
  target: number | string,
  like: IpAddress,
  labelsOf: (pod: Pod) => Labels,
): Backend | undefined {
  const port =
    typeof target === "number"
      ? target
      : [...namedPorts(pod)].find((each) => each.protocol === protocol && each.name === target)?.number;
  const own = pod.status.podIPs.flatMap(({ ip }) => {
    const parsed = parseIp(ip);
    return parsed.ok && familyOf(parsed.value) === familyOf(like) ? [parsed.value] : [];
  });
  const [address] = own;
  if (port === undefined || address === undefined) return undefined;
  // What is in the network of its host is no endpoint.
  const identity = { network: "", labels: labelsOf(pod) };
  return { party: { address, ...(pod.spec.hostNetwork ? {} : { identity }) }, port };
}

function allows({ peers, ports }: PolicyRule, protocol: Protocol, { party, port }: Backend): boolean {
  const isPeer = peers.length === 0 || peers.some((peer) => isPeerOf(peer, party, "allow"));
  return (
    isPeer &&
    (ports.length === 0 ||
      ports.some((each) => isSaidIn(each, { protocol: protocolNumber(protocol.toLowerCase()), port })))
  );
}
