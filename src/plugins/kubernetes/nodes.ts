import { isDeepStrictEqual } from "node:util";
import type { Client } from "@connectrpc/connect";
import type { AdminService } from "../../api/generated/weft/v1/admin_pb.js";
import { parseCidr } from "../../base/cidr.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Node } from "./objects.ts";

/** A label of weft's nodes: it is, or was, a node of Kubernetes of this UID. */
const nodeLabel = "kubernetes/node";

/**
 * Weft's nodes go with those of Kubernetes: one that was deleted there is dead, and its endpoints and addresses come free. That it is not
 * ready, or does not answer, says nothing. What never was a node of Kubernetes is left alone, and so is what talks to the server still.
 * The blocks that a node was given there are declared for weft's, before it joins: its first pods need them.
 */
export async function keepNodes(
  client: Client<typeof AdminService>,
  nodes: Iterable<Node>,
  logger: Logger,
): Promise<void> {
  const wanted = new Map(Array.from(nodes, (node) => [node.metadata.name, node]));
  const { nodeSettings } = await client.list({ kind: "node" });
  const marks = new Map(nodeSettings.map(({ name, labels }) => [name, labels[nodeLabel]]));
  const declared = new Map(nodeSettings.map(({ name, blocks }) => [name, blocks]));
  for (const [name, uid] of marks)
    if (uid !== undefined && !wanted.has(name))
      await attempt(logger, name, async () => {
        await failed(client, name);
        await client.delete({ resources: [{ kind: "node", name }] });
        logger.info({ node: name }, "a node of Kubernetes was deleted, and with it weft's");
      });
  // What those had is for others now.
  for (const [name, { metadata, spec }] of wanted) {
    if (marks.get(name) !== metadata.uid)
      await attempt(logger, name, () => client.setNode({ name, labels: { [nodeLabel]: metadata.uid } }));
    // Where Kubernetes gives none, an administrator may have.
    const prefixes = spec.podCIDRs.map(canonical);
    if (prefixes.length > 0 && !isDeepStrictEqual(declared.get(name), prefixes))
      await attempt(logger, name, () => client.setNode({ name, blocks: { prefixes } }));
  }
}

/** As the server says it. What is no prefix it refuses. */
function canonical(prefix: string): string {
  const parsed = parseCidr(prefix);
  return parsed.ok ? parsed.value : prefix;
}

/** One that never joined has nothing. */
async function failed(client: Client<typeof AdminService>, name: string): Promise<void> {
  await client.failNode({ name }).catch((error: unknown) => {
    if (!(error instanceof WeftError && error.code === "not-found")) throw error;
  });
}

/** Whatever is wrong with one keeps no other from being looked at. It is tried again with the next look. */
async function attempt(logger: Logger, node: string, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (error instanceof WeftError && error.code === "unavailable") throw error;
    logger.warn({ node, error: messageOf(error) }, "a node is not yet as Kubernetes has it");
  }
}
