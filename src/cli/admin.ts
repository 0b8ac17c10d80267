/**
 * What the commands that ask the server share. They import this when they run: the protocol's code takes longer to
 * load than all of the command line.
 */
import { nodeSettings } from "../api/convert.ts";
import type { Resource as ResourceMessage } from "../api/generated/weft/v1/admin_pb.js";
import type {
  Block as BlockMessage,
  NodeSettings as NodeSettingsMessage,
} from "../api/generated/weft/v1/resources_pb.js";
import { asCase, kindOfCase, kinds } from "../api/kinds.ts";
import { WeftError } from "../base/errors.ts";
import { type Result, unwrap } from "../base/result.ts";
import type { Block, NodeSettings } from "../model/resources.ts";
import type { DeclaredResource, Resource } from "../model/yaml.ts";

export { serverClient } from "../api/clients.ts";

/** A resource as the server sent it. Throws {@link WeftError} when this version does not know what it says. */
export function resourceFromMessage(message: ResourceMessage): Resource {
  const { case: name, value } = message.resource;
  if (name === undefined)
    throw new WeftError({
      code: "unsupported",
      attempted: "read the server's answer",
      reason: "it holds a resource of an unknown kind",
      hint: "use a weft of the same version as the server",
    });
  const kind = kindOfCase(name);
  const read: Result<object, WeftError> = kinds[kind].fromMessage(value as never);
  return { kind, ...unwrap(read) } as Resource;
}

export function blockOf(message: BlockMessage): Block {
  return unwrap(kinds.block.fromMessage(message));
}

export function nodeSettingsOf(message: NodeSettingsMessage | undefined): NodeSettings {
  return message === undefined ? { labels: {}, approved: {} } : unwrap(nodeSettings.fromMessage(message));
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
export function declaration({ kind, ...fields }: DeclaredResource): Pick<ResourceMessage, "resource"> {
  return { resource: asCase(kind, fields as DeclaredResource) };
}
