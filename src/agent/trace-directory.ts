import { basename } from "node:path";
import { cidrContains } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import type { NodeDataplane } from "../dataplane/index.ts";
import type { KnownEndpoint, KnownNetwork, TraceDirectory } from "../diagnose/trace/parties.ts";
import type { DesiredState } from "./desired-state.ts";
import type { Attachment } from "./replica.ts";

/** What is known of a node without asking the server. */
interface KnowingNode {
  readonly options: { readonly node: string };
  readonly dataplane: Pick<NodeDataplane, "networks">;
  readonly desired: Pick<DesiredState, "nodes" | "own">;
  readonly attached: ReadonlyMap<string, Attachment>;
}

/** Who is where in the networks that this node carries, as it knows it without asking the server. */
export function traceDirectory(agent: KnowingNode): TraceDirectory {
  const { dataplane, desired, attached, options } = agent;
  const nodeWith = (vtep: IpAddress): string | undefined =>
    [...desired.nodes.values()].find(({ vtepAddresses: { ipv4, ipv6 } }) => ipv4 === vtep || ipv6 === vtep)?.name;
  return {
    *endpoints(): Iterable<KnownEndpoint> {
      for (const { id, network, mac, ips, node } of desired.own.values()) {
        const place = attached.get(id)?.place;
        const name = place?.kind === "netns" ? { name: basename(place.netns) } : {};
        yield { id, network, node, mac, ips, ...name };
      }
      for (const [network, { remotes }] of dataplane.networks)
        for (const { id, mac, ips, vtep } of remotes.values()) {
          const node = nodeWith(vtep);
          if (node !== undefined) yield { id, network, node, mac, ips };
        }
    },
    *networks(): Iterable<KnownNetwork> {
      for (const { settings } of dataplane.networks.values()) yield settings;
    },
    nodeOfBlock(network, address) {
      const { localBlocks, blocks } = dataplane.networks.get(network) ?? {};
      if ([...(localBlocks?.keys() ?? [])].some((block) => cidrContains(block, address))) return options.node;
      const block = [...(blocks?.values() ?? [])].find(({ cidr }) => cidrContains(cidr, address));
      return block === undefined ? undefined : nodeWith(block.vtep);
    },
    nodeWith,
  };
}
