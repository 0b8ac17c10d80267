/** Waits for what is in place by what the nodes report, however long the machine takes. */
import type { Lab } from "../../src/lab/lab.ts";

/** All that was changed so far of these networks is in place on all nodes that are connected. */
export async function inPlace(lab: Pick<Lab, "admin">, ...networks: readonly string[]): Promise<void> {
  const { revision } = await lab.admin.getStatus({});
  for await (const { done } of lab.admin.waitInPlace({ networks: [...networks], revision })) if (done) return;
  throw new Error("the server ended the stream");
}

/** The same of all networks, on these nodes alone: the others may be gone, or have their troubles. */
export async function inPlaceOn(lab: Lab, ...nodes: readonly string[]): Promise<void> {
  const { revision } = await lab.admin.getStatus({});
  const { resources } = await lab.admin.list({});
  for (const { resource } of resources) {
    if (resource.case !== "network") continue;
    for await (const { behind } of lab.admin.waitInPlace({ networks: [resource.value.name], revision }))
      if (!behind.some(({ node }) => nodes.includes(node))) break;
  }
}
