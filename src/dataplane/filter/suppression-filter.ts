import type { NftObject, NftTable } from "./nftables.ts";
import { match } from "./source-filter.ts";

/** The tenant's namespace is weft's own, so the name needs no instance. */
export const suppressionFilterName = "weft";

/**
 * linux/netfilter_bridge.h. Not 0: that is where br_netfilter takes frames out of the chain and puts them back behind
 * all hooks of the same priority, so that a filter there is passed by or not as the order of creation has it.
 */
const NF_BR_PRI_FILTER_BRIDGED = -200;

export interface SuppressionFilter {
  /**
   * Tunnels of networks whose every endpoint the control plane names, as names of devices or as what they begin with
   * and a `*`. The bridge answers for those endpoints; what it cannot answer (an address that nobody has, a gratuitous
   * announcement) it would flood to every node of the network, and nobody there knows more.
   */
  readonly forwarded: readonly string[];
  /**
   * Tunnels of networks that this node is a gateway of. Every node has the gateway's address: a question in its name
   * would be answered to another node, and is never asked across.
   */
  readonly own: readonly string[];
}

/** Address resolution never leaves the node through these tunnels. */
export function suppressionFilterTable({ forwarded, own }: SuppressionFilter): NftTable {
  const chain = (name: string): NftObject => ({
    chain: { name, type: "filter", hook: name, prio: NF_BR_PRI_FILTER_BRIDGED, policy: "accept" },
  });
  const drops = (name: string, tunnels: readonly string[]): NftObject[] =>
    tunnels.flatMap((tunnel) =>
      [arp, neighbourDiscovery].map((condition) => ({
        rule: {
          chain: name,
          expr: [match({ meta: { key: "oifname" } }, tunnel), condition, { counter: null }, { drop: null }],
        },
      })),
    );
  return {
    family: "bridge",
    name: suppressionFilterName,
    objects: [chain("forward"), chain("output"), ...drops("forward", forwarded), ...drops("output", own)],
  };
}

const arp = match({ payload: { protocol: "ether", field: "type" } }, "arp");
const neighbourDiscovery = match(
  { payload: { protocol: "icmpv6", field: "type" } },
  { set: ["nd-neighbor-solicit", "nd-neighbor-advert"] },
);
