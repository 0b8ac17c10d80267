import { cidrFamily, cidrOf } from "../../base/cidr.ts";
import { familyOf } from "../../base/ip.ts";
import type { DesiredNetwork } from "../desired.ts";
import { families, type HostAccess, type Published, type UplinkRequest } from "./request.ts";

/** What the networks of a tenant ask of the host together. Those in the host's own namespace are there already. */
export function requestOf(all: readonly DesiredNetwork[]): UplinkRequest {
  const networks = all.filter(({ settings }) => settings.placement === "own");
  const withEgress = networks.filter(({ settings }) => settings.egress);
  return {
    hostAccess: networks.flatMap(hostAccessOf),
    egress: withEgress.flatMap(({ settings }) => settings.subnets),
    egressBlocked: withEgress.flatMap(({ settings: { subnets, egressBlocked } }) =>
      subnets.map((source) => ({ source, destinations: egressBlocked })),
    ),
    direct: networks.flatMap(({ blocks }) =>
      [...blocks.values()].filter((block) => block.isFromLink).map(({ cidr, vtep }) => ({ prefix: cidr, vtep })),
    ),
    directInward: networks.flatMap(({ localBlocks }) =>
      [...localBlocks.values()].filter((block) => block.isDirect).map(({ cidr }) => cidr),
    ),
    floating: networks.flatMap((network) => network.floating),
    published: networks.flatMap(publishedOf),
  };
}

/** Ports lead to the first address that an endpoint has of each family. One that is on another node yet has none here. */
export function publishedOf({ locals }: DesiredNetwork): Published[] {
  return [...locals.values()].flatMap(({ published = [], addresses, standsBy }) =>
    (standsBy ? [] : published).flatMap(({ protocol, address: outside, port, to }) =>
      families.flatMap((family) => {
        const inside = addresses.find(({ address }) => familyOf(address) === family)?.address;
        if (inside === undefined || (outside !== undefined && familyOf(outside) !== family)) return [];
        return [{ protocol, ...(outside === undefined ? {} : { outside }), port, inside, to }];
      }),
    ),
  );
}

/**
 * Of an l3 network the host reaches everything, in the name of a block's gateway, to which all nodes know the way. Of an
 * l2 network it reaches what is on this node: others have the same gateway and would keep the answer.
 */
function hostAccessOf({ settings }: DesiredNetwork): HostAccess[] {
  if (!settings.hostAccess) return [];
  return settings.subnets.flatMap((prefix) => {
    const gateway = settings.gateways.find(({ address }) => familyOf(address) === cidrFamily(prefix));
    if (gateway === undefined) return [];
    const { address: source, prefixLength } = gateway;
    return [{ prefix: settings.mode === "l3" ? prefix : cidrOf(source, prefixLength), source }];
  });
}
