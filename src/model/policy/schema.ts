import { z } from "zod";
import { type Cidr, cidrContains, networkAddress, parseCidr, prefixLengthOf } from "../../base/cidr.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { fields, integer, oneOf, parseLabelName, parseWith, text, withoutUndefined } from "../fields.ts";
import { parseNetworkName, parsePolicyName, parseTenantName, type TextParser } from "../names.ts";
import { type FieldProblem, fieldProblem } from "../problem.ts";
import { isLabelValue, type Labels, parseLabelSelector } from "./label-selector.ts";
import {
  hasPorts,
  hasTypes,
  isNodePeer,
  isSubnetPeer,
  type Policy,
  type PolicyPeer,
  type PolicyPort,
  type PolicyRule,
  policyDirections,
  portRange,
  protocolNumber,
  protocolNumbers,
} from "./policy.ts";

const mostRules = 10_000;
const mostOfRule = 1_000;
const mostNetworks = 1_000;

const portsAllowed = 'destination ports, such as 443 or "8000-8100"';
const parsePorts: TextParser<string> = (input) => {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(input);
  if (match === null) return err(portsAllowed);
  const [first, last] = portRange(input);
  if (last > 65_535 || first > last) return err(portsAllowed);
  return ok(first === last ? String(first) : `${first}-${last}`);
};

const protocolAllowed = `${Object.keys(protocolNumbers).join(", ")}, or the number of an IP protocol, 0 to 255`;
/** Of a policy or a question: what has a name is called by it. */
export const parseProtocol: TextParser<string> = (input) => {
  if (Object.hasOwn(protocolNumbers, input)) return ok(input);
  if (!/^\d{1,3}$/.test(input) || Number(input) > 255) return err(protocolAllowed);
  const named = Object.keys(protocolNumbers).find((name) => protocolNumbers[name] === Number(input));
  return ok(named ?? String(Number(input)));
};

const parsePrefix: TextParser<Cidr> = (input) => {
  const prefix = parseCidr(input);
  return prefix.ok ? prefix : err("a prefix without host bits, such as 10.0.0.0/8");
};

/** YAML has a port, or a protocol, as a number. */
function numberOrText(parse: TextParser<string>) {
  return z.preprocess((input) => (typeof input === "number" ? String(input) : input), text(parse));
}

/** What is named at all is not nothing: an empty list would read as nobody, and mean everybody. */
function listOf<Item extends z.ZodType>(item: Item, most: number, what: string) {
  const error = `a list of 1 to ${most} ${what}; leave it out for all`;
  return z.array(item, { error }).min(1, { error }).max(most, { error }).optional();
}

const selector = text(parseLabelSelector).optional();
const networks = listOf(text(parseNetworkName), mostNetworks, "networks");
const except = z.array(text(parsePrefix), { error: "a list of prefixes" }).default([]);
const peer = fields({
  endpoints: selector,
  networks,
  subnet: text(parsePrefix).optional(),
  except,
  node: oneOf("own").optional(),
});
const port = fields({
  protocol: numberOrText(parseProtocol),
  ports: listOf(numberOrText(parsePorts), mostOfRule, "ports"),
  types: listOf(integer(0, 255, "a type of ICMP message"), 256, "types"),
});
const direction = oneOf("ingress", "egress");
const rule = fields({
  name: text(parsePolicyName).optional(),
  direction,
  action: oneOf("allow", "deny", "log"),
  peers: listOf(peer, mostOfRule, "peers"),
  ports: listOf(port, mostOfRule, "protocols"),
});
const rulesError = `a list of at most ${mostRules} rules`;

const policySchema = fields({
  name: text(parsePolicyName),
  tenant: text(parseTenantName),
  priority: integer(0, 65_535, "a priority").default(1_000),
  networks,
  endpoints: selector,
  isolates: z.array(direction, { error: "a list of ingress, egress" }).optional(),
  rules: z.array(rule, { error: rulesError }).max(mostRules, { error: rulesError }).default([]),
  managedBy: text(parsePolicyName).optional(),
});

type ReadPolicy = z.output<typeof policySchema>;

/** Reads a policy from untrusted input; all problems at once. */
export function parsePolicy(input: unknown): Result<Policy, FieldProblem[]> {
  const parsed = parseWith(policySchema, input);
  if (!parsed.ok) return parsed;
  const problems: FieldProblem[] = [];
  const rules = parsed.value.rules.map((read, index) => ruleOf(read, index, problems));
  const names = new Set<string>();
  rules.forEach(({ name }, index) => {
    if (names.has(name)) problems.push(fieldProblem(["rules", index, "name"], name, "a name that no other rule has"));
    names.add(name);
  });
  if (problems.length > 0) return err(problems);
  const { isolates, networks = [], ...rest } = parsed.value;
  const allowed = policyDirections.filter((each) =>
    rules.some(({ direction: of, action }) => of === each && action === "allow"),
  );
  const isolated = isolates === undefined ? allowed : policyDirections.filter((each) => isolates.includes(each));
  return ok(selecting({ ...rest, networks, isolates: isolated, rules }));
}

/** As operators write it: without empty lists, which mean all where they are left out. {@link parsePolicy} reads the same again. */
export function policyFields({ networks, rules, ...policy }: Policy): Record<string, unknown> {
  return { ...policy, ...unlessEmpty({ networks }), rules: rules.map(ruleFields) };
}

/** The same of one rule. */
export function ruleFields({ peers, ports, ...rule }: PolicyRule): Record<string, unknown> {
  return { ...rule, ...unlessEmpty({ peers: peers.map(peerFields), ports: ports.map(portFields) }) };
}

function peerFields(peer: PolicyPeer): object {
  if (isNodePeer(peer)) return peer;
  if (isSubnetPeer(peer)) return { subnet: peer.subnet, ...unlessEmpty({ except: peer.except }) };
  const { endpoints, networks } = peer;
  // All endpoints of the tenant.
  if (endpoints === undefined && networks.length === 0) return { endpoints: "" };
  return { ...(endpoints === undefined ? {} : { endpoints }), ...unlessEmpty({ networks }) };
}

function portFields({ protocol, ports, types }: PolicyPort): Record<string, unknown> {
  return { protocol, ...unlessEmpty({ ports, types }) };
}

function unlessEmpty(lists: Record<string, readonly unknown[]>): Record<string, readonly unknown[]> {
  return Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0));
}

function ruleOf(read: ReadPolicy["rules"][number], index: number, problems: FieldProblem[]): PolicyRule {
  const at = ["rules", index];
  const { name = `${read.direction}-${index + 1}`, direction: of, action, peers = [], ports = [] } = read;
  return {
    name,
    direction: of,
    action,
    peers: peers.map((each, number) => peerOf(each, [...at, "peers", number], problems)),
    ports: ports.map((each, number) => portOf(each, [...at, "ports", number], problems)),
  };
}

function peerOf(read: z.output<typeof peer>, path: (string | number)[], problems: FieldProblem[]): PolicyPeer {
  const { subnet, except: holes, networks: of, endpoints, node } = read;
  if (node !== undefined) {
    if (of !== undefined || endpoints !== undefined || subnet !== undefined || holes.length > 0)
      problems.push(fieldProblem(path, "a node and others", "either of them"));
    return { node };
  }
  if (subnet === undefined) {
    if (of === undefined && endpoints === undefined)
      problems.push(fieldProblem(path, "neither", "endpoints, networks, subnet or node; leave peers out for all"));
    if (holes.length > 0) problems.push(fieldProblem([...path, "except"], "prefixes", "beside subnet alone"));
    return selecting({ endpoints, networks: of ?? [] });
  }
  if (of !== undefined || endpoints !== undefined)
    problems.push(fieldProblem(path, "endpoints and a subnet", "either of them"));
  holes.forEach((hole, index) => {
    const isInside = cidrContains(subnet, networkAddress(hole)) && prefixLengthOf(hole) > prefixLengthOf(subnet);
    if (!isInside) problems.push(fieldProblem([...path, "except", index], hole, `a prefix in ${subnet}`));
  });
  return { subnet, except: holes };
}

function portOf(read: z.output<typeof port>, path: (string | number)[], problems: FieldProblem[]): PolicyPort {
  const { protocol, ports = [], types = [] } = read;
  const number = protocolNumber(protocol);
  if (ports.length > 0 && !hasPorts(number))
    problems.push(fieldProblem([...path, "ports"], `ports of ${protocol}`, "ports of tcp, udp or sctp"));
  if (types.length > 0 && !hasTypes(number))
    problems.push(fieldProblem([...path, "types"], `types of ${protocol}`, "types of icmp or icmpv6"));
  return { protocol, ports, types };
}

/** A selector that asks for nothing is none. */
function selecting<Value extends { readonly endpoints?: unknown }>(value: Value) {
  const { endpoints, ...rest } = value;
  return withoutUndefined({ ...rest, endpoints: endpoints === "" ? undefined : endpoints }) as Omit<
    Value,
    "endpoints"
  > & { readonly endpoints?: Exclude<Value["endpoints"], undefined> };
}

const mostLabels = 256;
const labelsAllowed = `at most ${mostLabels} labels, each a name of letters, digits, dots, slashes, hyphens and underscores with a value of at most 63 letters, digits, dots, hyphens and underscores`;
const labelValue: TextParser<string> = (input) => (isLabelValue(input) ? ok(input) : err(labelsAllowed));
/** Of an endpoint: what policies ask for. */
export const endpointLabels = z
  .record(text(parseLabelName), text(labelValue), { error: labelsAllowed })
  .refine((labels) => Object.keys(labels).length <= mostLabels, { error: labelsAllowed })
  .transform((labels): Labels | undefined => (Object.keys(labels).length === 0 ? undefined : labels))
  .optional();

/** The labels of an endpoint. `undefined`: none. */
export function parseEndpointLabels(input: unknown): Result<Labels | undefined, FieldProblem[]> {
  const parsed = parseWith(fields({ labels: endpointLabels }), { labels: input });
  return parsed.ok ? ok(parsed.value.labels) : parsed;
}
