import { z } from "zod";
import { type Cidr, cidrContains, cidrFamily, parseCidr, prefixLengthOf } from "../base/cidr.ts";
import { familyOf, type IpAddress, type Ipv4Address, type Ipv6Address, parseIp } from "../base/ip.ts";
import { isSameList } from "../base/lists.ts";
import { type MacAddress, parseMac } from "../base/mac.ts";
import { err, ok, type Result } from "../base/result.ts";
import { type Bandwidth, largestBurst, parseRate, type RateLimits, smallestBurst } from "./bandwidth.ts";
import { defaultEgressBlocked } from "./egress-blocked.ts";
import { defaultEncapsulation, encapsulationNames, encapsulations, maxVni } from "./encapsulation.ts";
import { isUnicastMac } from "./endpoint-mac.ts";
import { maximumMtu, minimumMtu } from "./mtu.ts";
import {
  parseEndpointId,
  parseInterfaceName,
  parseNetworkName,
  parseNodeName,
  parseTenantName,
  type TextParser,
} from "./names.ts";
import { combinationProblems, isUnicastFirstOctet, limitProblems } from "./network-rules.ts";
import { describeFound, type FieldProblem, fieldProblem } from "./problem.ts";
import type { Endpoint, Network, NetworkDraft, Node, NodeSettings, Tenant, Vni } from "./resources.ts";
import { defaultStormControl, sharedStormControl } from "./storm-control.ts";
import { firstUsable, reservedReason } from "./subnet.ts";
import { vtepObstacle } from "./vtep-address.ts";

/** What a node says of itself; the server adds the generation. */
export type NodeDraft = Omit<Node, "generation">;
/** What a node asks for: without a MAC or addresses the server chooses them. */
export type EndpointDraft = Pick<Endpoint, "id" | "network" | "attachment" | "ips"> & { readonly mac?: MacAddress };

/** What a node found behind a port: a MAC, and the addresses seen with it. */
export type LearnedAddress = Pick<Endpoint, "id" | "mac" | "ips">;

// In these schemas the error text of every check is what is allowed; what was found is added from the input.

/** A text field; the parser's error says what is allowed. */
function text<Value>(parse: TextParser<Value>) {
  return z.unknown().transform((input, context): Value => {
    const parsed = parse(typeof input === "string" ? input : "");
    if (typeof input === "string" && parsed.ok) return parsed.value;
    const allowed = parsed.ok ? "text" : parsed.error;
    // YAML reads an unquoted 100 or true as no text.
    const quotes = typeof input === "number" || typeof input === "boolean" ? ", in quotes" : "";
    context.addIssue({ code: "custom", message: allowed + quotes });
    return z.NEVER;
  });
}

function integer(minimum: number, maximum: number, meaning: string) {
  const error = `${meaning}, ${minimum} to ${maximum}`;
  return z.int({ error }).min(minimum, { error }).max(maximum, { error });
}

function oneOf<const Value extends string>(...values: Value[]) {
  return z.enum(values, { error: values.join(" or ") });
}

/** A map of these fields and no others. */
function fields<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, { error: `the fields ${Object.keys(shape).join(", ")}` });
}

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

const parseAddress: TextParser<IpAddress> = (input) => {
  const address = parseIp(input);
  return address.ok ? address : err("an IPv4 or IPv6 address without a prefix length");
};

const parseUnicastMac: TextParser<MacAddress> = (input) => {
  const address = parseMac(input);
  return address.ok && isUnicastMac(address.value) ? address : err("a unicast MAC address such as 02:00:5e:10:00:01");
};

const parseLabelName: TextParser<string> = (input) =>
  input.length <= 128 && /^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/.test(input) ? ok(input) : err(labelAllowed);
const labelAllowed =
  "labels, each a name of 1 to 128 letters, digits, dots, slashes, hyphens and underscores with a text of at most 255 characters";
const parseLabelValue: TextParser<string> = (input) =>
  input.length <= 255 && !/\p{Cc}/u.test(input) ? ok(input) : err("at most 255 characters without control characters");

const vni = integer(1, maxVni, "a VNI").transform((value) => value as Vni);
const listOfSubnets = "a list of one IPv4 prefix, one IPv6 prefix, or one of each";
const subnets = z.array(text(parseSubnet), { error: listOfSubnets }).min(1, { error: listOfSubnets });
const gateways = z.array(text(parseAddress), { error: "a list of addresses, at most one of each subnet" }).default([]);
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
const mtu = integer(minimumMtu[4], maximumMtu, "octets of an inner IP packet");
const addresses = z.array(text(parseAddress), { error: "a list of addresses, at most one of each IP family" });
const attachment = oneOf("netns", "learned").default("netns");
const listOfVteps = "a list of VTEP addresses";

const multicastSchema = fields({
  group: text(parseAddress).optional(),
  ttl: integer(1, 255, "hops").default(1),
  interface: text(parseInterfaceName).optional(),
}).transform(withoutUndefined);

const yesOrNo = z.boolean({ error: "true or false" });
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
const networkLimits = fields({ limit: text(parseRate), burst: burst.optional() }).transform(withoutUndefined);
const endpointLimits = fields({
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
const networkBandwidth = bandwidthOf(networkLimits).optional();
const endpointBandwidth = bandwidthOf(endpointLimits).optional();

const labels = z.record(text(parseLabelName), text(parseLabelValue), { error: labelAllowed });
/** Nothing asked for is no selector. */
const nodeSelector = labels
  .transform((selector) => (Object.keys(selector).length === 0 ? undefined : selector))
  .optional();

const tenantSchema = fields({
  name: text(parseTenantName),
  placement: oneOf("own").default("own"),
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
  mtu: mtu.optional(),
  // Absent: the port that IANA gave the encapsulation.
  port: integer(0, 65_535, "a UDP port").optional(),
  underlay: oneOf("ipv4", "ipv6").default("ipv4"),
  flood: oneOf("head-end", "none").default("head-end"),
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
  crossSubnet: yesOrNo.default(false),
  egress: yesOrNo.default(false),
  egressBlocked,
  hostAccess: yesOrNo.default(false),
  bandwidth: networkBandwidth,
  endpointBandwidth,
  nodeSelector,
  gateway: oneOf("distributed", "none")
    .transform((gateway) => (gateway === "none" ? undefined : gateway))
    .optional(),
  changeTimeout: integer(1, 3_600, "seconds").default(30),
});
const networkDraftSchema = declaredNetworkSchema.extend({
  vteps: z.array(text(parseStaticVtep), { error: listOfVteps }).default([]),
});
const networkSchema = declaredNetworkSchema.extend({ vni });

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
});

const endpointDraftSchema = fields({
  id: text(parseEndpointId),
  network: text(parseNetworkName),
  mac: text(parseUnicastMac).optional(),
  ips: addresses.default([]),
  // What was learned is published, not asked for.
  attachment: oneOf("netns").default("netns"),
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

/** Reads a network whose VNI the server may choose. */
export function parseNetworkDraft(input: unknown): Result<NetworkDraft, FieldProblem[]> {
  const parsed = parseWith(networkDraftSchema, input, networkProblems);
  return parsed.ok ? complete(parsed.value) : parsed;
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
  const parsed = parseWith(fields({ bandwidth: endpointBandwidth }), { bandwidth: input });
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

/** Checks between fields see the raw input, so that they work beside problems of other fields. */
type RelationCheck = (input: Readonly<Record<string, unknown>>) => FieldProblem[];

type Exact<Type> = { [Key in keyof Type]: Exclude<Type[Key], undefined> };

/** Fields that are absent are not there at all; zod leaves `undefined` for those given as `undefined`. */
function withoutUndefined<Type extends object>(value: Type): Exact<Type> {
  const present = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(present) as Exact<Type>;
}

function parseWith<Output extends object>(
  schema: z.ZodType<Output>,
  input: unknown,
  relations: RelationCheck = () => [],
): Result<Exact<Output>, FieldProblem[]> {
  const parsed = schema.safeParse(input);
  const problems = parsed.success ? [] : parsed.error.issues.flatMap((issue) => problemsOf(issue, input));
  if (isMap(input)) problems.push(...relations(input));
  if (!parsed.success || problems.length > 0) return err(problems);
  return ok(withoutUndefined(parsed.data));
}

function problemsOf(issue: z.core.$ZodIssue, input: unknown): FieldProblem[] {
  const path = issue.path.map((part) => (typeof part === "number" ? part : String(part)));
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => fieldProblem([...path, key], "a field of this name", issue.message));
  if (issue.code === "invalid_key") return [fieldProblem(path, "a label of this name", issue.message)];
  return [fieldProblem(path, describeFound(valueAt(input, path)), issue.message)];
}

function valueAt(input: unknown, path: readonly (string | number)[]): unknown {
  let value = input;
  for (const part of path) value = isMap(value) && Object.hasOwn(value, part) ? value[part] : undefined;
  return value;
}

function isMap(value: unknown): value is Readonly<Record<string | number, unknown>> {
  return typeof value === "object" && value !== null;
}

const networkProblems: RelationCheck = (input) => {
  const prefixes = subnets.safeParse(input.subnets);
  if (!prefixes.success) return [];
  const problems: FieldProblem[] = [];
  prefixes.data.forEach((prefix, index) => {
    const family = cidrFamily(prefix);
    if (prefixes.data.findIndex((other) => cidrFamily(other) === family) < index)
      problems.push(fieldProblem(["subnets", index], `${prefix}, one more IPv${family} prefix`, listOfSubnets));
  });
  const routers = gateways.safeParse(input.gateways);
  if (routers.success) problems.push(...gatewayProblems(routers.data, prefixes.data));
  const size = mtu.safeParse(input.mtu);
  if (size.success && size.data < minimumMtu[6] && prefixes.data.some((prefix) => cidrFamily(prefix) === 6)) {
    const allowed = `${minimumMtu[6]} or more with an IPv6 subnet (RFC 8200 §5)`;
    problems.push(fieldProblem(["mtu"], String(size.data), allowed));
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

const nodeProblems: RelationCheck = ({ vtepAddresses }) =>
  isMap(vtepAddresses) && vtepAddresses.ipv4 === undefined && vtepAddresses.ipv6 === undefined
    ? [fieldProblem(["vtepAddresses"], "neither ipv4 nor ipv6", "one of them at least")]
    : [];

const endpointProblems: RelationCheck = (input) => {
  const ips = addresses.safeParse(input.ips);
  // What was learned has as many addresses as were seen.
  if (!ips.success || input.attachment === "learned") return [];
  const problems: FieldProblem[] = [];
  // A draft's addresses may be yet to be chosen; an endpoint's node says that they are.
  if (ips.data.length === 0 && input.node !== undefined)
    problems.push(fieldProblem(["ips"], "an empty list", "one address at least"));
  ips.data.forEach((address, index) => {
    const family = familyOf(address);
    if (ips.data.findIndex((other) => familyOf(other) === family) < index)
      problems.push(
        fieldProblem(["ips", index], `${address}, one more IPv${family} address`, "at most one of each IP family"),
      );
  });
  return problems;
};
