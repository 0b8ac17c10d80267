/**
 * `l2`: one flat subnet over all nodes, an endpoint keeps its addresses wherever it moves. `l3`: each node owns blocks
 * of the subnets, and nodes hold one route for each block of another node.
 */
export type NetworkMode = "l2" | "l3";

/** VNIs are 24 bits; zero is not given out. RFC 7348 §5. */
export const maxVni = 0xff_ff_ff;

/** What in a packet says to which network it belongs: the network's VNI, under the name that the encapsulation has for it. */
interface Key {
  readonly name: string;
  readonly first: number;
  readonly last: number;
  /** Where it stands: a word of 32 bits, octets behind the outer IP header, and the number of bits below it in that word. */
  readonly word: number;
  readonly shift: number;
  /** What says so. */
  readonly source: string;
}

/** All that is to be known of an encapsulation, but for the kernel devices that it is made of: see `dataplane/encapsulation`. */
interface EncapsulationRecord {
  readonly modes: readonly NetworkMode[];
  /** Octets between the outer IP header and the inner packet or frame. */
  readonly header: number;
  /** The inner packet has an Ethernet header. */
  readonly carriesEthernet: boolean;
  /** UDP destination port that IANA gave it, which a network may replace; 0: it does not run over UDP. */
  readonly port: number;
  /** IANA protocol numbers by which the outer IP header names it, where that is not UDP. */
  readonly ipProtocols: readonly number[];
  /** Absent: packets say nothing of their network. A pair of VTEPs has one such network for each inner IP version. */
  readonly key?: Key;
  /**
   * `per-vtep`: a device for each VTEP, which takes packets of that one alone. `shared`: one device, whose entries name
   * VTEPs, and which takes packets of everybody: a filter must say whose are welcome. `none`: plain routes.
   */
  readonly devices: "shared" | "per-vtep" | "none";
  /** What names of its devices begin with: one letter, or two where the device is shared. */
  readonly devicePrefix: string;
  /** The kernel floods to a multicast group and learns from it (RFC 7348 §4.2). */
  readonly joinsGroups: boolean;
}

/** RFC 768. */
const udp = 8;
/** Flags, protocol type and key. RFC 2784 §2.1, RFC 2890 §2; in NVGRE the key is VSID and FlowID, RFC 7637 §3.2. */
const greWithKey = 4 + 4;

const records = {
  vxlan: {
    modes: ["l2", "l3"],
    // RFC 7348 §5.
    header: udp + 8,
    carriesEthernet: true,
    port: 4789,
    ipProtocols: [],
    key: { name: "VNI", first: 1, last: maxVni, word: udp + 4, shift: 8, source: "RFC 7348 §5" },
    devices: "shared",
    devicePrefix: "vx",
    joinsGroups: true,
  },
  geneve: {
    modes: ["l2", "l3"],
    // Without options, as weft sends it. RFC 8926 §3.4.
    header: udp + 8,
    carriesEthernet: true,
    port: 6081,
    ipProtocols: [],
    key: { name: "VNI", first: 1, last: maxVni, word: udp + 4, shift: 8, source: "RFC 8926 §3.4" },
    devices: "per-vtep",
    devicePrefix: "g",
    joinsGroups: false,
  },
  nvgre: {
    modes: ["l2"],
    header: greWithKey,
    carriesEthernet: true,
    port: 0,
    ipProtocols: [47],
    // VSIDs 0 to 0xfff are reserved, and so is the highest.
    key: { name: "VSID", first: 0x1000, last: 0xfffffe, word: 4, shift: 8, source: "RFC 7637 §3" },
    devices: "per-vtep",
    devicePrefix: "n",
    joinsGroups: false,
  },
  gre: {
    modes: ["l3"],
    header: greWithKey,
    carriesEthernet: false,
    port: 0,
    ipProtocols: [47],
    // Of the key's 32 bits 24 are used.
    key: { name: "VNI", first: 1, last: maxVni, word: 4, shift: 0, source: "RFC 2890 §2" },
    devices: "per-vtep",
    devicePrefix: "r",
    joinsGroups: false,
  },
  ipip: {
    modes: ["l3"],
    header: 0,
    carriesEthernet: false,
    port: 0,
    // Inner IPv4 (RFC 2003) and inner IPv6 (RFC 4213, RFC 2473).
    ipProtocols: [4, 41],
    devices: "per-vtep",
    devicePrefix: "i",
    joinsGroups: false,
  },
  direct: {
    modes: ["l3"],
    header: 0,
    carriesEthernet: false,
    port: 0,
    ipProtocols: [],
    devices: "none",
    devicePrefix: "",
    joinsGroups: false,
  },
} as const satisfies Readonly<Record<string, EncapsulationRecord>>;

/** How packets of a network travel between nodes: behind which header, or behind {@link noTunnel}. */
export type Encapsulation = keyof typeof records;

/** Where a network has no tunnel: nodes that share a link route to each other. */
export const noTunnel = "direct" satisfies Encapsulation;
export type TunnelEncapsulation = Exclude<Encapsulation, typeof noTunnel>;

/** What a network has that asks for none. */
export const defaultEncapsulation = "vxlan" satisfies Encapsulation;

export const encapsulations: Readonly<Record<Encapsulation, EncapsulationRecord>> = records;
export const encapsulationNames = Object.keys(records) as readonly Encapsulation[];

/** The names of those that are so. */
export function encapsulationsThat(are: (record: EncapsulationRecord) => boolean): readonly Encapsulation[] {
  return encapsulationNames.filter((name) => are(encapsulations[name]));
}

/** An encapsulation as it is sent: what tells one tunnel of a network from another while the network changes. */
export interface TunnelTransport {
  readonly encapsulation: TunnelEncapsulation;
  /** UDP destination port; 0 where the encapsulation has none. */
  readonly port: number;
}
