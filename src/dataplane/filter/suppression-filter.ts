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
  /** Where frames with a VLAN tag may come in: by ports of endpoints, and by tunnels, written as {@link forwarded} are. */
  readonly tagged: { readonly ports: readonly string[]; readonly tunnels: readonly string[] };
}

/** Address resolution never leaves the node through these tunnels, and frames with a VLAN tag pass where they may alone. */
export function suppressionFilterTable({ forwarded, own, tagged }: SuppressionFilter): NftTable {
  const chain = (name: string): NftObject => ({
    chain: { name, type: "filter", hook: name, prio: NF_BR_PRI_FILTER_BRIDGED, policy: "accept" },
  });
  const drop = (name: string, ...conditions: readonly NftObject[]): NftObject => ({
    rule: { chain: name, expr: [...conditions, { counter: null }, { drop: null }] },
  });
  const drops = (
    name: string,
    tunnels: readonly string[],
    conditions: readonly (readonly NftObject[])[],
  ): NftObject[] =>
    tunnels.flatMap((tunnel) =>
      conditions.map((each) => drop(name, match({ meta: { key: "oifname" } }, tunnel), ...each)),
    );
  const acceptFrom = (interfaces: string): NftObject => ({
    rule: { chain: taggedChain, expr: [match({ meta: { key: "iifname" } }, interfaces), { accept: null }] },
  });
  const hasTaggedPorts = tagged.ports.length > 0;
  return {
    family: "bridge",
    name: suppressionFilterName,
    objects: [
      ...(hasTaggedPorts ? [{ set: { name: "tagged", type: "ifname", elem: [...tagged.ports] } }] : []),
      chain("prerouting"),
      chain("forward"),
      chain("output"),
      { chain: { name: taggedChain } },
      { rule: { chain: "prerouting", expr: [match(etherType, vlanTypes), { jump: { target: taggedChain } }] } },
      ...drops("forward", forwarded, addressResolution),
      ...drops(
        "forward",
        forwarded.filter((tunnel) => tagged.tunnels.includes(tunnel)),
        [arpBehindTag, neighbourDiscovery].map((condition) => [priorityTag, condition]),
      ),
      ...drops("output", own, addressResolution),
      // A priority tag around another tag means nothing, and hides from the rules above what is inside.
      drop(taggedChain, match(etherType, "8021ad"), priorityTag),
      drop(taggedChain, priorityTag, match(behindTagType, vlanTypes)),
      ...(hasTaggedPorts ? [acceptFrom("@tagged")] : []),
      ...tagged.tunnels.map(acceptFrom),
      drop(taggedChain),
    ],
  };
}

const taggedChain = "tagged";
const etherType = { payload: { protocol: "ether", field: "type" } };
/** The EtherType behind an 802.1Q tag. */
const behindTagType = { payload: { protocol: "vlan", field: "type" } };
const vlanTypes = { set: ["8021q", "8021ad"] };

/** VID 0: the tag gives a priority alone, and whoever gets the frame takes it for an untagged one. IEEE 802.1Q-2018 table 9-2. */
const priorityTag = match({ payload: { protocol: "vlan", field: "id" } }, 0);

const arp = match(etherType, "arp");
const arpBehindTag = match(behindTagType, "arp");
const neighbourDiscovery = match(
  { payload: { protocol: "icmpv6", field: "type" } },
  { set: ["nd-neighbor-solicit", "nd-neighbor-advert"] },
);
const addressResolution = [[arp], [neighbourDiscovery]];
