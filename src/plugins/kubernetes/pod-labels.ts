import { isLabelValue, type Labels } from "../../model/policy/index.ts";
import type { Namespace, Pod, Protocol } from "./objects.ts";

/**
 * The labels of an endpoint of a pod: those of the pod as they are, and others that nobody can give a pod, since a key of Kubernetes'
 * has one slash at most.
 */
export const namespaceName = "kubernetes/pod/namespace";
const podName = "kubernetes/pod/name";

/** A label of the pod's namespace. */
export function namespaceLabel(key: string): string {
  return `kubernetes/namespace/${key}`;
}

/** The number of a named port of its. */
export function portLabel(protocol: Protocol, name: string): string {
  return `kubernetes/port/${protocol.toLowerCase()}/${name}`;
}

export function labelsOf(pod: Pod, namespace: Namespace | undefined): Labels {
  const { name, namespace: of, labels } = pod.metadata;
  const ofNamespace = Object.entries(namespace?.metadata.labels ?? {}).map(([key, value]) => [
    namespaceLabel(key),
    value,
  ]);
  const ofPorts = Array.from(namedPorts(pod), ({ protocol, name: port, number }) => [
    portLabel(protocol, port),
    `${number}`,
  ]);
  return {
    ...labels,
    ...Object.fromEntries([...ofNamespace, ...ofPorts]),
    [namespaceName]: of,
    // One that is longer is for people only, as all of them are.
    ...(isLabelValue(name) ? { [podName]: name } : {}),
  };
}

export interface NamedPort {
  readonly protocol: Protocol;
  readonly name: string;
  readonly number: number;
}

/** Of those of one name the first counts. */
export function namedPorts({ spec: { containers, initContainers } }: Pod): Iterable<NamedPort> {
  const found = new Map<string, NamedPort>();
  const running = [...containers, ...initContainers.filter(({ restartPolicy }) => restartPolicy === "Always")];
  for (const { ports } of running)
    for (const { name = "", protocol, containerPort } of ports) {
      const key = `${protocol} ${name}`;
      if (name !== "" && !found.has(key)) found.set(key, { protocol, name, number: containerPort });
    }
  return found.values();
}
