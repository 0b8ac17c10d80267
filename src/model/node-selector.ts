import type { Network, NodeSelector, NodeSettings, Tenant } from "./resources.ts";

/** One label that is asked for and that the node has not, and who asks. */
export interface MissingLabel {
  readonly label: string;
  readonly value: string;
  /** `network web`, `tenant blue`. */
  readonly wantedBy: string;
}

/** The labels that a node lacks to come to host the network; none: it may. */
export function missingLabels(
  network: Pick<Network, "name" | "nodeSelector">,
  tenant: Pick<Tenant, "name" | "nodeSelector"> | undefined,
  labels: NodeSettings["labels"] = {},
): MissingLabel[] {
  const lacking = (selector: NodeSelector | undefined, wantedBy: string): MissingLabel[] =>
    Object.entries(selector ?? {})
      .filter(([label, value]) => !Object.hasOwn(labels, label) || labels[label] !== value)
      .map(([label, value]) => ({ label, value, wantedBy }));
  return [
    ...lacking(network.nodeSelector, `network ${network.name}`),
    ...lacking(tenant?.nodeSelector, `tenant ${tenant?.name}`),
  ];
}
