import {
  type Cidr,
  cidr,
  cidrFamily,
  cidrsOverlap,
  cidrWithout,
  compareCidr,
  networkAddress,
  prefixLengthOf,
} from "../../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily } from "../../base/ip.ts";
import { publishedProtocols } from "../../model/published-port.ts";
import { type NftField, nftField } from "../../netlink/index.ts";
import { families as addressFamilies, type Published } from "../uplink/request.ts";
import type { FilledSet, NftObject } from "./table.ts";

/** Words of nftables for all tables of weft: rules in the form in which `nft -j list` prints them (libnftables-json(5)), and sets. */

/**
 * linux/netfilter_bridge.h. Not 0: that is where br_netfilter takes frames out of the chain and puts them back behind
 * all hooks of the same priority, so that a filter there is passed by or not as the order of creation has it.
 */
export const bridgePriority = { filter: -200 } as const;

/** linux/netfilter_ipv4.h: before connection tracking, just behind it, where destinations are translated, among the filters, where sources are. */
export const hookPriority = { raw: -300, mangle: -150, destinationNat: -100, filter: 0, sourceNat: 100 } as const;

/** IANA protocol numbers. */
export const ipProtocol = { tcp: 6, udp: 17 } as const;

export const drop: readonly object[] = [{ counter: null }, { drop: null }];
export const accept: readonly object[] = [{ accept: null }];
export const notrack: readonly object[] = [{ notrack: null }];

export function chain(name: string, hook?: { type: "filter" | "nat"; hook: string; prio: number }): NftObject {
  return { chain: { name, ...(hook === undefined ? {} : { ...hook, policy: "accept" }) } };
}

export function rule(inChain: string, ...expressions: readonly (object | readonly object[])[]): NftObject {
  return { rule: { chain: inChain, expr: expressions.flat() } };
}

export function match(left: object, right: unknown, op: "==" | "!=" | "<" | "in" = "=="): object {
  return { match: { op, left, right } };
}

/** The device by which a packet came. nft compares names when packets come, so that the device may come later than the rule. */
export const by: object = { meta: { key: "iifname" } };
export const from = (device: string): object => match(by, device);
export const notFrom = (device: string): object => match(by, device, "!=");
export const to = (device: string): object => match({ meta: { key: "oifname" } }, device);

export const protocolIn = (...numbers: readonly number[]): object =>
  match({ meta: { key: "l4proto" } }, { set: [...numbers].sort((a, b) => a - b) });

export const goTo = (target: string): object => ({ goto: { target } });

const header = (family: IpFamily): string => (family === 4 ? "ip" : "ip6");
/** Octets of the packet: bits counted from its transport header on. */
export const packet = ({ offset, bits }: { readonly offset: number; readonly bits: number }): object => ({
  payload: { base: "th", offset, len: bits },
});

export const icmpType: Readonly<Record<IpFamily, object>> = {
  4: { payload: { protocol: "icmp", field: "type" } },
  6: { payload: { protocol: "icmpv6", field: "type" } },
};

export const address = (family: IpFamily, field: "saddr" | "daddr"): object => ({
  payload: { protocol: header(family), field },
});
export const source = (family: IpFamily, right: unknown, op?: "==" | "!="): object =>
  match(address(family, "saddr"), right, op);
export const destination = (family: IpFamily, right: unknown, op?: "==" | "!="): object =>
  match(address(family, "daddr"), right, op);
/** Both together, as they are in a {@link pairSet}. */
export const sourceAndDestination = (family: IpFamily, right: string): object =>
  match({ concat: [address(family, "saddr"), address(family, "daddr")] }, right);

/** `to`: the address, or by which map the destination has it, or the field named by `key`. */
export const sourceNat = (family: IpFamily, to: string, key: "saddr" | "daddr" = "daddr"): object => ({
  snat: {
    family: header(family),
    addr: to.startsWith("@") ? { map: { key: address(family, key), data: to } } : to,
  },
});
/** `by`: the map by which the destination has another. */
export const destinationNat = (family: IpFamily, by: string): object => ({
  dnat: { family: header(family), addr: { map: { key: address(family, "daddr"), data: by } } },
});

/** The protocol of a packet and the port that it goes to. */
const protocolAndPort: readonly object[] = [
  { meta: { key: "l4proto" } },
  { payload: { protocol: "th", field: "dport" } },
];
/** To an address of the host itself. */
const toHost: object = match({ fib: { result: "type", flags: ["daddr"] } }, "local");

/** RFC 1122 §3.2.1.3, RFC 4291 §2.5.3: whoever is asked elsewhere could not answer. */
export const notToLoopback: Readonly<Record<IpFamily, object>> = {
  4: destination(4, prefix(cidr("127.0.0.0/8")), "!="),
  6: destination(6, "::1", "!="),
};

/** Ports of the host that lead elsewhere: at all of its addresses, and at one. Each with its protocol. */
export function publishedSets(published: readonly Published[]): FilledSet[] {
  return addressFamilies.flatMap((family) => {
    const ofFamily = published.filter(({ inside }) => familyOf(inside) === family);
    const port = ({ protocol, port }: Published): string => `${publishedProtocols[protocol]} . ${port}`;
    const [anywhere, somewhere] = [false, true].map((isAt) =>
      ofFamily.filter(({ outside }) => (outside !== undefined) === isAt),
    );
    return [
      set(`published${family}`, [nftField.inet_proto, nftField.inet_service], (anywhere ?? []).map(port)),
      set(
        `publishedAt${family}`,
        [addressField[family], nftField.inet_proto, nftField.inet_service],
        (somewhere ?? []).map((each) => `${each.outside} . ${port(each)}`),
      ),
    ];
  });
}

/** That a packet goes to a port of {@link publishedSets}, in either of two ways for each family. */
export const toPublished: readonly { readonly family: IpFamily; readonly isMeant: readonly object[] }[] =
  addressFamilies.flatMap((family) => [
    { family, isMeant: [toHost, match({ concat: protocolAndPort }, `@published${family}`)] },
    {
      family,
      isMeant: [match({ concat: [address(family, "daddr"), ...protocolAndPort] }, `@publishedAt${family}`)],
    },
  ]);

/** Where such ports lead. */
export function publishedMap(published: readonly Published[], family: IpFamily): FilledSet {
  const elements = published
    .filter(({ inside }) => familyOf(inside) === family)
    .map(({ protocol, port, inside, to }) => `${publishedProtocols[protocol]} . ${port} : ${inside} . ${to}`);
  return {
    ...set(`leads${family}`, [nftField.inet_proto, nftField.inet_service], elements),
    data: [addressField[family], nftField.inet_service],
  };
}

/** By that map. */
export const leadByPort = (family: IpFamily): object => ({
  dnat: { family: header(family), addr: { map: { key: { concat: protocolAndPort }, data: `@leads${family}` } } },
});

/** Packets of the side that did not begin, and ICMP errors about what that side began. */
export const isAnswer: readonly object[] = [
  match({ ct: { key: "direction" } }, "reply"),
  match({ ct: { key: "state" } }, ["established", "related"], "in"),
];

/** Of a connection whose destination was translated, and ICMP errors about it. */
export const isTranslated: object = match({ ct: { key: "status" } }, "dnat", "in");

/** What connection tracking can make nothing of: no translation touches it. */
export const isInvalid: object = match({ ct: { key: "state" } }, "invalid", "in");

/** ICMP errors: without them neither path MTU discovery nor a quick end of hopeless attempts. RFC 4890 §4.3. */
export const icmpErrors: Readonly<Record<IpFamily, object>> = {
  4: match(icmpType[4], { set: ["destination-unreachable", "time-exceeded", "parameter-problem"] }),
  6: match(icmpType[6], { set: ["destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"] }),
};

/** "Fragmentation needed" (RFC 1191 §4) and "packet too big" (RFC 8201 §4). */
export const tooBig: Readonly<Record<IpFamily, readonly object[]>> = {
  4: [
    match(icmpType[4], "destination-unreachable"),
    match({ payload: { protocol: "icmp", field: "code" } }, "frag-needed"),
  ],
  6: [match(icmpType[6], "packet-too-big")],
};

/** That there is a shorter way: RFC 792, RFC 4861 §4.5. */
export const redirect: Readonly<Record<IpFamily, object>> = {
  4: match(icmpType[4], "redirect"),
  6: match(icmpType[6], "nd-redirect"),
};

export function prefix(value: Cidr): string | object {
  const length = prefixLengthOf(value);
  const address = networkAddress(value);
  return isAddress(value) ? address : { prefix: { addr: address, len: length } };
}

function isAddress(value: Cidr): boolean {
  return prefixLengthOf(value) === (cidrFamily(value) === 4 ? 32 : 128);
}
/** As an element of a set. */
export const element = (value: Cidr): string => (isAddress(value) ? networkAddress(value) : value);

export const addressField: Readonly<Record<IpFamily, NftField>> = { 4: nftField.ipv4_addr, 6: nftField.ipv6_addr };

export function set(name: string, key: NftField | readonly NftField[], elements: Iterable<string | number>): FilledSet {
  const texts = Array.from(new Set(elements), String);
  return { name, key: "octets" in key ? [key] : key, elements: texts };
}

/** A set whose elements are ranges: prefixes, or what names of devices begin with. They do not overlap. */
export function rangeSet(name: string, key: NftField | readonly NftField[], elements: Iterable<string>): FilledSet {
  return { ...set(name, key, elements), isInterval: true };
}

/** A set of prefixes of one family. */
export function prefixSet(name: string, family: IpFamily, prefixes: readonly Cidr[]): FilledSet {
  const elements = outermost(ofFamily(prefixes, family)).map(element);
  return rangeSet(`${name}${family}`, addressField[family], elements);
}

/** A map: which address a prefix of its family has. Of prefixes within each other the narrower decides. */
export function addressMap(
  name: string,
  family: IpFamily,
  pairs: readonly (readonly [prefix: Cidr, address: IpAddress])[],
): FilledSet {
  const done: Cidr[] = [];
  const elements: string[] = [];
  const ofMap = pairs.filter(([prefix]) => cidrFamily(prefix) === family);
  for (const [prefix, to] of ofMap.sort(([a], [b]) => prefixLengthOf(b) - prefixLengthOf(a))) {
    elements.push(...cidrWithout(prefix, done).map((part) => `${element(part)} : ${to}`));
    done.push(prefix);
  }
  return { ...rangeSet(`${name}${family}`, addressField[family], elements), data: [addressField[family]] };
}

/** A set of sources, each with its destinations. Sources do not overlap. */
export function pairSet(
  name: string,
  family: IpFamily,
  pairs: readonly (readonly [source: Cidr, destinations: readonly Cidr[]])[],
): FilledSet {
  const elements = pairs
    .filter(([from]) => cidrFamily(from) === family)
    .flatMap(([from, destinations]) =>
      outermost(ofFamily(destinations, family)).map((to) => `${element(from)} . ${element(to)}`),
    );
  return rangeSet(`${name}${family}`, [addressField[family], addressField[family]], elements);
}

function ofFamily(prefixes: readonly Cidr[], family: IpFamily): Cidr[] {
  return prefixes.filter((value) => cidrFamily(value) === family);
}

/** Without prefixes that lie within others, which nftables refuses in one set. */
function outermost(prefixes: readonly Cidr[]): Cidr[] {
  const kept: Cidr[] = [];
  for (const value of [...prefixes].sort(compareCidr)) {
    const last = kept.at(-1);
    if (last === undefined || !cidrsOverlap(last, value)) kept.push(value);
  }
  return kept;
}
