import type { NftObject, NftTable } from "./nftables.ts";
import { match, set } from "./source-filter.ts";

/** The tenant's namespace is weft's own, so the name needs no instance. */
export const suppressionFilterName = "weft";

/**
 * linux/netfilter_bridge.h. Not 0: that is where br_netfilter takes frames out of the chain and puts them back behind
 * all hooks of the same priority, so that a filter there is passed by or not as the order of creation has it.
 */
const NF_BR_PRI_FILTER_BRIDGED = -200;

/**
 * Address resolution never leaves the node through these tunnels. The bridge answers for every endpoint that the
 * control plane names; what it cannot answer (an address that nobody has, a gratuitous announcement) it would
 * flood to every node of the network, and nobody there knows more.
 */
export function suppressionFilterTable(tunnels: readonly string[]): NftTable {
  const drop = (condition: NftObject): NftObject => ({
    rule: {
      chain: "forward",
      expr: [match({ meta: { key: "oifname" } }, "@tunnels"), condition, { counter: null }, { drop: null }],
    },
  });
  return {
    family: "bridge",
    name: suppressionFilterName,
    objects: [
      set("tunnels", "ifname", tunnels),
      { chain: { name: "forward", type: "filter", hook: "forward", prio: NF_BR_PRI_FILTER_BRIDGED, policy: "accept" } },
      drop(match({ payload: { protocol: "ether", field: "type" } }, "arp")),
      drop(
        match(
          { payload: { protocol: "icmpv6", field: "type" } },
          { set: ["nd-neighbor-solicit", "nd-neighbor-advert"] },
        ),
      ),
    ],
  };
}
