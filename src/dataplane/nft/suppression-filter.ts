import { nftField } from "../../netlink/index.ts";
import { suppressionFilterName } from "../kernel-names.ts";
import type { NftObject, NftTable } from "./table.ts";
import * as nft from "./words.ts";

/** Names are of devices, or what names begin with and a `*`. */
export interface SuppressionFilter {
  /**
   * Tunnels of networks whose every endpoint the control plane names. The bridge answers for those endpoints; what it cannot
   * answer (an address that nobody has, a gratuitous announcement) it would flood to every node of the network, and nobody
   * there knows more.
   */
  readonly suppressed: readonly string[];
  /**
   * Tunnels of networks that this node is a gateway of. Every node has the gateway's address: a question in its name
   * would be answered to another node, and is never asked across.
   */
  readonly own: readonly string[];
  /** Ports of endpoints and tunnels by which frames with a VLAN tag may come in. */
  readonly tagged: readonly string[];
}

/** Address resolution never leaves the node through these tunnels, and frames with a VLAN tag pass where they may alone. */
export function suppressionFilterTable({ suppressed, own, tagged }: SuppressionFilter): NftTable {
  return {
    family: "bridge",
    name: suppressionFilterName,
    sets: [
      nft.rangeSet("suppressed", nftField.ifname, suppressed),
      nft.rangeSet("gateways", nftField.ifname, own),
      nft.rangeSet("tagging", nftField.ifname, tagged),
    ],
    rules,
  };
}

const taggedChain = "tagged";
const etherType = { payload: { protocol: "ether", field: "type" } };
/** The EtherType behind an 802.1Q tag. */
const behindTagType = { payload: { protocol: "vlan", field: "type" } };
const vlanTypes = { set: ["8021q", "8021ad"] };

/** VID 0: the tag gives a priority alone, and whoever gets the frame takes it for an untagged one. IEEE 802.1Q-2018 table 9-2. */
const priorityTag = nft.match({ payload: { protocol: "vlan", field: "id" } }, 0);

const arp = nft.match(etherType, "arp");
const arpBehindTag = nft.match(behindTagType, "arp");
const neighbourDiscovery = nft.match(nft.icmpType[6], { set: ["nd-neighbor-solicit", "nd-neighbor-advert"] });
const addressResolution = [arp, neighbourDiscovery];

const chain = (name: string): NftObject =>
  nft.chain(name, { type: "filter", hook: name, prio: nft.bridgePriority.filter });
const leavesBy = (tunnels: string): object => nft.match({ meta: { key: "oifname" } }, tunnels);

const rules: readonly NftObject[] = [
  chain("prerouting"),
  chain("forward"),
  chain("output"),
  nft.chain(taggedChain),
  nft.rule("prerouting", nft.match(etherType, vlanTypes), { jump: { target: taggedChain } }),
  ...addressResolution.map((each) => nft.rule("forward", leavesBy("@suppressed"), each, nft.drop)),
  ...[arpBehindTag, neighbourDiscovery].map((each) =>
    nft.rule("forward", leavesBy("@suppressed"), priorityTag, each, nft.drop),
  ),
  ...addressResolution.map((each) => nft.rule("output", leavesBy("@gateways"), each, nft.drop)),
  // A priority tag around another tag means nothing, and hides from the rules above what is inside.
  nft.rule(taggedChain, nft.match(etherType, "8021ad"), priorityTag, nft.drop),
  nft.rule(taggedChain, priorityTag, nft.match(behindTagType, vlanTypes), nft.drop),
  nft.rule(taggedChain, nft.from("@tagging"), nft.accept),
  nft.rule(taggedChain, nft.drop),
];
