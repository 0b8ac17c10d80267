import { familyOf, type IpAddress, ipToBigInt } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import { conntrackState, type Hook, type Packet, type Port } from "./packet.ts";
import { protocolNumber, protocols } from "./protocols.ts";
import { either, type Truth, truth } from "./truth.ts";
import { absent, numberOf, numberValue, unknown, type Value } from "./value.ts";

/** Where a packet is, and what rules on the way there did to it. */
export interface Place {
  readonly packet: Packet;
  readonly hook: Hook;
  readonly priority: number;
  /** All that it passes. */
  readonly hooks: readonly Hook[];
  readonly change: Change;
}

/** What rules change of a packet. `undefined`: not known any more. */
export interface Change {
  readonly mark: number | undefined;
  /** Exempt from connection tracking. */
  readonly isUntracked: Truth;
  /** Whether addresses and ports are others than those of the {@link Packet}. */
  readonly isSourceTranslated: Truth;
  readonly isDestinationTranslated: Truth;
  /** A rule wrote, or may have written, elsewhere into it. */
  readonly isRewritten: boolean;
}

/** linux/netfilter_ipv4.h: where fragments are put together, and where connections are looked up. */
const [defragmentation, conntrack] = [-400, -200];

/** linux/netfilter.h NFPROTO_*, linux/if_ether.h ETH_P_*, and the name that nft's JSON has for the header. */
const ofFamily = {
  4: { nfproto: 2, etherType: 0x0800, header: "ip" },
  6: { nfproto: 10, etherType: 0x86dd, header: "ip6" },
} as const;

const havePorts: readonly string[] = ["tcp", "udp", "udplite", "dccp", "sctp"];

/** Field of a header. nft names the header in the rule and has a condition on the protocol with it, which its listing leaves out. */
export function payloadField(place: Place, header: string, field: string): Value {
  const { packet, change } = place;
  if (change.isRewritten) return unknown;
  const family = familyOf(packet.source);
  if (header === "ip" || header === "ip6") return header === ofFamily[family].header ? ipField(place, field) : absent;
  if (header === "ether") return etherField(packet, field);
  if (header === "arp" || header === "vlan") return absent;
  if (header === "th" && (field === "sport" || field === "dport"))
    // Of whatever has no ports: its first octets.
    return hasPorts(packet)
      ? transport(place, () => portField(place, field))
      : rawField(place, header, field === "sport" ? 0 : 16, 16);
  const protocol = protocolNumber(header);
  if (protocol === undefined) return unknown;
  if (protocol !== packet.protocol) return absent;
  return transport(place, () => {
    if (havePorts.includes(header) && (field === "sport" || field === "dport")) return portField(place, field);
    if (header === "tcp" && field === "flags") return numberOf(packet.tcpFlags, 8);
    const isIcmp = header === "icmp" || header === "icmpv6";
    if (isIcmp && (field === "type" || field === "code")) return numberOf(packet.icmp?.[field], 8);
    return unknown;
  });
}

function ipField(place: Place, field: string): Value {
  const { packet, change } = place;
  const family = familyOf(packet.source);
  const bits = family === 4 ? 32 : 128;
  if (field === "saddr") return unlessTranslated(change.isSourceTranslated, packet.source, bits);
  if (field === "daddr") return unlessTranslated(change.isDestinationTranslated, packet.destination, bits);
  if (field === "version") return numberValue(family, 4);
  if (field === "protocol") return numberValue(packet.protocol, 8);
  if (field === "frag-off") return fragmentOffset(place);
  if (isInPieces(place) === "unknown") return unknown;
  if (field === "nexthdr") return numberValue(packet.fragment === undefined ? packet.protocol : fragmentHeader, 8);
  // Of IPv6: without its header of 40 octets.
  if (field === "length") return numberOf(packet.length && packet.length - (family === 4 ? 0 : 40), 16);
  return unknown;
}

/** IANA: the fragment header of IPv6. */
const fragmentHeader = 44;

const unlessTranslated = (isTranslated: Truth, address: IpAddress, bits: number): Value =>
  isTranslated === "no" ? numberValue(ipToBigInt(address), bits) : unknown;

/** RFC 791 §3.1: three flags, the second of which forbids fragments and is not known, and 13 bits of offset. */
function fragmentOffset(place: Place): Value {
  const { fragment } = place.packet;
  const mayNotBeFragmented = 0x4000n;
  if (fragment === undefined) return numberValue(0, 16, mayNotBeFragmented);
  if (isInPieces(place) === "unknown") return unknown;
  if (fragment === "first") return numberValue(0x2000, 16, mayNotBeFragmented);
  return unknown;
}

/** Whether what passes here is a fragment. Behind where they are put together it depends on whether anybody tracks connections. */
function isInPieces({ packet, hook, priority }: Place): Truth {
  if (packet.fragment === undefined) return "no";
  const isBefore = hook === "ingress" || (hook === "prerouting" && priority < defragmentation);
  return isBefore ? "yes" : "unknown";
}

/** What only the first of several fragments shows. */
function transport(place: Place, field: () => Value): Value {
  if (place.packet.fragment !== "later") return field();
  return isInPieces(place) === "yes" ? absent : unknown;
}

const hasPorts = ({ protocol, icmp, destinationPort }: Packet): boolean =>
  icmp === undefined && (protocol === protocols.tcp || protocol === protocols.udp || destinationPort !== undefined);

function portField({ packet, change }: Place, field: string): Value {
  if (field === "sport") return change.isSourceTranslated === "no" ? portValue(packet.sourcePort) : unknown;
  return field === "dport" && change.isDestinationTranslated === "no" ? portValue(packet.destinationPort) : unknown;
}

function portValue(port: Port | undefined): Value {
  return port === "ephemeral" ? numberValue(0x8000, 16, 0x7fffn) : numberOf(port, 16);
}

function etherField({ source, ethernet }: Packet, field: string): Value {
  const addresses: Readonly<Record<string, MacAddress | undefined>> = {
    saddr: ethernet?.source,
    daddr: ethernet?.destination,
  };
  if (field === "type") return etherType(source);
  const address = addresses[field];
  return address === undefined ? unknown : numberValue(BigInt(`0x${address.replaceAll(":", "")}`), 48);
}

const etherType = (source: IpAddress): Value => ({
  kind: "number",
  value: BigInt(ofFamily[familyOf(source)].etherType),
  bits: 16,
  unsure: 0n,
  isEtherType: true,
});

/** Bits of a packet, counted from one of its headers on. */
export function rawField(place: Place, base: string, offset: number, length: number): Value {
  if (base !== "th" || place.change.isRewritten) return unknown;
  return transport(place, () => {
    const octets = transportOctets(place);
    let [value, unsure] = [0n, 0n];
    for (let bit = offset; bit < offset + length; bit++) {
      const octet = octets[bit >> 3];
      value = (value << 1n) | (octet === undefined ? 0n : BigInt((octet >> (7 - (bit & 7))) & 1));
      unsure = (unsure << 1n) | (octet === undefined ? 1n : 0n);
    }
    return numberValue(value, length, unsure);
  });
}

/** From the transport header on, as far as known. */
function transportOctets(place: Place): readonly (number | undefined)[] {
  const { protocol, payload = [], icmp } = place.packet;
  const { isSourceTranslated, isDestinationTranslated } = place.change;
  const nothing = [undefined, undefined];
  const ports = ["sport", "dport"].flatMap((field) => {
    const port = portField(place, field);
    return port.kind === "number" && port.unsure === 0n
      ? [Number(port.value >> 8n), Number(port.value & 255n)]
      : nothing;
  });
  // RFC 768: then length and checksum.
  if (protocol === protocols.udp) return [...ports, ...nothing, ...nothing, ...payload];
  // Translation changes what ICMP has behind type and code.
  const isTranslated = isSourceTranslated !== "no" || isDestinationTranslated !== "no";
  const rest = isTranslated ? [] : [...payload];
  if (icmp !== undefined) return [icmp.type, icmp.code, ...rest.slice(2)];
  return hasPorts(place.packet) ? ports : rest;
}

export function metaField(place: Place, key: string): Value {
  const { packet, hook } = place;
  const family = ofFamily[familyOf(packet.source)];
  if (key === "iifname" || key === "iif") return interfaceName(packet.in, hasIncoming(hook, place.hooks));
  if (key === "oifname" || key === "oif") return interfaceName(packet.out, hasOutgoing(hook));
  if (key === "l4proto") return numberValue(packet.protocol, 8);
  if (key === "nfproto") return hook.startsWith("bridge") ? unknown : numberValue(family.nfproto, 8);
  if (key === "protocol") return etherType(packet.source);
  if (key === "mark") return numberOf(place.change.mark, 32);
  if (key === "length" && !hook.startsWith("bridge") && isInPieces(place) !== "unknown")
    return numberOf(packet.length, 32);
  return unknown;
}

/** A hook without such an interface has the empty name: nft_meta_store_ifname() of the kernel's nft_meta.c. */
const interfaceName = (name: string | undefined, isThere: boolean): Value => {
  if (!isThere) return { kind: "name", name: "" };
  return name === undefined ? unknown : { kind: "name", name };
};

/** Of what a host forwards, also behind routing; what it sends itself came by none. */
function hasIncoming(hook: Hook, hooks: readonly Hook[]): boolean {
  if (hook === "postrouting") return hooks.includes("forward");
  return !["output", "egress", "bridge output"].includes(hook);
}

const hasOutgoing = (hook: Hook): boolean =>
  ["forward", "output", "postrouting", "egress", "bridge forward", "bridge output", "bridge postrouting"].includes(
    hook,
  );

export function conntrackField(place: Place, key: string, direction: unknown): Value {
  const { packet } = place;
  const state = conntrackBits(place);
  if (key === "state") return state;
  if (state.kind !== "number") return unknown;
  const { invalid, untracked } = conntrackState;
  // There is no connection to ask.
  if (state.value === BigInt(invalid) || state.value === BigInt(untracked)) return absent;
  if (key === "l3proto" && direction === undefined) return numberValue(ofFamily[familyOf(packet.source)].nfproto, 8);
  if (key === "protocol" && direction === undefined) return numberValue(packet.protocol, 8);
  if (packet.conntrack !== "new") return unknown;
  if (key === "direction") return numberValue(0, 8);
  return key === "status" ? statusOfFirst(place) : unknown;
}

/** linux/netfilter/nf_conntrack_common.h: bits of `ct status`. */
const status = { expected: 0x1, seenReply: 0x2, assured: 0x4, sourceNat: 0x10, destinationNat: 0x20 } as const;

/** Of the first packet of a connection some are not set. */
function statusOfFirst({ change }: Place): Value {
  let [value, known] = [0, status.expected | status.seenReply | status.assured];
  for (const [bit, is] of [
    [status.sourceNat, change.isSourceTranslated],
    [status.destinationNat, change.isDestinationTranslated],
  ] as const) {
    if (is === "yes") value |= bit;
    if (is !== "unknown") known |= bit;
  }
  return numberValue(value, 32, 0xffffffffn & ~BigInt(known));
}

/** nft_ct_get_eval() of the kernel's nft_ct.c: what has no connection and is not exempt is invalid. */
function conntrackBits({ packet, hook, priority, change }: Place): Value {
  if (hook.startsWith("bridge")) return unknown;
  if (change.isUntracked === "yes") return numberValue(conntrackState.untracked, 32);
  if (change.isUntracked === "unknown") return unknown;
  const isFirst = hook === "prerouting" || hook === "output";
  if (isFirst && priority === conntrack) return unknown;
  if (hook === "ingress" || (isFirst && priority < conntrack))
    // By the loopback interface it brings along what it was called where it was sent.
    return packet.in === "lo" ? unknown : numberValue(conntrackState.invalid, 32);
  return packet.conntrack === undefined ? unknown : numberValue(conntrackState[packet.conntrack], 32);
}

/** RTN_LOCAL of linux/rtnetlink.h */
const local = 2n;

/** Whether the destination's kind of address is `type`, RTN_*. What is forwarded goes to none of this host's own. */
export function isDestinationOf({ packet, hooks, change }: Place, type: bigint): Truth {
  if (change.isDestinationTranslated !== "no") return "unknown";
  if (packet.isForHost) return truth(type === local);
  return hooks.includes("forward") && type === local ? "no" : "unknown";
}

/** Whether it is exempt behind a `notrack` here, which does nothing to what has a connection: nft_notrack_eval(). */
export function exempted({ packet, hook, priority, change }: Place): Truth {
  const isFirst = hook === "prerouting" || hook === "output";
  if (hook === "ingress" || packet.conntrack === "invalid" || (isFirst && priority < conntrack && packet.in !== "lo"))
    return "yes";
  const isBehind = !isFirst || priority > conntrack;
  return isBehind && packet.conntrack !== undefined ? change.isUntracked : either(change.isUntracked, "unknown");
}

/** One and the same after either of two ways. */
export function changedEither(a: Change, b: Change): Change {
  const joined = (one: Truth, other: Truth): Truth => (one === other ? one : "unknown");
  return {
    mark: a.mark === b.mark ? a.mark : undefined,
    isUntracked: joined(a.isUntracked, b.isUntracked),
    isSourceTranslated: joined(a.isSourceTranslated, b.isSourceTranslated),
    isDestinationTranslated: joined(a.isDestinationTranslated, b.isDestinationTranslated),
    isRewritten: a.isRewritten || b.isRewritten,
  };
}
