import { hostPrefix } from "../../base/cidr.ts";
import { tenantDevice, tenantTable } from "../kernel-names.ts";
import type { NftObject, NftTable } from "../nft/table.ts";
import * as nft from "../nft/words.ts";
import type { PairAddresses } from "./addresses.ts";
import { families, type UplinkRequest } from "./request.ts";

/**
 * What passes between a tenant's networks and its uplink, and under which addresses. Behind the uplink subnets of
 * tenants may be the same, so egress leaves with the address of the tenant's end, which no other tenant has.
 *
 * To the outside endpoints are the host, and the path MTU to the host is not theirs to tell: whoever believed them would
 * cut what he sends to the host itself, its tunnels among it.
 *
 * What comes for a floating address goes to its endpoint, which sees who sent it; what that endpoint begins leaves under the
 * floating address, if it may leave at all. Others of the tenant's take the way by the host to it, too: an answer that is
 * bridged would come from an address that nobody asked.
 */
export function tenantFilterTable(request: UplinkRequest, addresses: PairAddresses): NftTable {
  const { hostAccess, egress, egressBlocked, direct, directInward, floating, published } = request;
  const sets = families.flatMap((family) => [
    nft.prefixSet("egress", family, egress),
    nft.pairSet(
      "blocked",
      family,
      egressBlocked.map(({ source, destinations }) => [source, destinations]),
    ),
    nft.prefixSet(
      "direct",
      family,
      direct.map(({ prefix }) => prefix),
    ),
    nft.prefixSet("inward", family, directInward),
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
    nft.addressMap(
      "inside",
      family,
      floating.map(({ outside, inside }) => [hostPrefix(outside), inside]),
    ),
    nft.publishedMap(published, family),
    nft.addressMap(
      "outside",
      family,
      floating.map(({ outside, inside }) => [hostPrefix(inside), outside]),
    ),
  ]);
  const forEachFamily = (make: (family: 4 | 6) => NftObject): NftObject[] => families.map(make);
  return {
    family: "inet",
    name: tenantTable,
    sets,
    rules: [
      nft.chain("prerouting", { type: "filter", hook: "prerouting", prio: nft.hookPriority.raw }),
      nft.chain("arrival", { type: "nat", hook: "prerouting", prio: nft.hookPriority.destinationNat }),
      nft.chain("forward", { type: "filter", hook: "forward", prio: nft.hookPriority.filter }),
      nft.chain("outward"),
      nft.chain("inward"),
      nft.chain("postrouting", { type: "nat", hook: "postrouting", prio: nft.hookPriority.sourceNat }),
      // Between blocks addresses are as they are and nothing needs to be remembered.
      ...families.flatMap((family) => [
        nft.rule("prerouting", nft.from(tenantDevice), ...between(family, "direct", "inward"), nft.notrack),
        nft.rule("prerouting", nft.notFrom(tenantDevice), ...between(family, "inward", "direct"), nft.notrack),
      ]),
      ...forEachFamily((family) =>
        nft.rule("arrival", nft.from(tenantDevice), nft.destinationNat(family, `@inside${family}`)),
      ),
      ...forEachFamily((family) =>
        nft.rule(
          "arrival",
          nft.from(tenantDevice),
          nft.destination(family, addresses[family].tenant),
          nft.leadByPort(family),
        ),
      ),
      nft.rule("forward", nft.from(tenantDevice), nft.to(tenantDevice), nft.drop),
      nft.rule("forward", nft.to(tenantDevice), nft.goTo("outward")),
      nft.rule("forward", nft.from(tenantDevice), nft.goTo("inward")),
      ...forEachFamily((family) => nft.rule("outward", ...between(family, "inward", "direct"), nft.accept)),
      nft.rule("outward", nft.isInvalid, nft.drop),
      nft.rule("outward", nft.isAnswer, nft.accept),
      ...forEachFamily((family) => nft.rule("outward", nft.tooBig[family], nft.drop)),
      ...forEachFamily((family) => nft.rule("outward", nft.sourceAndDestination(family, `@blocked${family}`), refuse)),
      ...forEachFamily((family) => nft.rule("outward", nft.source(family, `@egress${family}`), nft.accept)),
      nft.rule("outward", refuse),
      ...forEachFamily((family) => nft.rule("inward", ...between(family, "direct", "inward"), nft.accept)),
      nft.rule("inward", nft.isAnswer, nft.accept),
      nft.rule("inward", nft.isTranslated, nft.accept),
      ...forEachFamily((family) => nft.rule("inward", nft.destination(family, `@access${family}`), nft.accept)),
      ...forEachFamily((family) =>
        nft.rule("inward", nft.destination(family, `@inward${family}`), nft.icmpErrors[family], nft.accept),
      ),
      nft.rule("inward", nft.drop),
      ...forEachFamily((family) =>
        nft.rule("postrouting", nft.to(tenantDevice), nft.sourceNat(family, `@outside${family}`, "saddr")),
      ),
      ...forEachFamily((family) =>
        nft.rule(
          "postrouting",
          nft.to(tenantDevice),
          nft.source(family, `@egress${family}`),
          nft.sourceNat(family, addresses[family].tenant),
        ),
      ),
      nft.rule("postrouting", nft.from(tenantDevice), nft.isTranslated, nft.accept),
      // To endpoints the host is their gateway, so that answers come back the same way.
      ...forEachFamily((family) =>
        nft.rule("postrouting", nft.from(tenantDevice), nft.sourceNat(family, `@hosts${family}`)),
      ),
    ],
  };
}

/** An endpoint hears at once that it may not, instead of waiting. */
const refuse: readonly object[] = [{ counter: null }, { reject: { type: "icmpx", expr: "admin-prohibited" } }];

function between(family: 4 | 6, sources: string, destinations: string): readonly object[] {
  return [nft.source(family, `@${sources}${family}`), nft.destination(family, `@${destinations}${family}`)];
}
