import { hostPrefix } from "../../base/cidr.ts";
import type { IpFamily } from "../../base/ip.ts";
import { encapsulationNames, encapsulations } from "../../model/encapsulation.ts";
import { nftField } from "../../netlink/index.ts";
import { hostDevice, hostTable, type UplinkIdentity } from "../kernel-names.ts";
import type { NftObject, NftTable } from "../nft/table.ts";
import * as nft from "../nft/words.ts";
import { linkLocal, type PairAddresses } from "./addresses.ts";
import { families, type UplinkRequest } from "./request.ts";
import { snatPorts } from "./snat-ports.ts";

/**
 * What the host lets through between a tenant's uplink and the world. It adds to the host's own firewall and takes
 * nothing from it: a packet needs the consent of both.
 */
export function hostFilterTable(
  identity: UplinkIdentity,
  request: UplinkRequest,
  addresses: PairAddresses,
  tunnelPorts: readonly number[],
): NftTable {
  const { hostAccess, direct, directInward, floating, published } = request;
  const device = hostDevice(identity);
  const sources = hostAccess.map(({ source }) => hostPrefix(source));
  const ports = [...new Set(tunnelPorts)].sort((a, b) => a - b);
  return {
    family: "inet",
    name: hostTable(identity),
    sets: [
      nft.set("ports", nftField.inet_service, ports),
      ...nft.publishedSets(published),
      ...families.flatMap((family) => [
        nft.prefixSet(
          "direct",
          family,
          direct.map(({ prefix }) => prefix),
        ),
        nft.prefixSet("inward", family, directInward),
        nft.prefixSet("gateways", family, sources),
        nft.prefixSet(
          "access",
          family,
          hostAccess.map(({ prefix }) => prefix),
        ),
        nft.addressMap(
          "hosts",
          family,
          hostAccess.map(({ prefix, source }) => [prefix, source]),
        ),
        nft.prefixSet(
          "floating",
          family,
          floating.map(({ outside }) => hostPrefix(outside)),
        ),
      ]),
    ],
    rules: [
      nft.chain("prerouting", { type: "filter", hook: "prerouting", prio: nft.hookPriority.raw }),
      nft.chain("arrival", { type: "filter", hook: "prerouting", prio: nft.hookPriority.mangle }),
      nft.chain("published", { type: "nat", hook: "prerouting", prio: nft.hookPriority.destinationNat }),
      nft.chain("own", { type: "nat", hook: "output", prio: nft.hookPriority.destinationNat }),
      nft.chain("tenant"),
      nft.chain("forward", { type: "filter", hook: "forward", prio: nft.hookPriority.filter }),
      nft.chain("inward"),
      nft.chain("postrouting", { type: "nat", hook: "postrouting", prio: nft.hookPriority.sourceNat }),
      ...noTunnels(device),
      // Answers to the host's own questions come to a gateway's address and must find their way back.
      ...families.flatMap((family) => [
        nft.rule(
          "prerouting",
          nft.notFrom(device),
          nft.source(family, `@direct${family}`),
          nft.destination(family, `@inward${family}`),
          nft.destination(family, `@gateways${family}`, "!="),
          nft.notrack,
        ),
        nft.rule(
          "prerouting",
          nft.from(device),
          nft.source(family, `@inward${family}`),
          nft.destination(family, `@direct${family}`),
          nft.notrack,
        ),
      ]),
      nft.rule("arrival", nft.from(device), nft.goTo("tenant")),
      ...toPublishedPorts(device, addresses),
      ...fromTenant(addresses),
      // Of the tenant's own there and back again.
      ...families.flatMap((family) =>
        [nft.destination, nft.source].map((end) =>
          nft.rule("forward", nft.from(device), nft.to(device), end(family, `@floating${family}`), nft.accept),
        ),
      ),
      nft.rule("forward", nft.from(device), nft.to(device), nft.drop),
      nft.rule("forward", nft.to(device), nft.goTo("inward")),
      ...families.map((family) =>
        nft.rule(
          "inward",
          nft.source(family, `@direct${family}`),
          nft.destination(family, `@inward${family}`),
          nft.accept,
        ),
      ),
      nft.rule("inward", nft.isAnswer, nft.accept),
      ...families.map((family) =>
        nft.rule("inward", nft.destination(family, addresses[family].tenant), nft.isTranslated, nft.accept),
      ),
      // Inside, it goes to its endpoint or nowhere.
      ...families.map((family) => nft.rule("inward", nft.destination(family, `@floating${family}`), nft.accept)),
      ...families.map((family) =>
        nft.rule("inward", nft.destination(family, `@inward${family}`), nft.icmpErrors[family], nft.accept),
      ),
      // hostAccess is the host's own: what it forwards for others is not meant, but where its rules lead its own ports there.
      ...families.map((family) =>
        nft.rule("inward", nft.destination(family, `@access${family}`), nft.isTranslated, nft.accept),
      ),
      nft.rule("inward", nft.drop),
      ...behindHost(addresses, ports),
      ...fromHostToBlocks(),
    ],
  };
}

/**
 * Published ports lead to the tenant's end of the pair, whose namespace knows which endpoint is meant. What the tenant itself asks of the
 * host would come back to it from its own address. What the host asks of its loopback addresses nobody else can answer.
 */
function toPublishedPorts(device: string, addresses: PairAddresses): NftObject[] {
  const lead = (family: IpFamily): object => ({
    dnat: { family: family === 4 ? "ip" : "ip6", addr: addresses[family].tenant },
  });
  return [
    ...nft.toPublished.map(({ family, isMeant }) =>
      nft.rule("published", nft.notFrom(device), ...isMeant, lead(family)),
    ),
    ...nft.toPublished.map(({ family, isMeant }) =>
      nft.rule("own", nft.notToLoopback[family], ...isMeant, lead(family)),
    ),
  ];
}

/**
 * Endpoints do not speak to tunnels, neither to this node's nor, with this node's address as their source, to those of
 * others, which would take it for a VTEP's and let it in.
 */
function noTunnels(device: string): NftObject[] {
  const protocols = encapsulationNames.flatMap((each) => encapsulations[each].ipProtocols);
  return [
    nft.rule(
      "prerouting",
      nft.from(device),
      nft.match({ payload: { protocol: "udp", field: "dport" } }, "@ports"),
      nft.drop,
    ),
    nft.rule("prerouting", nft.from(device), nft.protocolIn(...new Set(protocols)), nft.drop),
  ];
}

/**
 * Under which addresses a tenant speaks, to the host itself and through it: those of the pair's end and of blocks that have no
 * tunnel, floating addresses, and in answers to the host's own questions those that were asked. Whatever a translation has missed goes no further.
 */
function fromTenant(addresses: PairAddresses): NftObject[] {
  return [
    ...families.flatMap((family) => [
      nft.rule(
        "tenant",
        nft.source(family, `@inward${family}`),
        nft.destination(family, `@direct${family}`),
        nft.accept,
      ),
      // Of the tenant's router, about packets between blocks, which nobody tracks.
      nft.rule(
        "tenant",
        nft.source(family, addresses[family].tenant),
        nft.destination(family, `@direct${family}`),
        nft.icmpErrors[family],
        nft.accept,
      ),
    ]),
    nft.rule("tenant", nft.isInvalid, nft.drop),
    ...families.flatMap((family) => [
      nft.rule("tenant", nft.source(family, addresses[family].tenant), nft.accept),
      nft.rule("tenant", nft.source(family, `@floating${family}`), nft.accept),
      nft.rule("tenant", nft.source(family, `@access${family}`), nft.isAnswer, nft.accept),
    ]),
    nft.rule("tenant", nft.source(6, linkLocal.tenant), nft.accept),
    nft.rule("tenant", nft.drop),
  ];
}

/** To the world the tenant is the host, from ports that are no tunnel's. */
function behindHost(addresses: PairAddresses, tunnelPorts: readonly number[]): NftObject[] {
  const { low, high } = snatPorts(tunnelPorts);
  return families.flatMap((family) => {
    const tenant = nft.source(family, addresses[family].tenant);
    return [
      nft.rule("postrouting", tenant, nft.protocolIn(nft.ipProtocol.tcp, nft.ipProtocol.udp), {
        masquerade: { port: { range: [low, high] } },
      }),
      nft.rule("postrouting", tenant, { masquerade: null }),
    ];
  });
}

/**
 * The host's own packets to blocks of other nodes go straight there, as the blocks' routes say. Their source is the gateway of an
 * own block: the other node lets blocks in and nobody else, and knows the way back to them.
 */
function fromHostToBlocks(): NftObject[] {
  return families.map((family) =>
    nft.rule(
      "postrouting",
      nft.destination(family, `@direct${family}`),
      nft.match({ fib: { result: "type", flags: ["saddr"] } }, "local"),
      nft.sourceNat(family, `@hosts${family}`),
    ),
  );
}
