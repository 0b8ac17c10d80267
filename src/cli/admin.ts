/**
 * What the commands that ask the server share. They import this when they run: the protocol's code takes longer to
 * load than all of the command line.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  blockFromMessage,
  endpointFromMessage,
  networkFromMessage,
  networkToMessage,
  nodeFromMessage,
  nodeSettingsFromMessage,
  tenantFromMessage,
  tenantToMessage,
} from "../api/convert.ts";
import type { Resource as ResourceMessage, ResourceSchema } from "../api/generated/weft/v1/admin_pb.js";
import type {
  Block as BlockMessage,
  NodeSettings as NodeSettingsMessage,
} from "../api/generated/weft/v1/resources_pb.js";
import { WeftError } from "../base/errors.ts";
import { unwrap } from "../base/result.ts";
import type { Block, NodeSettings } from "../model/resources.ts";
import type { DeclaredResource, Resource } from "../model/yaml.ts";

export { serverClient } from "../api/transport.ts";

/** A resource as the server sent it. Throws {@link WeftError} when this version does not know what it says. */
export function resourceFromMessage(message: ResourceMessage): Resource {
  const { resource } = message;
  switch (resource.case) {
    case "tenant":
      return { kind: "tenant", ...unwrap(tenantFromMessage(resource.value)) };
    case "network":
      return { kind: "network", ...unwrap(networkFromMessage(resource.value)) };
    case "node":
      return { kind: "node", ...unwrap(nodeFromMessage(resource.value)) };
    case "endpoint":
      return { kind: "endpoint", ...unwrap(endpointFromMessage(resource.value)) };
    default:
      throw new WeftError({
        code: "unsupported",
        attempted: "read the server's answer",
        reason: "it holds a resource of an unknown kind",
        hint: "use a weft of the same version as the server",
      });
  }
}

export function blockOf(message: BlockMessage): Block {
  return unwrap(blockFromMessage(message));
}

export function nodeSettingsOf(message: NodeSettingsMessage | undefined): NodeSettings {
  return message === undefined ? { labels: {}, approved: {} } : unwrap(nodeSettingsFromMessage(message));
}

/** The resource of this kind, without its kind: what `list` and `show` of a kind print. */
export function ofKind<Kind extends Resource["kind"]>(
  kind: Kind,
  resources: readonly ResourceMessage[],
): Omit<Extract<Resource, { kind: Kind }>, "kind">[] {
  return resources.map(resourceFromMessage).flatMap((resource) => {
    if (resource.kind !== kind) return [];
    const { kind: _, ...fields } = resource as Extract<Resource, { kind: Kind }>;
    return [fields];
  });
}

/** A declared resource as a request carries it; what is left out stays empty, and the server chooses. */
export function declaration(resource: DeclaredResource): MessageInitShape<typeof ResourceSchema> {
  if (resource.kind === "tenant") return { resource: { case: "tenant", value: tenantToMessage(resource) } };
  return { resource: { case: "network", value: networkToMessage(resource) } };
}
