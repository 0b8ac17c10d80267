import { familyOf, type IpAddress, type IpFamily } from "../../base/ip.ts";
import { nftField, packetAddress, packetNumber } from "../../netlink/index.ts";
import { sourceFilterName } from "../kernel-names.ts";
import { families } from "../uplink/request.ts";
import type { FilledSet, NftObject, NftTable } from "./table.ts";
import type { VtepPaths } from "./vtep-paths.ts";
import * as nft from "./words.ts";

export interface FilteredNetwork {
  readonly vni: number;
  /** UDP ports of its tunnels that the kernel would receive on from everyone; none: it has no such tunnels. */
  readonly ports: readonly number[];
  /** VTEPs that it exchanges packets with. */
  readonly peers: ReadonlySet<IpAddress>;
  /** The group that it floods to: its senders find each other, and nobody knows them all. */
  readonly group?: IpAddress;
}

export interface SourceFilter {
  readonly instance: string;
  readonly networks: readonly FilteredNetwork[];
  readonly localVteps: readonly IpAddress[];
  /** Where the VTEPs of other nodes are, whatever tunnels lead to them. */
  readonly paths: VtepPaths;
}

/** Octets that every link of an IPv6 path carries (RFC 8200 §5); less is not asked of an IPv4 underlay either. */
const smallestPathMtu = 1280;
const chain = "input";

/**
 * RFC 7348 §5, from the UDP header on, which nft finds behind options and extension headers: the VNI is in octets 12 to 14. Not
 * the whole word: what its last octet is, nobody asks.
 */
const vni = { offset: 96, bits: 24 };
/**
 * The destination of the packet that an ICMP error quotes, from the ICMP header on, which has 8 octets: octets 16 to 19
 * of an IPv4 header (RFC 791), 24 to 39 of an IPv6 header (RFC 8200), whatever options follow.
 */
const quoted = { 4: { offset: (8 + 16) * 8, bits: 32 }, 6: { offset: (8 + 24) * 8, bits: 128 } } as const;

const vniField = packetNumber(vni.offset, vni.bits);
const quotedField = {
  4: packetAddress(quoted[4].offset, "ipv4_addr"),
  6: packetAddress(quoted[6].offset, "ipv6_addr"),
} as const;
const vniOfFrame = nft.packet(vni);

/**
 * What this host takes for itself of tunnels, judged where packets for the host arrive: what it forwards, for virtual
 * machines with overlays of their own for example, does not come by here.
 *
 * Frames: only VTEPs of a network may send into it, and only to this node's own VTEP address.
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
export function sourceFilterTable({ instance, networks: all, localVteps, paths }: SourceFilter): NftTable {
  const networks = all.filter(({ ports }) => ports.length > 0);
  const open = networks.filter(({ group }) => group !== undefined);
  return {
    family: "inet",
    name: sourceFilterName(instance),
    sets: [
      nft.set(
        "ports",
        nftField.inet_service,
        networks.flatMap(({ ports }) => ports),
      ),
      nft.set("vnis", vniField, vnisOf(networks)),
      nft.set("anybody", vniField, vnisOf(open)),
      ...families.flatMap((family) => [
        addressSet("local", family, localVteps),
        addressSet(
          "group",
          family,
          open.flatMap(({ group }) => group ?? []),
        ),
        membersSet(family, networks),
        ...pathSets(family, paths),
      ]),
    ],
    rules,
  };
}

const toTunnel = nft.match({ payload: { protocol: "udp", field: "dport" } }, "@ports");

const vnisOf = (networks: readonly FilteredNetwork[]): number[] => networks.map((network) => network.vni);

const ofFamily = (family: IpFamily, addresses: Iterable<IpAddress>): IpAddress[] =>
  [...addresses].filter((each) => familyOf(each) === family);

function addressSet(name: string, family: IpFamily, addresses: readonly IpAddress[]): FilledSet {
  return nft.set(`${name}${family}`, nft.addressField[family], ofFamily(family, addresses));
}

/** Who may send into which network. */
function membersSet(family: IpFamily, networks: readonly FilteredNetwork[]): FilledSet {
  const members = networks.flatMap(({ vni, peers }) => ofFamily(family, peers).map((peer) => `${vni} . ${peer}`));
  return nft.set(`members${family}`, [vniField, nft.addressField[family]], members);
}

/** From members, to this node's own address; into a network of multicast from anybody, by its group or directly. */
function frameRules(family: IpFamily): NftObject[] {
  const isMember = nft.match({ concat: [vniOfFrame, nft.address(family, "saddr")] }, `@members${family}`);
  const isOpen = nft.match(vniOfFrame, "@anybody");
  return [
    nft.rule(chain, toTunnel, nft.destination(family, `@local${family}`), isMember, nft.accept),
    ...["local", "group"].map((destinations) =>
      nft.rule(chain, toTunnel, nft.destination(family, `@${destinations}${family}`), isOpen, nft.accept),
    ),
  ];
}

/** All VTEPs of other nodes, those to which one way is known, and by which interface routers on that may be believed. */
function pathSets(family: IpFamily, { onLink, routed, elsewhere }: VtepPaths): FilledSet[] {
  const known = [...onLink, ...routed.flatMap(({ vteps }) => vteps)];
  const ways = routed.flatMap(({ interfaceName, vteps }) =>
    ofFamily(family, vteps).map((vtep) => `${vtep} . ${interfaceName}`),
  );
  const quotedIn = (name: string, vteps: readonly IpAddress[]): FilledSet =>
    nft.set(`${name}${family}`, quotedField[family], ofFamily(family, vteps));
  return [
    quotedIn("vteps", [...known, ...elsewhere]),
    quotedIn("known", known),
    nft.set(`ways${family}`, [quotedField[family], nftField.ifname], ways),
  ];
}

/** Which ICMP errors about the path to a VTEP cannot be true. */
function pathRules(family: IpFamily): NftObject[] {
  const destination = nft.packet(quoted[family]);
  const isElsewhere = nft.match({ concat: [destination, nft.by] }, `@ways${family}`, "!=");
  return [nft.rule(chain, nft.tooBig[family], nft.match(destination, `@known${family}`), isElsewhere, nft.drop)];
}

const rules: readonly NftObject[] = [
  // Before whatever else judges what the host takes for itself.
  nft.chain(chain, { type: "filter", hook: "input", prio: nft.hookPriority.raw }),
  ...families.flatMap((family) => frameRules(family)),
  nft.rule(chain, toTunnel, nft.match(vniOfFrame, "@vnis", "!="), nft.accept),
  nft.rule(chain, toTunnel, nft.drop),
  ...families.flatMap(pathRules),
  nft.rule(
    chain,
    nft.match({ payload: { protocol: "icmp", field: "code" } }, "frag-needed"),
    nft.match({ payload: { protocol: "icmp", field: "mtu" } }, smallestPathMtu, "<"),
    nft.match(nft.packet(quoted[4]), "@vteps4"),
    nft.drop,
  ),
  // A first fragment may be too short to show what it quotes. A router's own is never in fragments (RFC 4443 §2.4).
  nft.rule(chain, nft.match({ exthdr: { name: "frag" } }, true), nft.tooBig[6], nft.drop),
];
