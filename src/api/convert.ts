import { type Cidr, parseCidr } from "../base/cidr.ts";
import type { WeftError } from "../base/errors.ts";
import { ok, type Result } from "../base/result.ts";
import type { NetworkChange } from "../model/phase.ts";
import type { Network, NodeSettings, Placement } from "../model/resources.ts";
import { asFields, codec, wrong } from "./codec.ts";
import { networkChange } from "./convert-change.ts";
import { NetworkStateSchema } from "./generated/weft/v1/node_pb.js";
import { NodeSettingsSchema } from "./generated/weft/v1/resources_pb.js";
import { kinds, vtepsFromMessage } from "./kinds.ts";

/** A network together with what follows from all nodes. */
export interface NetworkState {
  readonly network: Network;
  /** Octets of the largest inner packet that endpoints send, on every node. */
  readonly effectiveMtu: number;
  /** Of its tenant. */
  readonly placement: Placement;
  /** The change of its way or MTU that is under way. */
  readonly change?: NetworkChange | undefined;
  /** Nodes that the last change was ended without. */
  readonly leftBehind?: readonly string[];
}

/** `undefined`: this version knows none of the name. */
function placementOf(text: string): Placement | undefined {
  return text === "" || text === "own" ? "own" : text === "host" ? "host" : undefined;
}

export const networkState = codec(
  NetworkStateSchema,
  ({ network, effectiveMtu, placement, change, leftBehind = [] }: NetworkState) => ({
    network: kinds.network.toMessage(network),
    effectiveMtu,
    placement,
    leftBehind: [...leftBehind],
    ...(change === undefined ? {} : { change: networkChange.toMessage(change) }),
  }),
  (message): Result<NetworkState, WeftError> => {
    if (message.network === undefined) return wrong("network state", "", "the network is missing");
    const network = kinds.network.fromMessage(message.network);
    if (!network.ok) return network;
    const { effectiveMtu, leftBehind } = message;
    const placement = placementOf(message.placement);
    if (placement === undefined)
      return wrong("network state", network.value.name, `unknown placement "${message.placement}"`);
    const state = {
      network: network.value,
      effectiveMtu,
      placement,
      ...(leftBehind.length === 0 ? {} : { leftBehind }),
    };
    if (message.change === undefined) return ok(state);
    const change = networkChange.fromMessage(message.change);
    return change.ok ? ok({ ...state, change: change.value }) : change;
  },
);

export const nodeSettings = codec(
  NodeSettingsSchema,
  (settings: NodeSettings & { readonly name: string }) => asFields(settings),
  ({ name, labels, approved, drained, blocks }) => {
    const vteps = vtepsFromMessage(approved ?? { ipv4: "", ipv6: "" });
    if (!vteps.ok) return wrong("settings of node", name, vteps.error);
    const prefixes: Cidr[] = [];
    for (const block of blocks) {
      const prefix = parseCidr(block);
      if (!prefix.ok) return wrong("settings of node", name, prefix.error);
      prefixes.push(prefix.value);
    }
    return ok({
      name,
      labels,
      approved: vteps.value,
      ...(drained ? { drained: true as const } : {}),
      ...(prefixes.length === 0 ? {} : { blocks: prefixes }),
    });
  },
);
