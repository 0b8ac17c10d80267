import type { Cidr } from "../base/cidr.ts";
import type { IpAddress, Ipv4Address, Ipv6Address } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import type { AttachmentKind } from "./attachment-kind.ts";
import type { Bandwidth } from "./bandwidth.ts";
import type { Dhcp } from "./dhcp.ts";
import type { Dscp } from "./dscp.ts";
import type { Encapsulation, NetworkMode } from "./encapsulation.ts";
import type { Labels } from "./policy/label-selector.ts";
import type { Standby } from "./standby.ts";

declare const vniBrand: unique symbol;
/** VXLAN network identifier, 1…16777215. RFC 7348 §5; NVGRE calls it VSID (RFC 7637 §3.2). Zero is not given out. */
export type Vni = number & { readonly [vniBrand]: true };

/** The IP version of the underlay that carries a network. */
export type UnderlayFamily = "ipv4" | "ipv6";

/** Where the networks of a tenant are on each node: in a network namespace of its own, or in the host's. */
export type Placement = "own" | "host";

/** Whose networks they are. A tenant's networks share one network namespace on each node. */
export interface Tenant {
  readonly name: string;
  /** It stays as it was when the tenant was created. */
  readonly placement: Placement;
  /** Which nodes may host the tenant's networks. Absent: every node. */
  readonly nodeSelector?: NodeSelector;
}

/** Labels that a node must have, each with this value. Nodes get labels from the administrator: {@link NodeSettings}. */
export type NodeSelector = Readonly<Record<string, string>>;

/**
 * How nodes find each other's tunnel endpoints. `control-plane`: the server says which nodes host the network.
 * `multicast`: the kernel sends to a group that all join (RFC 7348 §4.2). `static`: a list, also of hosts without weft.
 */
export type Discovery = "control-plane" | "multicast" | "static";

/** Where remote MAC addresses come from: exact entries from the server, or the kernel's flood-and-learn (RFC 7348 §4.1). */
export type Learning = "control-plane" | "data-plane";

/** What multicast discovery uses. */
export interface MulticastSettings {
  /** Of the underlay's family. Absent: 239.0.0.0/8 or ff05::/16 with the VNI in its last 24 bits. */
  readonly group?: IpAddress;
  /** Hops that frames to the group may take. Default 1: the link. */
  readonly ttl: number;
  /** The interface that joins. Absent: the one that has the VTEP address. */
  readonly interface?: string;
}

/** Frames to groups (broadcast, multicast) that may be sent each second; 0: no limit. */
export interface StormControl {
  /** By one endpoint. Default 1000. */
  readonly port: number;
  /** By all endpoints of the network on one node. Default 5000. */
  readonly network: number;
}

/** An address, or a prefix of them, that an endpoint may send with beside its own, and the MAC that it may have then. */
export interface AllowedAddress {
  readonly prefix: Cidr;
  readonly mac?: MacAddress;
}

/** One virtual network of a tenant: its subnets, and how they are carried between nodes. */
export interface Network {
  /** Unique over all tenants. */
  readonly name: string;
  readonly tenant: string;
  readonly mode: NetworkMode;
  readonly encapsulation: Encapsulation;
  readonly vni: Vni;
  /** One at least; IPv4, IPv6 or both. An endpoint gets one address of each. */
  readonly subnets: readonly Cidr[];
  /**
   * l2: addresses that no endpoint gets, at most one a subnet. With `gateway`, `egress` or `hostAccess` each node answers for
   * them itself (an anycast gateway); without, a router of the tenant has them. l3: none, each block has its own.
   */
  readonly gateways: readonly IpAddress[];
  /** l3: addresses of each block, a power of two, 4…65536. Default 64. */
  readonly blockSize: number;
  /**
   * l3: which block a node comes to own. `automatic` (default): the lowest that is free, when its endpoints need one. `declared`: those
   * that {@link NodeSettings} name, and no others.
   */
  readonly blockAssignment: "automatic" | "declared";
  /** Octets of the largest inner IP packet. Absent: the smallest underlay MTU of all nodes less the headers. */
  readonly mtu?: number;
  /** UDP destination port of the tunnel. Default: that of the encapsulation. 0: it does not run over UDP. */
  readonly port: number;
  /** Default `ipv4`. */
  readonly underlay: UnderlayFamily;
  /**
   * What becomes of broadcast, unknown unicast and multicast. `head-end` (default): one copy for each VTEP
   * that hosts the network (RFC 7432 §11). `groups`: broadcast and multicast alone; frames to a MAC address that nobody is
   * known to have are dropped (RFC 7432 §12). `none`: nothing leaves the node but known unicast.
   */
  readonly flood: "head-end" | "groups" | "none";
  /**
   * ARP and neighbour solicitations are answered by the node and never cross the underlay. Default true with
   * control-plane learning; not possible with data-plane learning, where nodes do not know what to answer.
   */
  readonly arpSuppression: boolean;
  /** Default `control-plane`. */
  readonly discovery: Discovery;
  /** With multicast discovery, and then only. */
  readonly multicast?: MulticastSettings;
  /** With static discovery: VTEPs that get a copy of each flooded frame. This node's own may be among them. */
  readonly vteps: readonly IpAddress[];
  /** Default `control-plane`; multicast and static discovery have `data-plane`. */
  readonly learning: Learning;
  /** MACs that may be learned behind one port beside the declared one, and published. 0 (default): none. */
  readonly learningLimit: number;
  /** Seconds after which a learned address that was not heard of is forgotten. Default 300. */
  readonly ageing: number;
  /**
   * l2: frames with a VLAN tag pass (IEEE 802.1Q and 802.1ad). Default false: a tag of VID 0 is taken off by whoever gets
   * the frame, and would carry past the node what it answers, or filters, of untagged frames.
   */
  readonly vlanTags: boolean;
  /**
   * Endpoints send with their own MAC and IP addresses alone, and nothing that is for routers and servers to send. Default
   * true; false for routers, VRRP and nested clouds.
   */
  readonly antiSpoof: boolean;
  readonly stormControl: StormControl;
  /** What becomes of packets of its endpoints of which no policy says anything. Default `allow`. */
  readonly policyDefault: "allow" | "deny";
  /** Nodes answer DHCP and router solicitations of their endpoints themselves, and say this. Absent: they do not. */
  readonly dhcp?: Dhcp;
  /** Nodes answer DNS at {@link nodeAddress} for the names of its endpoints, and tell each other these. Default false. */
  readonly names: boolean;
  /** l3: nodes that share a link route to each other without a tunnel. Default false. */
  readonly crossSubnet: boolean;
  /** Endpoints reach the world outside through their node, behind an address of it (SNAT). Default false. */
  readonly egress: boolean;
  /** With `egress`: prefixes that endpoints do not reach all the same. Default {@link defaultEgressBlocked}; may be empty. */
  readonly egressBlocked: readonly Cidr[];
  /** A node reaches the endpoints on it. Default false. */
  readonly hostAccess: boolean;
  /** Of all its endpoints on one node together. Absent: no limit. */
  readonly bandwidth?: Bandwidth;
  /** Of each endpoint that was attached with none of its own. Absent: no limit. */
  readonly endpointBandwidth?: Bandwidth;
  /** Absent: 0. */
  readonly dscp?: Dscp;
  /** Which nodes may come to host it, beside what its tenant asks for. Absent: every node that the tenant's allows. */
  readonly nodeSelector?: NodeSelector;
  /**
   * `distributed`: it is one of the tenant's routed networks. Whoever hosts one of them routes to all of them, so that packets
   * between them take one hop, on the node of the sender. Absent: it is none.
   */
  readonly gateway?: "distributed";
  /**
   * With `gateway`: networks of other tenants, each as `red/web`, that this one is routed with as well, as soon as they name it, too, and are such
   * networks. Default: none.
   */
  readonly peers: readonly string[];
  /**
   * Seconds that each phase of a change of encapsulation, port, crossSubnet or MTU waits for nodes that do not have the one
   * before in place. Default 30.
   */
  readonly changeTimeout: number;
}

/** Everything of a network but its VNI, which the server may be yet to choose. */
export type NetworkDraft = Omit<Network, "vni"> & { readonly vni?: Vni };

/** The part of an l3 network's subnet that one node owns: its endpoints have addresses of it, others route to it. */
export interface Block {
  readonly network: string;
  readonly node: string;
  readonly cidr: Cidr;
  /** Raised with each owner of this prefix; of two claims the higher wins. */
  readonly generation: number;
}

/** VTEP addresses of one node. */
export interface VtepAddresses {
  readonly ipv4?: Ipv4Address;
  readonly ipv6?: Ipv6Address;
}

/** A host that runs an agent. */
export interface Node {
  readonly name: string;
  /** One at least when it registers; none, or fewer, once another node has proved to have its address by now. */
  readonly vtepAddresses: VtepAddresses;
  /** Octets of the largest IP packet that the node's underlay interface takes. */
  readonly underlayMtu: number;
  /** Raised each time that a node of this name joins. An older generation may write nothing any more. */
  readonly generation: number;
}

/** An address of the underlay that stands for one endpoint: who sends to it reaches that endpoint and nothing else. */
export interface FloatingAddress {
  /** The address itself. */
  readonly name: IpAddress;
  readonly network: string;
  /** An address of the network, of the same family: the endpoint that has it, on whichever node, is the one. */
  readonly endpoint: IpAddress;
  /**
   * `link` (default): the node with the endpoint answers for it on its own link, by ARP or neighbour discovery. `none`: others
   * route it to that node.
   */
  readonly announce: "link" | "none";
}

/** What the administrator says of a node. The node cannot write it. */
export interface NodeSettings {
  /** What {@link NodeSelector}s ask for. */
  readonly labels: Readonly<Record<string, string>>;
  /** VTEP addresses that the node may register without proof. */
  readonly approved: VtepAddresses;
  /** It gets no new endpoints. Absent: it does. */
  readonly drained?: true;
  /** What it may own of networks with `blockAssignment: declared`. Absent: nothing. */
  readonly blocks?: readonly Cidr[];
}

/** A pod that an orchestrator has put on a node: what its interfaces there get. Nobody but that node is told. */
export interface Pod {
  /** What its runtime calls it, unique over all namespaces: with Kubernetes its UID. */
  readonly name: string;
  readonly node: string;
  /** Its namespace and name there, for people: `shop/web-0`. */
  readonly title: string;
  /** Networks that its interfaces may be in. The first is that of an interface for which the runtime names none. */
  readonly networks: readonly string[];
  /** Of that interface; none: they are chosen. */
  readonly ips: readonly IpAddress[];
  /** The same. */
  readonly mac?: MacAddress;
  /** Of all its interfaces, for policies. */
  readonly labels?: Labels;
  /** Why it cannot have any. Absent: it can. */
  readonly refusal?: string;
  /** As of a policy. */
  readonly managedBy?: string;
}

/** One interface of a container, pod or VM. */
export interface Endpoint {
  /** 12 hexadecimal digits, chosen at random by the node that made it. */
  readonly id: string;
  readonly network: string;
  readonly node: string;
  readonly mac: MacAddress;
  /** One of each subnet's family, and what was learned beside; of a learned one as many as were seen, or none yet. */
  readonly ips: readonly IpAddress[];
  /** Of a declared endpoint: those of {@link ips} that nobody declared, and that are in use with its MAC. Absent: none. */
  readonly learnedIps?: readonly IpAddress[];
  /** Those that stand for it, as nodes are told. Absent: none. */
  readonly floatingAddresses?: readonly FloatingAddress[];
  readonly attachment: AttachmentKind;
  /** What policies know it by. Absent: none. */
  readonly labels?: Labels;
  /** Raised with each change of owner of this MAC in this network; of two claims the higher wins. RFC 7432 §7.7. */
  readonly sequence: number;
  /** The node that makes ready to take it over. Absent: none does. */
  readonly standby?: Standby;
  /** Nodes that it left, which forward what others still send there. Absent: all send where it is. */
  readonly formerNodes?: readonly string[];
  /** Other nodes that may host its network may stand by for it without an administrator's word. Absent: they may not. */
  readonly movable?: true;
}

/** Nodes beside its own that have to do with an endpoint: what they send in its network is welcome before and after they have it. */
export function passedNodes({ standby, formerNodes = [] }: Pick<Endpoint, "standby" | "formerNodes">): string[] {
  return standby === undefined ? [...formerNodes] : [...new Set([...formerNodes, standby.node])];
}

/** The addresses of an endpoint that were given to it, not learned. */
export function declaredIps({ ips, learnedIps = [] }: Pick<Endpoint, "ips" | "learnedIps">): readonly IpAddress[] {
  return learnedIps.length === 0 ? ips : ips.filter((ip) => !learnedIps.includes(ip));
}
