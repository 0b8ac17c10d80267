import { WeftError } from "../base/errors.ts";
import { type MissingLabel, missingLabels } from "../model/node-selector.ts";
import type { Network, NodeSettings, Tenant } from "../model/resources.ts";

/** The part of the server's state that selectors and labels are in. */
interface Selection {
  readonly tenants: ReadonlyMap<string, { readonly value: Tenant }>;
  readonly nodeSettings: ReadonlyMap<string, { readonly value: NodeSettings }>;
}

/** The labels that a node lacks to come to host a network; none: it may. */
export function missingOn(
  state: Selection,
  network: Pick<Network, "name" | "tenant" | "nodeSelector">,
  node: string,
): MissingLabel[] {
  return missingLabels(network, state.tenants.get(network.tenant)?.value, state.nodeSettings.get(node)?.value.labels);
}

/** Throws unless the node may come to host the network. What it hosts already is not asked about. */
export function requireSelected(state: Selection, network: Network, node: string, attempted: string): void {
  const missing = missingOn(state, network, node);
  if (missing.length === 0) return;
  const labels = missing.map(({ label, value, wantedBy }) => `${label}=${value}, which ${wantedBy} asks for`);
  throw new WeftError({
    code: "failed-precondition",
    attempted,
    reason: `node ${node} may not host network ${network.name}: it has not the label ${labels.join("; ")}`,
    hint: `if it shall host it, on the server's host: weft node set ${node} ${missing.map(({ label, value }) => `--label ${label}=${value}`).join(" ")}`,
  });
}
