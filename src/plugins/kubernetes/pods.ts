import { parseIp } from "../../base/ip.ts";
import { parseMac } from "../../base/mac.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { formatProblem } from "../../model/problem.ts";
import type { Pod as PodDraft } from "../../model/resources.ts";
import { parsePod } from "../../model/schema.ts";
import { annotations, networksOf } from "./annotations.ts";
import { managedBy } from "./managed-by.ts";
import { hasEnded, type Namespace, type Pod } from "./objects.ts";
import { labelsOf } from "./pod-labels.ts";

/** Whether weft has to do with it: it is on a node, lives, and has a network of its own. */
export function isAttached(pod: Pod): boolean {
  return pod.spec.nodeName !== "" && !pod.spec.hostNetwork && !hasEnded(pod);
}

/** What its node is told of a pod. `usual`: the network of pods whose namespace names none. */
export function podDraft(pod: Pod, namespace: Namespace | undefined, usual: string): Result<PodDraft, string> {
  const { metadata, spec } = pod;
  const wishes = wishesOf(pod, networksOf(namespace?.metadata.annotations, usual));
  const common = {
    name: runtimeId(pod),
    node: spec.nodeName,
    title: `${metadata.namespace}/${metadata.name}`,
    labels: labelsOf(pod, namespace),
    managedBy,
  };
  const draft = parsePod({ ...common, ...(wishes.ok ? wishes.value : { networks: [usual], refusal: wishes.error }) });
  if (draft.ok) return draft;
  const problems = draft.error.map(formatProblem).join("; ");
  // Without labels it would escape the policies that are for it.
  const bare = parsePod({ ...common, labels: {}, networks: [usual], refusal: problems.slice(0, 1_000) });
  return bare.ok ? bare : err(problems);
}

/** What runtimes call it. Of one that its node made from a file the API server has an image, with a UID of its own. */
function runtimeId({ metadata: { uid, annotations: annotated } }: Pod): string {
  const isImage = annotated["kubernetes.io/config.mirror"] !== undefined;
  return (isImage ? annotated["kubernetes.io/config.hash"] : undefined) ?? uid;
}

interface Wishes {
  readonly networks: readonly string[];
  readonly ips: readonly string[];
  readonly mac?: string;
}

/** The error says which annotation is not as it must be. */
function wishesOf(pod: Pod, allowed: readonly [string, ...string[]]): Result<Wishes, string> {
  const annotated = pod.metadata.annotations;
  const { [annotations.network]: network = allowed[0], [annotations.mac]: mac } = annotated;
  const refused = (name: string, found: string, what: string): Result<never, string> =>
    err(`annotation ${name}: found "${found}"; allowed: ${what}`);
  if (!allowed.includes(network))
    return refused(
      annotations.network,
      network,
      `${allowed.join(", ")}, as annotation ${annotations.networks} of namespace ${pod.metadata.namespace} says`,
    );
  if (mac !== undefined && !parseMac(mac).ok) return refused(annotations.mac, mac, "a MAC address");
  const ips = addressesOf(pod);
  if (ips === undefined)
    return refused(
      annotations.addresses,
      annotated[annotations.addresses] ?? "",
      "IP addresses, of one pod with commas between; of the pods of a StatefulSet in their order, with semicolons between",
    );
  const others = allowed.filter((each) => each !== network);
  return ok({ networks: [network, ...others], ips, ...(mac === undefined ? {} : { mac }) });
}

/** `undefined`: the annotation has none for it. */
function addressesOf({ metadata }: Pod): readonly string[] | undefined {
  const annotated = metadata.annotations[annotations.addresses];
  if (annotated === undefined) return [];
  const lists = annotated.split(";").map((list) => list.split(",").map((address) => address.trim()));
  const ordinal = ordinalOf(metadata);
  const own = ordinal === undefined ? (lists.length === 1 ? lists[0] : undefined) : lists[ordinal];
  return own?.every((address) => parseIp(address).ok) === true ? own : undefined;
}

/** The number of a pod of a StatefulSet: its name ends with it. */
function ordinalOf({ name, ownerReferences }: Pod["metadata"]): number | undefined {
  const set = ownerReferences.find(({ kind }) => kind === "StatefulSet");
  if (set === undefined || !name.startsWith(`${set.name}-`)) return undefined;
  const ordinal = name.slice(set.name.length + 1);
  return /^\d+$/.test(ordinal) ? Number(ordinal) : undefined;
}
