import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { parseCidr } from "../base/cidr.ts";
import { familyOf, type IpAddress, parseIp } from "../base/ip.ts";
import { parseMac } from "../base/mac.ts";
import { err, ok, type Result } from "../base/result.ts";
import { isAttachmentKind } from "../model/attachment-kind.ts";
import {
  isNodePeer,
  isSubnetPeer,
  type Policy,
  type PolicyMember,
  type PolicyPeer,
  type PolicyRule,
  parseEndpointLabels,
  parsePolicy,
} from "../model/policy/index.ts";
import { formatProblem } from "../model/problem.ts";
import type {
  Block,
  Endpoint,
  FloatingAddress,
  Network,
  NetworkDraft,
  Node,
  Pod,
  Tenant,
  VtepAddresses,
} from "../model/resources.ts";
import { parseFloatingAddress, parseNetwork, parsePod, parseTenant } from "../model/schema.ts";
import { isTakeOverMoment, type OfferedPort, type Standby, type StandbyPlace } from "../model/standby.ts";
import { asFields, type Codec, checked, codec, given, wrong } from "./codec.ts";
import {
  BlockSchema,
  EndpointSchema,
  FloatingAddressSchema,
  NetworkSchema,
  NodeSchema,
  type Place as PlaceMessage,
  PodSchema,
  PolicyMemberSchema,
  type PolicyPeer as PolicyPeerMessage,
  type PolicyPeerSchema,
  type PolicyRule as PolicyRuleMessage,
  type PolicyRuleSchema,
  PolicySchema,
  type Port as PortMessage,
  type Standby as StandbyMessage,
  type Tap as TapMessage,
  TenantSchema,
} from "./generated/weft/v1/resources_pb.js";
import { sharingDecoder } from "./network-octets.ts";

/**
 * Who is told of a resource: `hosts`: the nodes that host its network. `owner`: the node that it is on. `neighbours`: that
 * node, and all that share a network with it. `tenant-hosts`: the nodes that have something in a network of its tenant. Administrators may see everything.
 */
export type Audience = "administrators" | "hosts" | "owner" | "neighbours" | "tenant-hosts";

/** One kind of resource. Server, agents and commands do what they do with all kinds from these records. */
interface Kind<Value, Desc extends DescMessage, Draft = Value> extends Codec<Value, Desc, Draft> {
  /** What its keys in the server's store begin with: `/FOLDER/` and the names. */
  readonly folder: string;
  /** `network`: the one that it is in. */
  seenBy(network?: Network): Audience;
}

/** One that operators declare. */
interface Declared<Value, Desc extends DescMessage, Draft = Value> extends Kind<Value, Desc, Draft> {
  /** What a message says, unchecked, for the parser of the kind. */
  fieldsOf(message: MessageShape<Desc>): Record<string, unknown>;
}

const tenant: Declared<Tenant, typeof TenantSchema> = {
  folder: "tenants",
  seenBy: () => "administrators",
  fieldsOf: given,
  ...codec(TenantSchema, asFields, (message) => checked("tenant", message.name, parseTenant(given(message)))),
};

const networkCodec: Codec<Network, typeof NetworkSchema, NetworkDraft> = codec(
  NetworkSchema,
  ({ egressBlocked: prefixes, dscp, ...fields }: NetworkDraft) =>
    asFields({ ...fields, egressBlocked: { prefixes }, dscp: `${dscp ?? ""}` }),
  (message) => checked("network", message.name, parseNetwork(network.fieldsOf(message))),
);

/** Its message has the fields of the model, by the same names. Also without a VNI, which the server is to choose then. */
const network: Declared<Network, typeof NetworkSchema, NetworkDraft> = {
  folder: "networks",
  seenBy: () => "hosts",
  // In a message a list cannot be absent.
  fieldsOf: ({ egressBlocked, stormControl, dscp, ...message }) => ({
    ...given(message),
    ...(dscp === "" ? {} : { dscp: /^\d+$/.test(dscp) ? Number(dscp) : dscp }),
    // In it 0 is said, and means something.
    ...(stormControl === undefined ? {} : { stormControl: { port: stormControl.port, network: stormControl.network } }),
    ...(egressBlocked === undefined ? {} : { egressBlocked: egressBlocked.prefixes }),
  }),
  ...networkCodec,
  // Server and agents keep many.
  decode: sharingDecoder(networkCodec.decode),
};

const node: Kind<Node, typeof NodeSchema> = {
  folder: "nodes",
  seenBy: () => "neighbours",
  ...codec(
    NodeSchema,
    ({ vtepAddresses: { ipv4 = "", ipv6 = "" }, ...fields }) => ({ ...fields, vtepIpv4: ipv4, vtepIpv6: ipv6 }),
    ({ name, vtepIpv4, vtepIpv6, underlayMtu, generation }) => {
      const vteps = vtepsFromMessage({ ipv4: vtepIpv4, ipv6: vtepIpv6 });
      return vteps.ok
        ? ok({ name, vtepAddresses: vteps.value, underlayMtu, generation })
        : wrong("node", name, vteps.error);
    },
  ),
};

/** Nodes hear of it with the endpoint that it stands for. */
const floatingAddress: Declared<FloatingAddress, typeof FloatingAddressSchema> = {
  folder: "floating-addresses",
  seenBy: () => "administrators",
  fieldsOf: given,
  ...codec(FloatingAddressSchema, asFields, (message) =>
    checked("floating-address", message.name, parseFloatingAddress(given(message))),
  ),
};

const pod: Declared<Pod, typeof PodSchema> = {
  folder: "pods",
  seenBy: () => "owner",
  fieldsOf: given,
  ...codec(PodSchema, asFields, (message) => checked("pod", message.name, parsePod(given(message)))),
};

/** Of an l3 network its node has it alone, the others have the block that it is in; unless all are to know its name. */
const endpoint: Kind<Endpoint, typeof EndpointSchema> = {
  folder: "endpoints",
  seenBy: (of) => (of?.mode === "l3" && !of.names ? "owner" : "hosts"),
  ...codec(
    EndpointSchema,
    (value) => asFields({ ...value, sequence: BigInt(value.sequence) }),
    (message) => {
      const { id, network, node, attachment } = message;
      const mac = parseMac(message.mac);
      if (!mac.ok) return wrong("endpoint", id, mac.error);
      const ips = addresses(message.ips);
      if (!ips.ok) return wrong("endpoint", id, ips.error);
      const learnedIps = addresses(message.learnedIps);
      if (!learnedIps.ok) return wrong("endpoint", id, learnedIps.error);
      const labels = parseEndpointLabels(message.labels);
      if (!labels.ok) return wrong("endpoint", id, labels.error.map(formatProblem).join("; "));
      const floating: FloatingAddress[] = [];
      for (const each of message.floatingAddresses) {
        const read = floatingAddress.fromMessage(each);
        if (!read.ok) return read;
        floating.push(read.value);
      }
      if (!isAttachmentKind(attachment)) return wrong("endpoint", id, `unknown attachment "${attachment}"`);
      const standby = message.standby === undefined ? undefined : standbyFromMessage(message.standby);
      if (standby?.ok === false) return wrong("endpoint", id, standby.error);
      return ok({
        id,
        network,
        node,
        mac: mac.value,
        ips: ips.value,
        attachment,
        sequence: Number(message.sequence),
        ...(learnedIps.value.length === 0 ? {} : { learnedIps: learnedIps.value }),
        ...(labels.value === undefined ? {} : { labels: labels.value }),
        ...(floating.length === 0 ? {} : { floatingAddresses: floating }),
        ...(standby === undefined ? {} : { standby: standby.value }),
        ...(message.formerNodes.length === 0 ? {} : { formerNodes: message.formerNodes }),
        ...(message.movable ? { movable: true as const } : {}),
      });
    },
  ),
};

function standbyFromMessage({ node, when, port, place, fromDead }: StandbyMessage): Result<Standby, string> {
  if (!isTakeOverMoment(when)) return err(`unknown moment of taking over "${when}"`);
  return ok({
    node,
    when,
    ...(port === undefined ? {} : { port: offeredPort(port) }),
    ...(place === undefined ? {} : { place: standbyPlace(place) }),
    ...(fromDead ? { fromDead } : {}),
  });
}

/** As {@link offeredPort}. */
export function standbyPlace({ netns, interface: name, device }: PlaceMessage): StandbyPlace {
  return { netns, interface: name, device };
}

/** As it was said: it is checked by whoever attaches an endpoint so. */
export function offeredPort({ tap, bandwidth, allowedAddresses, ...rest }: PortMessage): OfferedPort {
  const { netns, interface: name, routePriority, device } = rest;
  return {
    ...{ netns, interface: name, routePriority, device },
    ...(tap === undefined ? {} : { tap: { multiQueue: tap.multiQueue, ...numbersOf(tap) } }),
    ...(bandwidth === undefined ? {} : { bandwidth: given(bandwidth) }),
    allowedAddresses: allowedAddresses.map(({ prefix, mac }) => ({ prefix, mac })),
  };
}

function numbersOf({ owner, group }: TapMessage): { readonly owner?: number; readonly group?: number } {
  return { ...(owner === undefined ? {} : { owner }), ...(group === undefined ? {} : { group }) };
}

const policy: Declared<Policy, typeof PolicySchema> = {
  folder: "policies",
  seenBy: () => "tenant-hosts",
  fieldsOf: ({ priority, isolates, rules, ...message }) => ({
    ...filled(message),
    // 0, and nothing isolated, are said, and mean something.
    ...(priority === undefined ? {} : { priority }),
    ...(isolates === undefined ? {} : { isolates: isolates.directions }),
    rules: rules.map(ruleFields),
  }),
  ...codec(
    PolicySchema,
    ({ isolates, rules, endpoints, ...fields }: Policy) => ({
      ...asFields(fields),
      endpoints: endpoints ?? "",
      isolates: { directions: [...isolates] },
      rules: rules.map(ruleMessage),
    }),
    (message) => checked("policy", message.name, parsePolicy(policy.fieldsOf(message))),
  ),
};

function ruleMessage({ peers, ports, ...rule }: PolicyRule): MessageInitShape<typeof PolicyRuleSchema> {
  return { ...rule, peers: peers.map(peerMessage), ports: ports.map((port) => asFields(port)) };
}

function peerMessage(peer: PolicyPeer): MessageInitShape<typeof PolicyPeerSchema> {
  if (isNodePeer(peer)) return peer;
  if (isSubnetPeer(peer)) return { subnet: peer.subnet, except: [...peer.except] };
  return { endpoints: peer.endpoints ?? "", networks: [...peer.networks] };
}

function ruleFields({ peers, ports, ...rule }: PolicyRuleMessage): object {
  return filled({ ...rule, peers: peers.map(peerFields), ports: ports.map(filled) });
}

/** One that says nothing is all endpoints of the tenant. */
function peerFields({ endpoints, subnet, node, ...lists }: PolicyPeerMessage): object {
  const isOther = subnet !== "" || node !== "";
  return { ...filled({ subnet, node, ...lists }), ...(isOther && endpoints === "" ? {} : { endpoints }) };
}

/** What is given, without empty lists: in a message a list cannot be absent. */
function filled(message: object): object {
  const entries = Object.entries(given(message));
  return Object.fromEntries(entries.filter(([, value]) => !Array.isArray(value) || value.length > 0));
}

/** In no store: what is told of an endpoint to nodes that need not host its network. */
export const policyMember: Codec<PolicyMember, typeof PolicyMemberSchema> = codec(
  PolicyMemberSchema,
  asFields,
  (message) => {
    const { id, tenant, network } = message;
    const ips = addresses(message.ips);
    if (!ips.ok) return wrong("policy member", id, ips.error);
    const labels = parseEndpointLabels(message.labels);
    if (!labels.ok) return wrong("policy member", id, labels.error.map(formatProblem).join("; "));
    return ok({ id, tenant, network, ips: ips.value, labels: labels.value ?? {} });
  },
);

/** In the store without the names, and with what {@link Block} does not say. */
const block: Omit<Kind<Block, typeof BlockSchema>, "folder"> = {
  seenBy: () => "hosts",
  ...codec(BlockSchema, asFields, ({ network, node, cidr, generation }) => {
    const prefix = parseCidr(cidr);
    return prefix.ok ? ok({ network, node, cidr: prefix.value, generation }) : wrong("block", cidr, prefix.error);
  }),
};

export const kinds = {
  tenant,
  network,
  policy,
  "floating-address": floatingAddress,
  pod,
  node,
  endpoint,
  block,
} as const;

type Kinds = typeof kinds;
type ValueOf<K extends keyof Kinds> = Parameters<Kinds[K]["toMessage"]>[0];
/** As protobuf writes a kind in code. */
type CaseName<K extends string> = K extends `${infer First}-${infer Second}` ? `${First}${Capitalize<Second>}` : K;
type CaseOf<K extends keyof Kinds> = K extends unknown
  ? { case: CaseName<K>; value: ReturnType<Kinds[K]["toMessage"]> }
  : never;
type KindOf<Name> = { [K in keyof Kinds]: CaseName<K> extends Name ? K : never }[keyof Kinds];

/** A resource in the `oneof` of a message: its cases have the names of the kinds. */
export function asCase<K extends keyof Kinds>(kind: K, value: ValueOf<K>): CaseOf<K> {
  const toMessage = kinds[kind].toMessage as (value: ValueOf<K>) => unknown;
  return { case: kind.replace(/-(.)/, (_, letter) => letter.toUpperCase()), value: toMessage(value) } as CaseOf<K>;
}

/** The kind that a case is of. */
export function kindOfCase<Name extends CaseName<keyof Kinds>>(name: Name): KindOf<Name> {
  return name.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`) as KindOf<Name>;
}

/** The VTEP addresses of a node; an empty text is an absent address. */
export function vtepsFromMessage(message: {
  readonly ipv4: string;
  readonly ipv6: string;
}): Result<VtepAddresses, string> {
  const result: Record<string, IpAddress> = {};
  for (const family of ["ipv4", "ipv6"] as const) {
    const text = message[family];
    if (text === "") continue;
    const address = parseIp(text);
    if (!address.ok) return address;
    if (`ipv${familyOf(address.value)}` !== family) return err(`"${text}" is not an IP${family.slice(2)} address`);
    result[family] = address.value;
  }
  return ok(result as VtepAddresses);
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
