import { compareIp, familyOf, type IpAddress, ipToBigInt } from "../../base/ip.ts";
import type { NftObject, NftTable } from "./nftables.ts";
import type { VtepPaths } from "./vtep-paths.ts";

export interface SourceFilter {
  readonly instance: string;
  /** UDP ports of tunnels that the kernel would receive on from everyone. */
  readonly ports: readonly number[];
  /** VNIs of the networks on these ports. The kernel gives frames of others to devices that are not weft's, or to none. */
  readonly vnis: readonly number[];
  /** Of these the networks whose senders nobody knows, because they find each other by multicast. */
  readonly openVnis: readonly number[];
  /** Groups that this node listens to. */
  readonly groups: readonly IpAddress[];
  readonly localVteps: readonly IpAddress[];
  /** Which VTEPs may send into which of these networks. */
  readonly members: readonly { readonly vni: number; readonly vtep: IpAddress }[];
  /** VTEPs of all networks, whatever carries them. */
  readonly remoteVteps: readonly IpAddress[];
  /** Where the remote VTEPs are. */
  readonly paths: VtepPaths;
}

/** Before whatever else judges what the host takes for itself: netfilter's raw priority. linux/netfilter_ipv4.h */
const NF_IP_PRI_RAW = -300;
/** Octets that every link of an IPv6 path carries (RFC 8200 §5); less is not asked of an IPv4 underlay either. */
const smallestPathMtu = 1280;
const chain = "input";

const udpPort = (set: string): NftObject => match({ payload: { protocol: "udp", field: "dport" } }, set);
/** RFC 7348 §5, from the UDP header on, which nft finds behind options and extension headers: the VNI is in octets 12 to 14. */
const vniOfFrame = { payload: { base: "th", offset: 96, len: 24 } };
/**
 * The destination of the packet that an ICMP error quotes, from the ICMP header on, which has 8 octets: octets 16 to 19
 * of an IPv4 header (RFC 791), 24 to 39 of an IPv6 header (RFC 8200), whatever options follow.
 */
const quotedDestination = {
  4: { payload: { base: "th", offset: (8 + 16) * 8, len: 32 } },
  6: { payload: { base: "th", offset: (8 + 24) * 8, len: 128 } },
} as const;

/**
 * What this host takes for itself of tunnels, judged where packets for the host arrive: what it forwards, for virtual
 * machines with overlays of their own for example, does not come by here.
 *
 * Frames: into each network on this node only VTEPs of that network may send, and only to this node's own VTEP address.
 * The kernel's tunnel socket is bound to all addresses and asks nobody: without this filter everyone who reaches the node
 * can put frames into any network (CVE-2020-10136 is the same for IPIP). The socket is shared by all VXLAN devices of
 * the port, other programs' too, whatever their local addresses: the VNI alone decides who gets a frame. So frames of
 * other VNIs are left alone, and those of weft's are dropped on every local address. A fragment that is too short
 * to show its VNI is dropped; IPv4 arrives here in one piece. Other encapsulations need no such rules: each of
 * their tunnels is for one VTEP, and the kernel takes packets from that one alone.
 *
 * Path MTU: an ICMP error is believed by the kernel whoever sends it, and what it says of a VTEP holds for
 * all tunnels to it, whatever packet it quotes. On a link there is no router that could say so truly; beyond, one may,
 * by the interface that leads there.
 */
export function sourceFilterTable(filter: SourceFilter): NftTable {
  const addressSet = (name: string, family: 4 | 6, addresses: readonly IpAddress[]): NftObject =>
    set(`${name}${family}`, family === 4 ? "ipv4_addr" : "ipv6_addr", ofFamily(family, addresses));
  const isOpen = filter.openVnis.length > 0;
  return {
    family: "inet",
    name: sourceFilterName(filter.instance),
    objects: [
      set("ports", "inet_service", filter.ports),
      addressSet("local", 4, filter.localVteps),
      addressSet("local", 6, filter.localVteps),
      ...(isOpen ? [addressSet("group", 4, filter.groups), addressSet("group", 6, filter.groups)] : []),
      { chain: { name: chain, type: "filter", hook: "input", prio: NF_IP_PRI_RAW, policy: "accept" } },
      ...([4, 6] as const).flatMap((family) => accept(family, filter.members)),
      ...(isOpen
        ? ([4, 6] as const).flatMap((family) =>
            ["local", "group"].map((destinations) => acceptOpen(family, destinations, filter.openVnis)),
          )
        : []),
      ...(filter.vnis.length > 0 ? [rule(udpPort("@ports"), notIn(vniOfFrame, filter.vnis), { accept: null })] : []),
      rule(udpPort("@ports"), ...drop),
      ...([4, 6] as const).flatMap((family) => pathMtuRules(family, filter.paths)),
    ],
  };
}

const drop: readonly object[] = [{ counter: null }, { drop: null }];

/** nft 1.0.6 takes no set of a raw part of a packet and an address but in the rule itself. */
function accept(family: 4 | 6, members: SourceFilter["members"]): NftObject[] {
  const elements = members
    .filter(({ vtep }) => familyOf(vtep) === family)
    .map(({ vni, vtep }) => ({ concat: [vni, vtep] }));
  if (elements.length === 0) return [];
  const sender = { payload: { protocol: family === 4 ? "ip" : "ip6", field: "saddr" } };
  return [
    rule(
      udpPort("@ports"),
      address(family, "daddr", `@local${family}`),
      match({ concat: [vniOfFrame, sender] }, { set: elements }),
      { accept: null },
    ),
  ];
}

/** Into a network of multicast discovery anybody may send, by a group or directly. */
function acceptOpen(family: 4 | 6, destinations: string, vnis: readonly number[]): NftObject {
  return rule(udpPort("@ports"), address(family, "daddr", `@${destinations}${family}`), isIn(vniOfFrame, vnis), {
    accept: null,
  });
}

/** Which ICMP errors about the path to a VTEP cannot be true, each in the form in which nft lists it. */
function pathMtuRules(family: 4 | 6, { onLink, routed, elsewhere }: VtepPaths): NftObject[] {
  const tooBig =
    family === 4
      ? [icmp("type", "destination-unreachable"), icmp("code", "frag-needed")]
      : [match({ payload: { protocol: "icmpv6", field: "type" } }, "packet-too-big")];
  const about = (vteps: readonly IpAddress[], ...also: object[]): NftObject[] => {
    const numbers = ofFamily(family, vteps).sort(compareIp).map(rawValue);
    return numbers.length === 0 ? [] : [rule(...tooBig, isIn(quotedDestination[family], numbers), ...also, ...drop)];
  };
  const behindRouters = [...routed.flatMap(({ vteps }) => vteps), ...elsewhere];
  const rules = [
    ...about(onLink),
    ...routed.flatMap(({ interfaceName, vteps }) =>
      about(vteps, { match: { op: "!=", left: { meta: { key: "iifname" } }, right: interfaceName } }),
    ),
  ];
  if (family === 4 && behindRouters.some((vtep) => familyOf(vtep) === 4)) {
    const numbers = ofFamily(4, behindRouters).sort(compareIp).map(rawValue);
    const isTooSmall = {
      match: { op: "<", left: { payload: { protocol: "icmp", field: "mtu" } }, right: smallestPathMtu },
    };
    rules.push(rule(icmp("code", "frag-needed"), isTooSmall, isIn(quotedDestination[4], numbers), ...drop));
  }
  // A first fragment may be too short to show what it quotes. A router's own is never in fragments (RFC 4443 §2.4).
  if (family === 6 && ofFamily(6, [...onLink, ...behindRouters]).length > 0)
    rules.push(rule(match({ exthdr: { name: "frag" } }, true), ...tooBig, ...drop));
  return rules;
}

const ofFamily = (family: 4 | 6, addresses: readonly IpAddress[]): IpAddress[] =>
  addresses.filter((each) => familyOf(each) === family);

/** As nft lists what has no type: numbers of 64 bits at most, longer ones as text. */
function rawValue(address: IpAddress): number | string {
  const value = ipToBigInt(address);
  return familyOf(address) === 4 ? Number(value) : `0x${value.toString(16)}`;
}

function rule(...expr: object[]): NftObject {
  return { rule: { chain, expr } };
}

function address(family: 4 | 6, field: string, right: string): NftObject {
  return match({ payload: { protocol: family === 4 ? "ip" : "ip6", field } }, right);
}

const icmp = (field: string, right: string): NftObject => match({ payload: { protocol: "icmp", field } }, right);

/** nft lists a set of one as the one. */
const oneOrSet = (values: readonly (number | string)[]): unknown => (values.length === 1 ? values[0] : { set: values });
const isIn = (left: object, values: readonly (number | string)[]): NftObject => match(left, oneOrSet(values));
const notIn = (left: object, values: readonly (number | string)[]): NftObject => ({
  match: { op: "!=", left, right: oneOrSet(values) },
});

/** `weft` for the usual instance, `weft-INSTANCE` for another. */
export function sourceFilterName(instance: string): string {
  return instance === "weft" ? "weft" : `weft-${instance}`;
}

export function match(left: object, right: unknown): NftObject {
  return { match: { op: "==", left, right } };
}

/** A set; an empty one has no `elem`, neither when it is made nor when it is listed. */
function set(name: string, type: string, elements: readonly (string | number)[]): NftObject {
  return { set: { name, type, ...(elements.length === 0 ? {} : { elem: [...elements] }) } };
}
