import { type Cidr, cidrFamily, cidrOf } from "../../base/cidr.ts";
import type { IpFamily } from "../../base/ip.ts";
import { linkLocalPrefix } from "../../base/link-local.ts";
import { networkMac } from "../../model/endpoint-mac.ts";
import { nftField } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { bridgeName, routingFilterName, tenantDevice, tunnelPattern } from "../kernel-names.ts";
import { type Peering, peeringsOf } from "../peering/wanted.ts";
import { families } from "../uplink/request.ts";
import type { FilledSet, NftObject, NftTable } from "./table.ts";
import * as nft from "./words.ts";

/** IANA protocol number. */
const icmpv6 = 58;
/** RFC 4862 §5.4.2: who tries out an address asks from none. */
const unspecified = "::";

/**
 * What may enter the router that the namespace is. A bridge hands up each frame that is sent to its MAC, whether the
 * network has a gateway or not, and a router asks nobody where a source belongs. So by a bridge come sources of its
 * gateways' prefixes, by none without a gateway anything; by tunnels of layer-3 networks come sources of whatever the tenant
 * routes, since other nodes have asked the same, and errors of other nodes' routers, whose addresses are their own affair.
 * What comes by the uplink has its own filter. To a peer of a network, and from it, pass packets between the subnets of the two alone: no other
 * network of either tenant has a part in it. Redirects it sends to nobody: that another way is shorter is for the node to know.
 *
 * Bridged frames pass here only where somebody loaded br_netfilter later. They are not sent to the bridge's MAC, and what else
 * is handed up {@link handedUpTable} has seen.
 */
export function routingFilterTable(networks: readonly NetworkSettings[]): NftTable {
  const layer3 = networks.filter(({ mode }) => mode === "l3");
  const peerings = peeringsOf(networks);
  return {
    family: "inet",
    name: routingFilterName,
    sets: [
      ...entranceSets(networks),
      ...families.flatMap((family) => peerSets(family, peerings, peeringsOf(layer3))),
      nft.set(
        "peerings",
        nftField.ifname,
        peerings.map(({ device }) => device),
      ),
    ],
    rules: routingRules,
  };
}

/** The sets that {@link entranceRules} and {@link neighbourRules} look into. */
export function entranceSets(networks: readonly NetworkSettings[]): FilledSet[] {
  const bound = networks.flatMap(({ vni, gateways }) => {
    const prefixes = gateways.map(({ address, prefixLength }) => cidrOf(address, prefixLength));
    return [...new Set(prefixes)].map((prefix) => ({ device: bridgeName(vni), prefix }));
  });
  const layer3 = networks.filter(({ mode }) => mode === "l3");
  const routed = [...layer3.flatMap(({ subnets }) => subnets), ...bound.map(({ prefix }) => prefix)];
  const ipv6 = bound.filter(({ prefix }) => cidrFamily(prefix) === 6).map(({ device }) => device);
  return [
    ...families.flatMap((family) => [boundSet(family, bound), nft.prefixSet("routed", family, routed)]),
    nft.set("neighbours", nftField.ifname, ipv6),
    nft.set(
      "bridges",
      nftField.ifname,
      networks.map(({ vni }) => bridgeName(vni)),
    ),
    macSet(networks),
    nft.rangeSet("tunnels", nftField.ifname, layer3.flatMap(tunnelPatterns)),
  ];
}

/** The tunnels of a network as sets of devices have them. */
export function tunnelPatterns({ vni, transport, standby }: NetworkSettings): string[] {
  return [...standby, ...(transport === undefined ? [] : [transport])].map((each) => tunnelPattern(each, vni));
}

/**
 * What bridges may hand up to the router: what is sent to their own MACs, and requests for neighbours. Frames to the MACs of
 * their ports they would hand up, too.
 */
export function handedUpTable(networks: readonly NetworkSettings[]): NftTable {
  return {
    family: "bridge",
    name: routingFilterName,
    sets: [macSet(networks)],
    rules: handedUpRules,
  };
}

const receiver = { payload: { protocol: "ether", field: "daddr" } };

/** The MACs of their bridges. */
export function macSet(networks: readonly NetworkSettings[]): FilledSet {
  return nft.set(
    "macs",
    nftField.ether_addr,
    networks.map(({ vni }) => networkMac(vni)),
  );
}

function boundSet(family: IpFamily, bound: readonly { readonly device: string; readonly prefix: Cidr }[]): FilledSet {
  const elements = bound
    .filter(({ prefix }) => cidrFamily(prefix) === family)
    .map(({ device, prefix }) => `${device} . ${nft.element(prefix)}`);
  return nft.rangeSet(`bound${family}`, [nftField.ifname, nft.addressField[family]], elements);
}

/**
 * What passes between networks and their peers: by which device, the peer's prefix, the own one; the same that tunnels of layer-3 networks
 * hand on; and by which device whom errors of the other tenant's router are for.
 */
function peerSets(family: IpFamily, peerings: readonly Peering[], ofTunnels: readonly Peering[]): FilledSet[] {
  const [device, address] = [nftField.ifname, nft.addressField[family]];
  const pairs = (of: readonly Peering[], text: (device: string, foreign: string, own: string) => string): string[] =>
    of.flatMap(({ device, foreign, own }) =>
      ofFamily(family, foreign).flatMap((there) => ofFamily(family, own).map((here) => text(device, there, here))),
    );
  return [
    nft.rangeSet(
      `peers${family}`,
      [device, address, address],
      pairs(peerings, (device, there, here) => `${device} . ${there} . ${here}`),
    ),
    nft.rangeSet(
      `entering${family}`,
      [address, address],
      pairs(ofTunnels, (_, there, here) => `${there} . ${here}`),
    ),
    nft.rangeSet(
      `asking${family}`,
      [device, address],
      pairs(peerings, (device, _, here) => `${device} . ${here}`),
    ),
  ];
}

function ofFamily(family: IpFamily, prefixes: readonly Cidr[]): string[] {
  return prefixes.filter((each) => cidrFamily(each) === family).map(nft.element);
}

const outward = { meta: { key: "oifname" } };

/** Of frames that a bridge switches, nothing is judged by addresses. */
export const switchedRule = nft.rule(
  "prerouting",
  nft.match(nft.by, "@bridges"),
  nft.match(receiver, "@macs", "!="),
  nft.accept,
);

/** What may enter by bridges and tunnels, by its source. */
export const entranceRules = (family: IpFamily): NftObject[] => [
  nft.rule("prerouting", nft.match({ concat: [nft.by, nft.address(family, "saddr")] }, `@bound${family}`), nft.accept),
  nft.rule("prerouting", nft.match(nft.by, "@tunnels"), nft.source(family, `@routed${family}`), nft.accept),
  nft.rule("prerouting", nft.match(nft.by, "@tunnels"), nft.icmpErrors[family], nft.accept),
];

/** How endpoints ask for their gateway's MAC. */
export const neighbourRules: readonly NftObject[] = [
  nft.rule(
    "prerouting",
    nft.match(nft.by, "@neighbours"),
    nft.source(6, nft.prefix(linkLocalPrefix)),
    nft.match({ meta: { key: "l4proto" } }, icmpv6),
    nft.accept,
  ),
  nft.rule(
    "prerouting",
    nft.match(nft.by, "@neighbours"),
    nft.source(6, unspecified),
    nft.match(nft.icmpType[6], "nd-neighbor-solicit"),
    nft.accept,
  ),
];

const routingRules: readonly NftObject[] = [
  nft.chain("prerouting", { type: "filter", hook: "prerouting", prio: nft.hookPriority.raw }),
  nft.chain("forward", { type: "filter", hook: "forward", prio: nft.hookPriority.filter }),
  nft.chain("output", { type: "filter", hook: "output", prio: nft.hookPriority.filter }),
  nft.rule("prerouting", nft.match(nft.by, { set: ["lo", tenantDevice].sort() }), nft.accept),
  switchedRule,
  ...families.flatMap((family) => [
    ...entranceRules(family),
    nft.rule(
      "prerouting",
      nft.match({ concat: [nft.by, nft.address(family, "saddr"), nft.address(family, "daddr")] }, `@peers${family}`),
      nft.accept,
    ),
    nft.rule(
      "prerouting",
      nft.match(nft.by, "@tunnels"),
      nft.sourceAndDestination(family, `@entering${family}`),
      nft.accept,
    ),
    nft.rule(
      "prerouting",
      nft.match({ concat: [nft.by, nft.address(family, "daddr")] }, `@asking${family}`),
      nft.icmpErrors[family],
      nft.accept,
    ),
  ]),
  ...neighbourRules,
  nft.rule("prerouting", nft.drop),
  ...families.map((family) =>
    nft.rule(
      "forward",
      nft.match({ concat: [outward, nft.address(family, "daddr"), nft.address(family, "saddr")] }, `@peers${family}`),
      nft.accept,
    ),
  ),
  nft.rule("forward", nft.match(outward, "@peerings"), nft.drop),
  ...families.map((family) => nft.rule("output", nft.redirect[family], nft.drop)),
];

/** What bridges may hand up, to be dropped else. */
export const handedUpRules: readonly NftObject[] = [
  nft.chain("input", { type: "filter", hook: "input", prio: nft.bridgePriority.filter }),
  nft.rule("input", nft.match({ payload: { protocol: "ether", field: "type" } }, "arp"), nft.accept),
  nft.rule("input", nft.match(receiver, "@macs"), nft.accept),
  nft.rule(
    "input",
    nft.match({ meta: { key: "pkttype" } }, "multicast"),
    nft.match(nft.icmpType[6], { set: ["nd-neighbor-solicit", "nd-neighbor-advert"] }),
    nft.accept,
  ),
  nft.rule("input", nft.drop),
];
