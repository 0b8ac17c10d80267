import { cidrFamily } from "../../base/cidr.ts";
import type { IpFamily } from "../../base/ip.ts";
import { familyOf } from "../../base/ip.ts";
import { encapsulationNames, encapsulations } from "../../model/encapsulation.ts";
import { nftField } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { bridgeName, onHostTable, type UplinkIdentity } from "../kernel-names.ts";
import { families, type Published } from "../uplink/request.ts";
import { snatPorts } from "../uplink/snat-ports.ts";
import {
  entranceRules,
  entranceSets,
  handedUpRules,
  macSet,
  neighbourRules,
  switchedRule,
  tunnelPatterns,
} from "./routing-filter.ts";
import type { NftObject, NftTable } from "./table.ts";
import * as nft from "./words.ts";

/**
 * Sources are translated before anybody else does it (iptables and kube-proxy at 100), who would take an address of the underlay for what
 * goes into a tunnel, which no other node lets in.
 */
const sourceNatPriority = nft.hookPriority.sourceNat - 5;

const outward = { meta: { key: "oifname" } };
const fromOwn = nft.match(nft.by, "@own");
const toOwn = nft.match(outward, "@own");

/** Whoever asks hears at once that he may not, instead of waiting. */
const refuse: readonly object[] = [{ counter: null }, { reject: { type: "icmpx", expr: "admin-prohibited" } }];

/**
 * What passes between networks in the host's own namespace, the host and the world. It judges what comes by devices of these networks
 * or goes to them, and leaves all else alone. It adds to the host's own firewall and takes nothing from it.
 *
 * Into these networks come answers, what the host itself sends, and what its rules lead there (DNAT): the ports that it publishes, and
 * services. Out of them goes what has egress, behind the host's address, to the host itself as well.
 */
export function onHostFilterTable(
  identity: UplinkIdentity,
  networks: readonly NetworkSettings[],
  published: readonly Published[],
  tunnelPorts: readonly number[],
): NftTable {
  const withEgress = networks.filter(({ egress }) => egress);
  return {
    family: "inet",
    name: onHostTable(identity),
    sets: [
      ...entranceSets(networks),
      nft.rangeSet("own", nftField.ifname, [
        ...networks.map(({ vni }) => bridgeName(vni)),
        ...networks.flatMap(tunnelPatterns),
      ]),
      nft.set("ports", nftField.inet_service, [...tunnelPorts]),
      ...nft.publishedSets(published),
      ...families.map((family) => nft.publishedMap(published, family)),
      ...families.flatMap((family) => [
        nft.prefixSet(
          "egress",
          family,
          withEgress.flatMap(({ subnets }) => subnets),
        ),
        nft.pairSet(
          "blocked",
          family,
          withEgress.flatMap(({ subnets, egressBlocked }) => subnets.map((source) => [source, egressBlocked] as const)),
        ),
        nft.addressMap(
          "gateways",
          family,
          networks.flatMap((network) => gatewaysOf(network, family)),
        ),
      ]),
    ],
    rules: [
      nft.chain("prerouting", { type: "filter", hook: "prerouting", prio: nft.hookPriority.raw }),
      nft.chain("published", { type: "nat", hook: "prerouting", prio: nft.hookPriority.destinationNat }),
      nft.chain("own", { type: "nat", hook: "output", prio: nft.hookPriority.destinationNat }),
      nft.chain("input", { type: "filter", hook: "input", prio: nft.hookPriority.filter }),
      nft.chain("forward", { type: "filter", hook: "forward", prio: nft.hookPriority.filter }),
      nft.chain("outward"),
      nft.chain("inward"),
      nft.chain("output", { type: "filter", hook: "output", prio: nft.hookPriority.filter }),
      nft.chain("postrouting", { type: "nat", hook: "postrouting", prio: sourceNatPriority }),
      ...arrival,
      ...toPublishedPorts,
      ...toHost,
      ...passage,
      ...families.map((family) => nft.rule("output", nft.match(outward, "@bridges"), nft.redirect[family], nft.drop)),
      ...departure(tunnelPorts),
    ],
  };
}

/** What the bridges of these networks may hand up of what comes by `ports`, which are all that they have. */
export function onHostHandedUpTable(
  identity: UplinkIdentity,
  networks: readonly NetworkSettings[],
  ports: Iterable<string>,
): NftTable {
  const [chain, ...rules] = handedUpRules;
  const elsewhere = nft.rule("input", nft.match(nft.by, "@ports", "!="), nft.accept);
  return {
    family: "bridge",
    name: onHostTable(identity),
    sets: [nft.set("ports", nftField.ifname, ports), macSet(networks)],
    rules: [...(chain === undefined ? [] : [chain]), elsewhere, ...rules],
  };
}

/** What the host says to endpoints of other nodes it says in the name of a block's gateway, to which all nodes know the way. */
function gatewaysOf({ subnets, gateways }: NetworkSettings, family: IpFamily) {
  const own = gateways.find(({ address }) => familyOf(address) === family);
  if (own === undefined) return [];
  return subnets.filter((subnet) => cidrFamily(subnet) === family).map((subnet) => [subnet, own.address] as const);
}

const arrival: readonly NftObject[] = [
  nft.rule("prerouting", nft.match(nft.by, "@own", "!="), nft.accept),
  switchedRule,
  ...families.flatMap(entranceRules),
  ...neighbourRules,
  nft.rule("prerouting", nft.drop),
];

/** At addresses that others than this host can answer. */
const toPublishedPorts: readonly NftObject[] = [
  ...nft.toPublished.map(({ family, isMeant }) => nft.rule("published", ...isMeant, nft.leadByPort(family))),
  ...nft.toPublished.map(({ family, isMeant }) =>
    nft.rule("own", nft.notToLoopback[family], ...isMeant, nft.leadByPort(family)),
  ),
];

/** Endpoints do not speak to tunnels, neither to this node's nor, with its address as their source, to those of others. */
const noTunnels = (chain: string): NftObject[] => [
  nft.rule(chain, nft.match({ payload: { protocol: "udp", field: "dport" } }, "@ports"), nft.drop),
  nft.rule(
    chain,
    nft.protocolIn(...new Set(encapsulationNames.flatMap((each) => encapsulations[each].ipProtocols))),
    nft.drop,
  ),
];

const asksForLife: readonly NftObject[] = [
  nft.rule("input", nft.match(nft.icmpType[4], "echo-request"), nft.accept),
  nft.rule(
    "input",
    nft.match(nft.icmpType[6], { set: ["echo-request", "nd-neighbor-solicit", "nd-neighbor-advert"] }),
    nft.accept,
  ),
];

const toHost: readonly NftObject[] = [
  nft.rule("input", nft.match(nft.by, "@own", "!="), nft.accept),
  ...noTunnels("input"),
  nft.rule("input", nft.isInvalid, nft.drop),
  nft.rule("input", nft.isAnswer, nft.accept),
  ...asksForLife,
  // Endpoints of other nodes reach this host under its own addresses.
  nft.rule("input", nft.match(nft.by, "@tunnels"), refuse),
  ...families.flatMap((family) => [
    nft.rule("input", nft.sourceAndDestination(family, `@blocked${family}`), refuse),
    nft.rule("input", nft.source(family, `@egress${family}`), nft.accept),
  ]),
  nft.rule("input", refuse),
];

const passage: readonly NftObject[] = [
  nft.rule("forward", fromOwn, toOwn, nft.accept),
  nft.rule("forward", fromOwn, nft.goTo("outward")),
  nft.rule("forward", toOwn, nft.goTo("inward")),
  ...noTunnels("outward"),
  nft.rule("outward", nft.isInvalid, nft.drop),
  nft.rule("outward", nft.isAnswer, nft.accept),
  ...families.map((family) => nft.rule("outward", nft.tooBig[family], nft.drop)),
  ...families.map((family) => nft.rule("outward", nft.sourceAndDestination(family, `@blocked${family}`), refuse)),
  ...families.map((family) => nft.rule("outward", nft.source(family, `@egress${family}`), nft.accept)),
  nft.rule("outward", refuse),
  nft.rule("inward", nft.isAnswer, nft.accept),
  nft.rule("inward", nft.isTranslated, nft.accept),
  nft.rule("inward", nft.drop),
];

/** To the world endpoints are the host, from ports that are no tunnel's; into tunnels the host is a gateway. */
function departure(tunnelPorts: readonly number[]): NftObject[] {
  const { low, high } = snatPorts(tunnelPorts);
  return families.flatMap((family) => {
    const out = [nft.match(outward, "@own", "!="), nft.source(family, `@egress${family}`)];
    return [
      nft.rule("postrouting", ...out, nft.protocolIn(nft.ipProtocol.tcp, nft.ipProtocol.udp), {
        masquerade: { port: { range: [low, high] } },
      }),
      nft.rule("postrouting", ...out, { masquerade: null }),
      nft.rule(
        "postrouting",
        nft.match(outward, "@tunnels"),
        nft.source(family, `@routed${family}`, "!="),
        nft.sourceNat(family, `@gateways${family}`),
      ),
    ];
  });
}
