import type { Logger } from "../../base/logger.ts";
import type { Policy } from "../../model/policy/index.ts";
import type { Pod as PodDraft } from "../../model/resources.ts";
import { networksOf } from "./annotations.ts";
import type { Namespace, NetworkPolicy, Pod, Protocol, Service } from "./objects.ts";
import { namedPorts } from "./pod-labels.ts";
import { isAttached, podDraft } from "./pods.ts";
import { ServiceIndex } from "./policy/services.ts";
import { type Surroundings, type Translated, translate } from "./policy/translate.ts";

/** Kubernetes' objects as of one moment, by namespace and name. */
export interface Observed {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly pods: ReadonlyMap<string, Pod>;
  readonly policies: ReadonlyMap<string, NetworkPolicy>;
  readonly services: ReadonlyMap<string, Service>;
}

/** What weft's server shall have for all of it. What was translated and has not changed is not translated again. */
export class Translation {
  readonly #network: string;
  readonly #logger: Logger;
  readonly #pods = new WeakMap<
    Pod,
    { readonly namespace: Namespace | undefined; readonly draft: PodDraft | undefined }
  >();
  /** By tenant. */
  readonly #policies = new WeakMap<NetworkPolicy, Map<string, Translated>>();
  /** Those that were told of a policy last. */
  readonly #remarks = new Map<string, string>();

  /** `network`: of pods whose namespace names none. */
  constructor(network: string, logger: Logger) {
    this.#network = network;
    this.#logger = logger;
  }

  /** All networks that pods may be in. */
  networksIn({ namespaces }: Pick<Observed, "namespaces">): ReadonlySet<string> {
    return new Set(
      Array.from(namespaces.values(), ({ metadata }) => networksOf(metadata.annotations, this.#network)).flat(),
    );
  }

  pods(observed: Observed): ReadonlyMap<string, PodDraft> {
    const pods = new Map<string, PodDraft>();
    for (const pod of observed.pods.values()) {
      // Its namespace, which comes by another watch, is there before the pod, and decides about it.
      const isKnown = namespaceOf(observed, pod.metadata.namespace) !== undefined;
      const draft = isKnown && isAttached(pod) ? this.#draftOf(pod, observed) : undefined;
      if (draft !== undefined) pods.set(draft.name, draft);
    }
    return pods;
  }

  /** `tenantOf`: whose network it is; `undefined`: there is no such network. */
  policies(observed: Observed, tenantOf: (network: string) => string | undefined): ReadonlyMap<string, Policy> {
    const around = this.#surroundings(observed);
    const policies = new Map<string, Policy>();
    for (const [key, policy] of observed.policies) {
      const namespace = namespaceOf(observed, policy.metadata.namespace);
      const networks = networksOf(namespace?.metadata.annotations, this.#network);
      const tenants = new Set(networks.flatMap((network) => tenantOf(network) ?? []));
      for (const tenant of tenants) {
        const translated = this.#translated(policy, tenant, around);
        for (const each of translated.policies) policies.set(each.name, each);
        this.#tell(key, translated.remarks);
      }
    }
    for (const key of this.#remarks.keys()) if (!observed.policies.has(key)) this.#remarks.delete(key);
    return policies;
  }

  #draftOf(pod: Pod, observed: Observed): PodDraft | undefined {
    const namespace = namespaceOf(observed, pod.metadata.namespace);
    const known = this.#pods.get(pod);
    if (known !== undefined && known.namespace === namespace) return known.draft;
    const draft = podDraft(pod, namespace, this.#network);
    const { namespace: of, name } = pod.metadata;
    if (!draft.ok) this.#logger.error({ pod: `${of}/${name}`, error: draft.error }, "weft cannot have such a pod");
    this.#pods.set(pod, { namespace, draft: draft.ok ? draft.value : undefined });
    return draft.ok ? draft.value : undefined;
  }

  #surroundings(observed: Observed): Surroundings {
    let numbers: ReadonlyMap<string, ReadonlySet<number>> | undefined;
    let services: ServiceIndex | undefined;
    return {
      numbersOf: (protocol, name) => {
        numbers ??= numbersByName(observed.pods.values());
        return numbers.get(nameKey(protocol, name)) ?? [];
      },
      services: () => {
        services ??= new ServiceIndex(
          observed.services.values(),
          observed.pods.values(),
          (pod) => this.#draftOf(pod, observed)?.labels ?? {},
        );
        return services;
      },
    };
  }

  #translated(policy: NetworkPolicy, tenant: string, around: Surroundings): Translated {
    if (!isAlone(policy)) return translate(policy, tenant, around);
    const byTenant = this.#policies.get(policy) ?? new Map<string, Translated>();
    this.#policies.set(policy, byTenant);
    const translated = byTenant.get(tenant) ?? translate(policy, tenant, around);
    byTenant.set(tenant, translated);
    return translated;
  }

  #tell(key: string, remarks: readonly string[]): void {
    const text = remarks.join("; ");
    if (text !== "" && this.#remarks.get(key) !== text)
      this.#logger.warn(
        { networkPolicy: key, error: text },
        "some of a NetworkPolicy cannot be said, and allows nothing",
      );
    this.#remarks.set(key, text);
  }
}

/** Whether it means the same whatever pods and services there are. */
function isAlone({ spec: { policyTypes, ingress, egress } }: NetworkPolicy): boolean {
  const isOfEgress = policyTypes.includes("Egress") || egress.length > 0;
  return !isOfEgress && !ingress.some(({ ports }) => ports.some(({ port }) => typeof port === "string"));
}

function namespaceOf({ namespaces }: Observed, name: string): Namespace | undefined {
  return namespaces.get(`/${name}`);
}

function numbersByName(pods: Iterable<Pod>): Map<string, Set<number>> {
  const numbers = new Map<string, Set<number>>();
  for (const pod of pods)
    for (const { protocol, name, number } of namedPorts(pod)) {
      const known = numbers.get(nameKey(protocol, name)) ?? new Set();
      numbers.set(nameKey(protocol, name), known.add(number));
    }
  return numbers;
}

function nameKey(protocol: Protocol, name: string): string {
  return `${protocol} ${name}`;
}
