import { type Cidr, cidrOf, parseInterfaceAddress } from "../../../base/cidr.ts";
import { parseLabelSelector } from "../../../model/policy/index.ts";
import type { PolicyPeer } from "../objects.ts";
import { namespaceLabel, namespaceName } from "../pod-labels.ts";
import { requirements } from "./selector.ts";

/** As policies of weft's are declared. */
export type Peer =
  | { readonly endpoints: string }
  | { readonly subnet: Cidr; readonly except: readonly Cidr[] }
  | { readonly node: "own" };

/** The peers of one rule of a policy in a namespace. `undefined`: whoever it is. An empty list: nobody, since none of them can be said. */
export function peersOf(
  peers: readonly PolicyPeer[],
  namespace: string,
  remark: (text: string) => void,
): readonly Peer[] | undefined {
  if (peers.length === 0) return undefined;
  return peers.flatMap((peer) => peerOf(peer, namespace, remark) ?? []);
}

function peerOf(
  { podSelector, namespaceSelector, ipBlock }: PolicyPeer,
  namespace: string,
  remark: (text: string) => void,
): Peer | undefined {
  if (ipBlock != null) return blockOf(ipBlock, remark);
  if (podSelector == null && namespaceSelector == null) return undefined;
  const ofNamespace =
    namespaceSelector == null
      ? [`${namespaceName}=${namespace}`]
      : // Endpoints that are no pods are of no namespace.
        [namespaceName, ...requirements(namespaceSelector, namespaceLabel)];
  const endpoints = selectorOf([...ofNamespace, ...(podSelector == null ? [] : requirements(podSelector))], remark);
  return endpoints === undefined ? undefined : { endpoints };
}

/** `undefined`: weft cannot say it. */
export function selectorOf(parts: readonly string[], remark: (text: string) => void): string | undefined {
  const selector = parseLabelSelector(parts.join(","));
  if (selector.ok) return selector.value;
  remark(`a selector of ${parts.length} requirements is left out; allowed: ${selector.error}`);
  return undefined;
}

/** Prefixes may have host bits here. */
function blockOf(
  { cidr, except }: { readonly cidr: string; readonly except: readonly string[] },
  remark: (text: string) => void,
): Peer | undefined {
  const [subnet, ...holes] = [cidr, ...except].map(prefixOf);
  if (subnet !== undefined && holes.every((hole) => hole !== undefined)) return { subnet, except: holes };
  remark(`ipBlock ${cidr} except ${except.join(", ") || "nothing"} is left out: it is no prefix with prefixes in it`);
  return undefined;
}

function prefixOf(text: string): Cidr | undefined {
  const parsed = parseInterfaceAddress(text);
  return parsed.ok ? cidrOf(parsed.value.address, parsed.value.prefixLength) : undefined;
}

/** Those of them that are endpoints with a label. */
export function having(peers: readonly Peer[] | undefined, requirement: string): readonly Peer[] {
  if (peers === undefined) return [{ endpoints: `${namespaceName},${requirement}` }];
  return peers.flatMap((peer) => ("endpoints" in peer ? [{ endpoints: `${peer.endpoints},${requirement}` }] : []));
}
