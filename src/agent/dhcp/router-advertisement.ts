import { cidrOf, networkAddress } from "../../base/cidr.ts";
import type { Ipv6Address } from "../../base/ip.ts";
import type { Icmpv6Message, NeighbourOption } from "../../wire/index.ts";
import { addressesOf, type Configuration } from "./configuration.ts";

/** Of the field that has it, in seconds: 18 hours. */
const longestRouterLifetime = 65_535;
const hopLimit = 64;

type Advertisement = Omit<Extract<Icmpv6Message, { readonly type: "router-advertisement" }>, "checksum">;

/** What may have been told before and is to be forgotten. */
export interface Former {
  readonly dns: readonly Ipv6Address[];
  readonly domains: readonly string[];
}

/**
 * The node as a router: RFC 4861 §6.2.3, RFC 8106. Addresses come from DHCPv6 and no endpoint makes its own: it may send with none
 * that it was not given. `undefined`: the endpoint has no IPv6.
 */
export function advertisementOf(configuration: Configuration, former?: Former): Advertisement | undefined {
  const { ipv6, told, mtu, serverMac } = configuration;
  if (ipv6 === undefined) return undefined;
  const { leaseTime } = told;
  const now = tellsOf(configuration);
  return {
    ...{ type: "router-advertisement", code: 0, hopLimit, managed: true, otherConfiguration: true },
    routerLifetime: ipv6.isRouted ? Math.min(leaseTime, longestRouterLifetime) : 0,
    ...{ reachableTime: 0, retransmitTimer: 0 },
    options: [
      { type: "source-link-layer-address", address: serverMac },
      { type: "mtu", mtu },
      {
        ...{ type: "prefix-information", prefixLength: ipv6.prefixLength, onLink: true, autonomous: false },
        ...{ validLifetime: leaseTime, preferredLifetime: leaseTime },
        prefix: networkAddress(cidrOf(ipv6.address, ipv6.prefixLength)) as Ipv6Address,
      },
      ...resolution(now, leaseTime),
      ...(former === undefined ? [] : resolution(goneFrom(former, now), 0)),
    ],
  };
}

/** The last word of a router that is none any more. RFC 4861 §6.2.5. */
export function farewellOf(configuration: Configuration): Advertisement | undefined {
  const advertisement = advertisementOf(configuration);
  if (advertisement === undefined) return undefined;
  const [source] = advertisement.options;
  return {
    ...advertisement,
    ...{ managed: false, otherConfiguration: false, routerLifetime: 0 },
    options: [...(source === undefined ? [] : [source]), ...resolution(tellsOf(configuration), 0)],
  };
}

/** What of resolution is told. */
export function tellsOf({ told: { dns, domain } }: Configuration): Former {
  return { dns: addressesOf(dns, 6) as Ipv6Address[], domains: domain === undefined ? [] : [domain] };
}

function goneFrom(former: Former, now: Former): Former {
  return {
    dns: former.dns.filter((address) => !now.dns.includes(address)),
    domains: former.domains.filter((domain) => !now.domains.includes(domain)),
  };
}

function resolution({ dns, domains }: Former, lifetime: number): NeighbourOption[] {
  return [
    ...(dns.length === 0 ? [] : [{ type: "recursive-dns-servers", lifetime, addresses: dns } as const]),
    ...(domains.length === 0 ? [] : [{ type: "dns-search-list", lifetime, domains } as const]),
  ];
}
