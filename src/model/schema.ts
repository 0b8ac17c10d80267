import { z } from "zod";
import { type Cidr, cidrContains, cidrFamily, parseCidr, prefixLengthOf } from "../base/cidr.ts";
import { familyOf, type IpAddress, type Ipv4Address, type Ipv6Address, parseIp } from "../base/ip.ts";
import { isSameList } from "../base/lists.ts";
import { type MacAddress, parseMac } from "../base/mac.ts";
import { err, ok, type Result } from "../base/result.ts";
import { attachmentKinds } from "./attachment-kind.ts";
import { type Bandwidth, largestBurst, parseRate, type RateLimits, smallestBurst } from "./bandwidth.ts";
import {
  defaultLeaseTime,
  longestLeaseTime,
  maximumServers,
  parseBootFile,
  parseDomain,
  shortestLeaseTime,
} from "./dhcp.ts";
import { dscpAllowed, largestDscp } from "./dscp.ts";
import { defaultEgressBlocked } from "./egress-blocked.ts";
import { defaultEncapsulation, encapsulationNames, encapsulations, maxVni } from "./encapsulation.ts";
import { isUnicastMac } from "./endpoint-mac.ts";
import {
  alreadyRead,
  fields,
  integer,
  isMap,
  labels,
  oneOf,
  parseAddress,
  parseWith,
  type RelationCheck,
  text,
  withoutUndefined,
  yesOrNo,
} from "./fields.ts";
import { maximumMtu, minimumMtu } from "./mtu.ts";
import {
  parseEndpointId,
  parseInterfaceName,
  parseNetworkName,
  parseNodeName,
  parsePeerName,
  parsePodName,
  parsePolicyName,
  parseTenantName,
  type TextParser,
} from "./names.ts";
import { combinationProblems, isUnicastFirstOctet, limitProblems } from "./network-rules.ts";
import { endpointLabels } from "./policy/index.ts";
import { type FieldProblem, fieldProblem } from "./problem.ts";
import type {
  Endpoint,
  FloatingAddress,
  Network,
  NetworkDraft,
  Node,
  NodeSettings,
  Pod,
  Tenant,
  Vni,
} from "./resources.ts";
import { defaultStormControl, sharedStormControl } from "./storm-control.ts";
import { firstUsable, reservedReason } from "./subnet.ts";
import { vtepObstacle } from "./vtep-address.ts";

/** What a node says of itself; the server adds the generation. */
export type NodeDraft = Omit<Node, "generation">;
/** What a node asks for: without a MAC or addresses the server chooses them. */
export type EndpointDraft = Pick<Endpoint, "id" | "network" | "attachment" | "ips" | "labels"> & {
  readonly movable: boolean;
  readonly mac?: MacAddress;
};

/** What a node found behind a port: a MAC, and the addresses seen with it. */
export type LearnedAddress = Pick<Endpoint, "id" | "mac" | "ips">;

const ipv4SubnetAllowed = "an IPv4 prefix of unicast addresses, /8 to /31, such as 10.0.0.0/24";
const ipv6SubnetAllowed =
  "an IPv6 prefix of global unicast (2000::/3) or unique local (fc00::/7) addresses, /48 to /127";

/**
 * A prefix that endpoints can have addresses of. IPv4: at least two usable addresses, so /31 (RFC 3021), and no more than a
 * class A network (/8). IPv6: a site's prefix (/48, RFC 6177) down to the last one with room for two endpoints (/127, RFC 6164).
 */
const parseSubnet: TextParser<Cidr> = (input) => {
  const prefix = parseCidr(input);
  if (!prefix.ok) {
    const meant = /the prefix is (\S+)$/.exec(prefix.error)?.[1];
    if (meant !== undefined) return err(`${meant}, the prefix without host bits`);
    return err("a prefix such as 10.0.0.0/24 or fd00:0:0:1::/64");
  }
  const length = prefixLengthOf(prefix.value);
  if (cidrFamily(prefix.value) === 4) {
    const first = Number(prefix.value.slice(0, prefix.value.indexOf(".")));
    const valid = length >= 8 && length <= 31 && isUnicastFirstOctet(first) && first !== 127;
    return valid ? prefix : err(ipv4SubnetAllowed);
  }
  const valid = length >= 48 && length <= 127 && unicastIpv6.some((range) => range.test(prefix.value));
  return valid ? prefix : err(ipv6SubnetAllowed);
};

/** 2000::/3 and fc00::/7, by the first group of the canonical text. */
const unicastIpv6 = [/^[23][0-9a-f]{3}:/, /^f[cd][0-9a-f]{2}:/];

/** An address at which a tunnel can end; `allowed` says of which kind. */
function parseVtep<Address extends IpAddress>(
  allowed: string,
  isMeant: (address: IpAddress) => boolean,
): TextParser<Address> {
  return (input) => {
    const address = parseIp(input);
    if (!address.ok || !isMeant(address.value)) return err(allowed);
    const obstacle = vtepObstacle(address.value);
    return obstacle === undefined ? ok(address.value as Address) : err(`${allowed}, and ${obstacle}`);
  };
}

const parseIpv4Vtep = parseVtep<Ipv4Address>(
  "an IPv4 address of the node that other nodes reach",
  (address) => familyOf(address) === 4,
);
const parseIpv6Vtep = parseVtep<Ipv6Address>(
  "an IPv6 address of the node that other nodes reach",
  (address) => familyOf(address) === 6,
);
const parseStaticVtep = parseVtep<IpAddress>("an address of a host that nodes reach", () => true);

const parseFloating = parseVtep<IpAddress>("an address of the underlay that no host has", () => true);

const parseUnicastMac: TextParser<MacAddress> = (input) => {
  const address = parseMac(input);
  return address.ok && isUnicastMac(address.value) ? address : err("a unicast MAC address such as 02:00:5e:10:00:01");
};

const vni = integer(1, maxVni, "a VNI").transform((value) => value as Vni);
const listOfSubnets = "a list of one IPv4 prefix, one IPv6 prefix, or one of each";
const subnets = z.array(text(parseSubnet), { error: listOfSubnets }).min(1, { error: listOfSubnets });
const none: [] = [];
const gateways = z
  .array(text(parseAddress), { error: "a list of addresses, at most one of each subnet" })
  // Of most networks there are none, which are kept once.
  .transform((list) => (list.length === 0 ? none : list))
  .default(none);
const blockedPrefix: TextParser<Cidr> = (input) => {
  const prefix = parseCidr(input);
  const valid = prefix.ok && prefixLengthOf(prefix.value) > 0;
  return valid ? prefix : err("a prefix without host bits that is not everything, such as 169.254.0.0/16");
};
const maximumBlocked = 256;
const listOfBlocked = `a list of at most ${maximumBlocked} prefixes`;
const egressBlocked = z
  .array(text(blockedPrefix), { error: listOfBlocked })
  .max(maximumBlocked, { error: listOfBlocked })
  // Most networks have what is usual, which is kept once.
  .transform((prefixes): readonly Cidr[] =>
    isSameList(prefixes, defaultEgressBlocked) ? defaultEgressBlocked : prefixes,
  )
  .default(defaultEgressBlocked);
const maximumPeers = 64;
const listOfPeers = `a list of at most ${maximumPeers} networks of other tenants`;
const peers = z
  .array(text(parsePeerName), { error: listOfPeers })
  .max(maximumPeers, { error: listOfPeers })
  .transform((list) => (list.length === 0 ? none : list))
  .default(none);
const mtu = integer(minimumMtu[4], maximumMtu, "octets of an inner IP packet");
const addresses = z.array(text(parseAddress), { error: "a list of addresses, at most one of each IP family" });
const attachment = oneOf(...attachmentKinds, "learned").default("netns");
const listOfVteps = "a list of VTEP addresses";

const multicastSchema = fields({
  group: text(parseAddress).optional(),
  ttl: integer(1, 255, "hops").default(1),
  interface: text(parseInterfaceName).optional(),
}).transform(withoutUndefined);

/** YAML reads `off` as text. */
const onOrOff = z.preprocess(
  (input) => (input === "on" || input === "off" ? input === "on" : input),
  z.boolean({ error: "on or off, or true or false" }),
);

const framesPerSecond = integer(0, 1_000_000_000, "frames to groups each second, 0 for no limit");
const stormControl = fields({
  port: framesPerSecond.default(defaultStormControl.port),
  network: framesPerSecond.default(defaultStormControl.network),
})
  .transform(sharedStormControl)
  .default(defaultStormControl);

const burst = integer(smallestBurst, largestBurst, "octets that pass at once");
const limits = fields({
  guarantee: text(parseRate).optional(),
  limit: text(parseRate).optional(),
  burst: burst.optional(),
}).transform(withoutUndefined);
/** Nothing asked for in a direction, or in both, is no limit. */
function bandwidthOf<Limits extends z.ZodType<RateLimits>>(limits: Limits) {
  const direction = limits.optional();
  return fields({ send: direction, receive: direction }).transform(({ send, receive }): Bandwidth | undefined => {
    const asked = { ...someOf("send", send), ...someOf("receive", receive) };
    return Object.keys(asked).length === 0 ? undefined : asked;
  });
}
function someOf(direction: keyof Bandwidth, limits: RateLimits | undefined): Bandwidth {
  return limits === undefined || Object.keys(limits).length === 0 ? {} : { [direction]: limits };
}
const bandwidth = bandwidthOf(limits).optional();

/** 0 is what there is without it. */
const dscp = z
  .union(
    [
      z.literal("inherit"),
      z.int({ error: dscpAllowed }).min(0, { error: dscpAllowed }).max(largestDscp, { error: dscpAllowed }),
    ],
    { error: dscpAllowed },
  )
  .transform((codepoint) => (codepoint === 0 ? undefined : codepoint))
  .optional();

const listOfServers = `a list of at most ${maximumServers} addresses`;
const servers = z
  .array(text(parseAddress), { error: listOfServers })
  .max(maximumServers, { error: listOfServers })
  .default([]);
const parseIpv4: TextParser<Ipv4Address> = (input) => {
  const address = parseIp(input);
  return address.ok && familyOf(address.value) === 4 ? ok(address.value as Ipv4Address) : err("an IPv4 address");
};
const dhcp = fields({
  dns: servers,
  domain: text(parseDomain).optional(),
  ntp: servers,
  leaseTime: integer(shortestLeaseTime, longestLeaseTime, "seconds").default(defaultLeaseTime),
  bootServer: text(parseIpv4).optional(),
  bootFile: text(parseBootFile).optional(),
  metadata: yesOrNo.default(false),
})
  .transform(withoutUndefined)
  .optional();

/** Nothing asked for is no selector. */
const nodeSelector = labels
  .transform((selector) => (Object.keys(selector).length === 0 ? undefined : selector))
  .optional();

const tenantSchema = fields({
  name: text(parseTenantName),
  placement: oneOf("own", "host").default("own"),
  nodeSelector,
});

/** A network that was declared is as it is: a later version may judge what can be declared anew. */
const declaredNetworkSchema = fields({
  name: text(parseNetworkName),
  tenant: text(parseTenantName),
  mode: oneOf("l2", "l3").default("l2"),
  encapsulation: oneOf(...encapsulationNames).default(defaultEncapsulation),
  vni: vni.optional(),
  subnets,
  gateways,
  blockSize: integer(4, 65_536, "addresses of a block, a power of two").default(64),
  blockAssignment: oneOf("automatic", "declared").default("automatic"),
  mtu: mtu.optional(),
  // Absent: the port that IANA gave the encapsulation.
  port: integer(0, 65_535, "a UDP port").optional(),
  underlay: oneOf("ipv4", "ipv6").default("ipv4"),
  flood: oneOf("head-end", "groups", "none").default("head-end"),
  // Absent: with control-plane learning.
  arpSuppression: yesOrNo.optional(),
  discovery: oneOf("control-plane", "multicast", "static").default("control-plane"),
  multicast: multicastSchema.optional(),
  vteps: z.array(text(parseAddress), { error: listOfVteps }).default([]),
  // Absent: data-plane unless the control plane discovers.
  learning: oneOf("control-plane", "data-plane").optional(),
  learningLimit: integer(0, 4096, "learned MACs behind one port").default(0),
  ageing: integer(10, 86_400, "seconds").default(300),
  vlanTags: yesOrNo.default(false),
  antiSpoof: onOrOff.default(true),
  stormControl,
  policyDefault: oneOf("allow", "deny").default("allow"),
  dhcp,
  names: yesOrNo.default(false),
  crossSubnet: yesOrNo.default(false),
  egress: yesOrNo.default(false),
  egressBlocked,
  hostAccess: yesOrNo.default(false),
  bandwidth,
  endpointBandwidth: bandwidth,
  dscp,
  nodeSelector,
  gateway: oneOf("distributed", "none")
    .transform((gateway) => (gateway === "none" ? undefined : gateway))
    .optional(),
  peers,
  changeTimeout: integer(1, 3_600, "seconds").default(30),
});
const networkDraftSchema = declaredNetworkSchema.extend({
  vteps: z.array(text(parseStaticVtep), { error: listOfVteps }).default([]),
});
const networkSchema = declaredNetworkSchema.extend({ vni });

const podTitle = "at most 400 characters";
const podNetworks = "a list of networks, one at least";

const floatingAddressSchema = fields({
  name: text(parseFloating),
  network: text(parseNetworkName),
  endpoint: text(parseAddress),
  announce: oneOf("link", "none").default("link"),
});

const podSchema = fields({
  name: text(parsePodName),
  node: text(parseNodeName),
  title: z.string({ error: podTitle }).max(400, { error: podTitle }).default(""),
  networks: z.array(text(parseNetworkName), { error: podNetworks }).min(1, { error: podNetworks }),
  ips: addresses.default([]),
  mac: text(parseUnicastMac).optional(),
  labels: endpointLabels,
  refusal: z.string().max(1_000, { error: "at most 1000 characters" }).optional(),
  managedBy: text(parsePolicyName).optional(),
});

const vtepAddresses = fields({
  ipv4: text(parseIpv4Vtep).optional(),
  ipv6: text(parseIpv6Vtep).optional(),
}).transform(withoutUndefined);

const nodeShape = {
  name: text(parseNodeName),
  vtepAddresses,
  // What a node may begin to say is judged with what it said before: see node-registration.ts.
  underlayMtu: integer(1, 0xffff_ffff, "octets of an underlay IP packet"),
};
const nodeDraftSchema = fields(nodeShape);
const nodeSchema = fields({ ...nodeShape, generation: integer(0, 0xffff_ffff, "a generation") });

const nodeSettingsSchema = fields({
  labels,
  approved: vtepAddresses,
  blocks: z.array(text(parseCidr)).optional(),
});

const endpointDraftSchema = fields({
  id: text(parseEndpointId),
  network: text(parseNetworkName),
  mac: text(parseUnicastMac).optional(),
  ips: addresses.default([]),
  // What was learned is published, not asked for.
  attachment: oneOf(...attachmentKinds).default("netns"),
  labels: endpointLabels,
  movable: z.boolean().default(false),
});
const endpointSchema = fields({
  id: text(parseEndpointId),
  network: text(parseNetworkName),
  node: text(parseNodeName),
  mac: text(parseUnicastMac),
  ips: addresses,
  attachment,
  sequence: integer(0, Number.MAX_SAFE_INTEGER, "a sequence number").default(0),
});

const learnedAddressSchema = fields({
  id: text(parseEndpointId),
  mac: text(parseUnicastMac),
  ips: z.array(text(parseAddress)).max(256, { error: "at most 256 addresses" }),
});

/** Reads a tenant from untrusted input; all problems at once. */
export function parseTenant(input: unknown): Result<Tenant, FieldProblem[]> {
  return parseWith(tenantSchema, input);
}

/** Reads a network whose VNI is chosen already. */
export function parseNetwork(input: unknown): Result<Network, FieldProblem[]> {
  const parsed = parseWith(networkSchema, input, networkProblems);
  return parsed.ok ? complete(parsed.value) : parsed;
}

/** What differs from network to network; in the rest many are alike. */
export interface OwnFields {
  readonly name: string;
  readonly tenant: string;
  readonly vni: number;
  readonly subnets: readonly string[];
  readonly gateways: readonly string[];
}

/**
 * Reads a network that in all other fields is as one that was read before: as {@link parseNetwork} reads all of them, and faster.
 * `undefined`: there are problems, which that one tells.
 */
export function parseNetworkLike(like: Network, own: OwnFields): Network | undefined {
  const name = parseNetworkName(own.name);
  const tenant = parseTenantName(own.tenant);
  const prefixes = parseEach(parseSubnet, own.subnets);
  const routers = own.gateways.length === 0 ? none : parseEach(parseAddress, own.gateways);
  const hasVni = own.vni >= 1 && own.vni <= maxVni;
  if (!name.ok || !tenant.ok || !hasVni || prefixes === undefined || prefixes.length === 0 || routers === undefined)
    return undefined;
  const network: Network = {
    ...like,
    name: name.value,
    tenant: tenant.value,
    vni: own.vni as Vni,
    subnets: prefixes,
    gateways: routers,
  };
  const isSound =
    networkProblems({ ...network }, alreadyRead).length === 0 && combinationProblems(network).length === 0;
  return isSound ? network : undefined;
}

function parseEach<Value>(parse: TextParser<Value>, texts: readonly string[]): Value[] | undefined {
  const parsed = texts.map(parse);
  return parsed.every((each) => each.ok) ? parsed.map(({ value }) => value) : undefined;
}

/** Reads a network whose VNI the server may choose. */
export function parseNetworkDraft(input: unknown): Result<NetworkDraft, FieldProblem[]> {
  const parsed = parseWith(networkDraftSchema, input, networkProblems);
  return parsed.ok ? complete(parsed.value) : parsed;
}

/** Reads a floating address from untrusted input. */
export function parseFloatingAddress(input: unknown): Result<FloatingAddress, FieldProblem[]> {
  return parseWith(floatingAddressSchema, input, floatingAddressProblems);
}

/** Reads a pod from untrusted input. */
export function parsePod(input: unknown): Result<Pod, FieldProblem[]> {
  return parseWith(podSchema, input);
}

/** The defaults that follow from other fields, and whether all fields go together. */
function complete<Draft extends Pick<Network, "encapsulation" | "discovery"> & Partial<Network>>(
  draft: Draft,
): Result<Draft & Pick<Network, "port" | "learning" | "arpSuppression">, FieldProblem[]> {
  const learning = draft.learning ?? (draft.discovery === "control-plane" ? "control-plane" : "data-plane");
  const value = {
    ...draft,
    port: draft.port ?? encapsulations[draft.encapsulation].port,
    learning,
    arpSuppression: draft.arpSuppression ?? learning === "control-plane",
    ...(draft.discovery === "multicast" ? { multicast: draft.multicast ?? { ttl: 1 } } : {}),
    ...(draft.gateway === "distributed" && draft.mode === "l2" ? { gateways: gatewaysOf(draft) } : {}),
  };
  const problems = combinationProblems(value as unknown as NetworkDraft);
  return problems.length === 0 ? ok(value) : err(problems);
}

/** A router on each node has an address of each subnet: the one that is named, or the first that is usable. */
function gatewaysOf({ subnets = [], gateways = [] }: Partial<Network>): readonly IpAddress[] {
  const unserved = subnets.filter((subnet) => !gateways.some((gateway) => cidrContains(subnet, gateway)));
  return [...gateways, ...unserved.map((subnet) => firstUsable(subnet))];
}

/** What one endpoint is attached with. `undefined`: nothing is asked for. */
export function parseBandwidth(input: unknown): Result<Bandwidth | undefined, FieldProblem[]> {
  const parsed = parseWith(fields({ bandwidth }), { bandwidth: input });
  if (!parsed.ok) return parsed;
  const problems = [...limitProblems(parsed.value.bandwidth, ["bandwidth"])];
  return problems.length === 0 ? ok(parsed.value.bandwidth) : err(problems);
}

export function parseNode(input: unknown): Result<Node, FieldProblem[]> {
  return parseWith(nodeSchema, input, nodeProblems);
}

export function parseNodeDraft(input: unknown): Result<NodeDraft, FieldProblem[]> {
  return parseWith(nodeDraftSchema, input, nodeProblems);
}

export function parseNodeSettings(input: unknown): Result<NodeSettings, FieldProblem[]> {
  return parseWith(nodeSettingsSchema, input);
}

export function parseEndpoint(input: unknown): Result<Endpoint, FieldProblem[]> {
  return parseWith(endpointSchema, input, endpointProblems);
}

export function parseEndpointDraft(input: unknown): Result<EndpointDraft, FieldProblem[]> {
  return parseWith(endpointDraftSchema, input, endpointProblems);
}

export function parseLearnedAddress(input: unknown): Result<LearnedAddress, FieldProblem[]> {
  return parseWith(learnedAddressSchema, input);
}

const networkProblems: RelationCheck = (input, read) => {
  const prefixes = read(subnets, input.subnets);
  if (prefixes === undefined) return [];
  const problems: FieldProblem[] = [];
  prefixes.forEach((prefix, index) => {
    const family = cidrFamily(prefix);
    if (prefixes.findIndex((other) => cidrFamily(other) === family) < index)
      problems.push(fieldProblem(["subnets", index], `${prefix}, one more IPv${family} prefix`, listOfSubnets));
  });
  const routers = read(gateways, input.gateways);
  if (routers !== undefined) problems.push(...gatewayProblems(routers, prefixes));
  const size = read(mtu, input.mtu);
  if (size !== undefined && size < minimumMtu[6] && prefixes.some((prefix) => cidrFamily(prefix) === 6)) {
    const allowed = `${minimumMtu[6]} or more with an IPv6 subnet (RFC 8200 §5)`;
    problems.push(fieldProblem(["mtu"], String(size), allowed));
  }
  return problems;
};

function gatewayProblems(routers: readonly IpAddress[], prefixes: readonly Cidr[]): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const served = new Set<Cidr>();
  routers.forEach((gateway, index) => {
    const path = ["gateways", index];
    const subnet = prefixes.find((prefix) => cidrContains(prefix, gateway));
    if (subnet === undefined) {
      problems.push(fieldProblem(path, gateway, `an address in ${prefixes.join(" or ")}`));
      return;
    }
    const reserved = reservedReason(subnet, gateway);
    if (reserved !== undefined)
      problems.push(fieldProblem(path, `${gateway}, ${reserved}`, `an address that a host in ${subnet} can have`));
    else if (served.has(subnet))
      problems.push(fieldProblem(path, `${gateway}, one more in ${subnet}`, "at most one gateway of each subnet"));
    else served.add(subnet);
  });
  return problems;
}

const floatingAddressProblems: RelationCheck = ({ name, endpoint }) => {
  const [outside, inside] = [name, endpoint].map((each) => text(parseAddress).safeParse(each));
  if (outside?.success !== true || inside?.success !== true) return [];
  const family = familyOf(outside.data);
  if (familyOf(inside.data) === family) return [];
  return [fieldProblem(["endpoint"], inside.data, `an IPv${family} address, as the floating address is one`)];
};

const nodeProblems: RelationCheck = ({ vtepAddresses }) =>
  isMap(vtepAddresses) && vtepAddresses.ipv4 === undefined && vtepAddresses.ipv6 === undefined
    ? [fieldProblem(["vtepAddresses"], "neither ipv4 nor ipv6", "one of them at least")]
    : [];

const endpointProblems: RelationCheck = (input, read) => {
  const ips = read(addresses, input.ips);
  // What was learned has as many addresses as were seen.
  if (ips === undefined || input.attachment === "learned") return [];
  const problems: FieldProblem[] = [];
  // A draft's addresses may be yet to be chosen; an endpoint's node says that they are.
  if (ips.length === 0 && input.node !== undefined)
    problems.push(fieldProblem(["ips"], "an empty list", "one address at least"));
  ips.forEach((address, index) => {
    const family = familyOf(address);
    if (ips.findIndex((other) => familyOf(other) === family) < index)
      problems.push(
        fieldProblem(["ips", index], `${address}, one more IPv${family} address`, "at most one of each IP family"),
      );
  });
  return problems;
};
