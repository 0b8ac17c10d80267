import { create } from "@bufbuild/protobuf";
import { parseCidr } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress, type Ipv4Address, type Ipv6Address, parseIp } from "../base/ip.ts";
import { parseMac } from "../base/mac.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { NetworkChange } from "../model/phase.ts";
import { formatProblem } from "../model/problem.ts";
import type { Block, Endpoint, Network, Node, NodeSettings, Tenant, VtepAddresses } from "../model/resources.ts";
import { type NetworkDraft, parseNetwork } from "../model/schema.ts";
import { networkChangeFromMessage, networkChangeToMessage } from "./convert-change.ts";
import { type NetworkState as NetworkStateMessage, NetworkStateSchema } from "./generated/weft/v1/node_pb.js";
import {
  type Block as BlockMessage,
  BlockSchema,
  type Endpoint as EndpointMessage,
  EndpointSchema,
  type Network as NetworkMessage,
  NetworkSchema,
  type Node as NodeMessage,
  NodeSchema,
  type NodeSettings as NodeSettingsMessage,
  NodeSettingsSchema,
  type Tenant as TenantMessage,
  TenantSchema,
} from "./generated/weft/v1/resources_pb.js";

/** A network together with what follows from all nodes. */
export interface NetworkState {
  readonly network: Network;
  /** Octets of the largest inner packet on every node. */
  readonly effectiveMtu: number;
  /** The change of its way that is under way. */
  readonly change?: NetworkChange | undefined;
}

/** What a message that breaks the API's contract gives: code `invalid-argument`. */
type Decoded<Value> = Result<Value, WeftError>;

export function tenantToMessage(tenant: Tenant): TenantMessage {
  const { name, placement, nodeSelector = {} } = tenant;
  return create(TenantSchema, { name, placement, nodeSelector: { ...nodeSelector } });
}

export function tenantFromMessage(message: TenantMessage): Decoded<Tenant> {
  if (message.placement !== "own") return wrong("tenant", message.name, `unknown placement "${message.placement}"`);
  const { name, nodeSelector } = message;
  return ok({ name, placement: "own", ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }) });
}

/** Also of a network whose VNI the server is to choose. */
export function networkToMessage(network: NetworkDraft): NetworkMessage {
  return create(NetworkSchema, {
    name: network.name,
    tenant: network.tenant,
    mode: network.mode,
    encapsulation: network.encapsulation,
    vni: network.vni ?? 0,
    subnets: [...network.subnets],
    gateways: [...network.gateways],
    mtu: network.mtu ?? 0,
    port: network.port,
    underlay: network.underlay,
    flood: network.flood,
    arpSuppression: network.arpSuppression,
    blockSize: network.blockSize,
    discovery: network.discovery,
    ...(network.multicast === undefined
      ? {}
      : {
          multicast: {
            group: network.multicast.group ?? "",
            ttl: network.multicast.ttl,
            interface: network.multicast.interface ?? "",
          },
        }),
    vteps: [...network.vteps],
    learning: network.learning,
    learningLimit: network.learningLimit,
    ageing: network.ageing,
    vlanTags: network.vlanTags,
    crossSubnet: network.crossSubnet,
    egress: network.egress,
    egressBlocked: { prefixes: [...network.egressBlocked] },
    hostAccess: network.hostAccess,
    changeTimeout: network.changeTimeout,
    nodeSelector: { ...network.nodeSelector },
  });
}

/** A network as the server hands it out: complete, with its VNI. */
export function networkFromMessage(message: NetworkMessage): Decoded<Network> {
  const network = parseNetwork(networkFields(message));
  return network.ok ? network : wrong("network", message.name, network.error.map(formatProblem).join("; "));
}

/** What a message says of a network, unchecked. Fields that are empty were left out: they get their defaults. */
export function networkFields({ multicast, egressBlocked, ...message }: NetworkMessage): Record<string, unknown> {
  return {
    ...given(message),
    ...(multicast === undefined ? {} : { multicast: given(multicast) }),
    ...(egressBlocked === undefined ? {} : { egressBlocked: egressBlocked.prefixes }),
  };
}

/** The fields of a message that are set; false and empty lists are. */
function given(message: object): Record<string, unknown> {
  const isSet = ([field, value]: [string, unknown]): boolean =>
    !field.startsWith("$") && value !== "" && value !== 0 && value !== undefined;
  return Object.fromEntries(Object.entries(message).filter(isSet));
}

export function blockToMessage({ network, node, cidr, generation }: Block): BlockMessage {
  return create(BlockSchema, { network, node, cidr, generation });
}

export function blockFromMessage({ network, node, cidr, generation }: BlockMessage): Decoded<Block> {
  const prefix = parseCidr(cidr);
  return prefix.ok ? ok({ network, node, cidr: prefix.value, generation }) : wrong("block", cidr, prefix.error);
}

export function networkStateToMessage(state: NetworkState): NetworkStateMessage {
  return create(NetworkStateSchema, {
    network: networkToMessage(state.network),
    effectiveMtu: state.effectiveMtu,
    ...(state.change === undefined ? {} : { change: networkChangeToMessage(state.change) }),
  });
}

export function networkStateFromMessage(message: NetworkStateMessage): Decoded<NetworkState> {
  if (message.network === undefined) return wrong("network state", "", "the network is missing");
  const network = networkFromMessage(message.network);
  if (!network.ok) return network;
  const state = { network: network.value, effectiveMtu: message.effectiveMtu };
  if (message.change === undefined) return ok(state);
  const change = networkChangeFromMessage(message.change);
  return change.ok ? ok({ ...state, change: change.value }) : change;
}

export function nodeToMessage(node: Node): NodeMessage {
  return create(NodeSchema, {
    name: node.name,
    vtepIpv4: node.vtepAddresses.ipv4 ?? "",
    vtepIpv6: node.vtepAddresses.ipv6 ?? "",
    underlayMtu: node.underlayMtu,
    generation: node.generation,
  });
}

export function nodeFromMessage(message: NodeMessage): Decoded<Node> {
  const vteps = vtepAddresses(message);
  if (!vteps.ok) return wrong("node", message.name, vteps.error);
  return ok({
    name: message.name,
    vtepAddresses: vteps.value,
    underlayMtu: message.underlayMtu,
    generation: message.generation,
  });
}

export function nodeSettingsToMessage(name: string, { labels, approved }: NodeSettings): NodeSettingsMessage {
  const { ipv4 = "", ipv6 = "" } = approved;
  return create(NodeSettingsSchema, { name, labels: { ...labels }, approved: { ipv4, ipv6 } });
}

export function nodeSettingsFromMessage({ name, labels, approved }: NodeSettingsMessage): Decoded<NodeSettings> {
  const vteps = vtepAddresses({ vtepIpv4: approved?.ipv4 ?? "", vtepIpv6: approved?.ipv6 ?? "" });
  return vteps.ok ? ok({ labels, approved: vteps.value }) : wrong("settings of node", name, vteps.error);
}

/** The VTEP addresses of a node; an empty text is an absent address. */
function vtepAddresses(message: {
  readonly vtepIpv4: string;
  readonly vtepIpv6: string;
}): Result<VtepAddresses, string> {
  const result: { ipv4?: Ipv4Address; ipv6?: Ipv6Address } = {};
  if (message.vtepIpv4 !== "") {
    const address = parseIp(message.vtepIpv4);
    if (!address.ok) return address;
    if (familyOf(address.value) !== 4) return err(`"${message.vtepIpv4}" is not an IPv4 address`);
    result.ipv4 = address.value as Ipv4Address;
  }
  if (message.vtepIpv6 !== "") {
    const address = parseIp(message.vtepIpv6);
    if (!address.ok) return address;
    if (familyOf(address.value) !== 6) return err(`"${message.vtepIpv6}" is not an IPv6 address`);
    result.ipv6 = address.value as Ipv6Address;
  }
  return ok(result);
}

export function endpointToMessage(endpoint: Endpoint): EndpointMessage {
  return create(EndpointSchema, {
    id: endpoint.id,
    network: endpoint.network,
    node: endpoint.node,
    mac: endpoint.mac,
    ips: [...endpoint.ips],
    attachment: endpoint.attachment,
    sequence: BigInt(endpoint.sequence),
    learntIps: [...(endpoint.learntIps ?? [])],
  });
}

export function endpointFromMessage(message: EndpointMessage): Decoded<Endpoint> {
  const mac = parseMac(message.mac);
  if (!mac.ok) return wrong("endpoint", message.id, mac.error);
  const ips = addresses(message.ips);
  if (!ips.ok) return wrong("endpoint", message.id, ips.error);
  const learntIps = addresses(message.learntIps);
  if (!learntIps.ok) return wrong("endpoint", message.id, learntIps.error);
  if (message.attachment !== "netns" && message.attachment !== "learned")
    return wrong("endpoint", message.id, `unknown attachment "${message.attachment}"`);
  return ok({
    id: message.id,
    network: message.network,
    node: message.node,
    mac: mac.value,
    ips: ips.value,
    attachment: message.attachment,
    sequence: Number(message.sequence),
    ...(learntIps.value.length === 0 ? {} : { learntIps: learntIps.value }),
  });
}

function addresses(texts: readonly string[]): Result<IpAddress[], string> {
  const result: IpAddress[] = [];
  for (const text of texts) {
    const address = parseIp(text);
    if (!address.ok) return address;
    result.push(address.value);
  }
  // A list that grew has room for more; a copy has not, which matters at a hundred thousand endpoints.
  return ok(result.slice());
}

function wrong(kind: string, name: string, reason: string): { readonly ok: false; readonly error: WeftError } {
  return err(new WeftError({ code: "invalid-argument", attempted: `read ${kind} "${name}"`, reason }));
}
