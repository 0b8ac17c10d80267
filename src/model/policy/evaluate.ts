import { cidrContains } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import { type Labels, selects } from "./label-selector.ts";
import {
  hasPorts,
  isNodePeer,
  isSubnetPeer,
  type Policy,
  type PolicyAction,
  type PolicyDirection,
  type PolicyPeer,
  type PolicyPort,
  type PolicyRule,
  portRange,
  protocolNumber,
} from "./policy.ts";

/** What an endpoint is known by. */
export interface Identity {
  readonly network: string;
  readonly labels: Labels;
}

/**
 * Who is at the other end of what an endpoint sends or gets: an endpoint of the tenant (`identity`), its own node (`node`), an address
 * of which it is not known yet whose it is (`unknown`), or anybody else.
 */
export interface Party {
  readonly address: IpAddress;
  readonly identity?: Identity | "node" | "unknown";
}

/** What is said. */
export interface Said {
  /** IANA's number. */
  readonly protocol: number;
  /** The destination port, or the type of an ICMP message; absent with other protocols. */
  readonly port?: number;
}

/** A rule among those that an endpoint is under, and where it is from. */
export interface RankedRule {
  readonly policy: Policy;
  readonly rule: PolicyRule;
}

/** What was decided, and why. */
export interface Decision {
  readonly verdict: "allow" | "deny";
  /** The rule that decides; absent: none matches. */
  readonly by?: RankedRule;
  /** No rule matches, and this policy isolates the endpoint; of several the first by name. Absent then: the network's default. */
  readonly isolatedBy?: Policy;
  /** Rules with action `log` that match before that. */
  readonly logged: readonly RankedRule[];
}

/** Whether a policy is for an endpoint. */
export function appliesTo(policy: Policy, { network, labels }: Identity): boolean {
  const isOfNetwork = policy.networks.length === 0 || policy.networks.includes(network);
  return isOfNetwork && (policy.endpoints === undefined || selects(policy.endpoints, labels));
}

/** The rules of policies for one direction, in the order in which they are asked. */
export function rankedRules(policies: readonly Policy[], direction: PolicyDirection): RankedRule[] {
  const ranked = policies.flatMap((policy) =>
    policy.rules.flatMap((rule, index) => (rule.direction === direction ? { policy, rule, index } : [])),
  );
  return ranked.sort(
    (a, b) =>
      a.policy.priority - b.policy.priority ||
      rankOf(a.rule.action) - rankOf(b.rule.action) ||
      compareText(a.policy.name, b.policy.name) ||
      a.index - b.index,
  );
}

/** What would be denied is logged where it would be. */
function rankOf(action: PolicyAction): number {
  return action === "allow" ? 1 : 0;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The policy that isolates an endpoint, of those that are for it; of several the first by name. */
export function isolating(policies: readonly Policy[], direction: PolicyDirection): Policy | undefined {
  return policies
    .filter(({ isolates }) => isolates.includes(direction))
    .reduce<Policy | undefined>(
      (first, each) => (first !== undefined && first.name < each.name ? first : each),
      undefined,
    );
}

/**
 * Whether what is said may pass. `policies`: those of the tenant, of which those count that are for the endpoint. `otherwise`: what its
 * network says where no policy does.
 */
export function decide(
  policies: readonly Policy[],
  endpoint: Identity,
  direction: PolicyDirection,
  peer: Party,
  said: Said,
  otherwise: "allow" | "deny",
): Decision {
  const applying = policies.filter((policy) => appliesTo(policy, endpoint));
  const logged: RankedRule[] = [];
  for (const ranked of rankedRules(applying, direction)) {
    const { peers, ports, action } = ranked.rule;
    const isPeer = peers.length === 0 || peers.some((each) => isPeerOf(each, peer, action));
    if (!isPeer || !(ports.length === 0 || ports.some((each) => isSaidIn(each, said)))) continue;
    if (action === "log") logged.push(ranked);
    else return { verdict: action, by: ranked, logged };
  }
  const isolatedBy = isolating(applying, direction);
  if (isolatedBy === undefined) return { verdict: otherwise, logged };
  return { verdict: "deny", isolatedBy, logged };
}

/** Of whom nothing is known yet, what denies holds, and what allows does not. */
export function isPeerOf(peer: PolicyPeer, { address, identity }: Party, action: PolicyAction): boolean {
  if (isSubnetPeer(peer))
    return cidrContains(peer.subnet, address) && !peer.except.some((hole) => cidrContains(hole, address));
  if (isNodePeer(peer)) return identity === "node";
  if (identity === undefined || identity === "node") return false;
  if (identity === "unknown") return action === "deny";
  const isOfNetwork = peer.networks.length === 0 || peer.networks.includes(identity.network);
  return isOfNetwork && (peer.endpoints === undefined || selects(peer.endpoints, identity.labels));
}

/** Whether what is said is meant by a port of a rule. */
export function isSaidIn({ protocol, ports, types }: PolicyPort, said: Said): boolean {
  const number = protocolNumber(protocol);
  if (number !== said.protocol) return false;
  const { port } = said;
  if (hasPorts(number))
    return ports.length === 0 || (port !== undefined && ports.some((each) => isInRange(each, port)));
  return types.length === 0 || (port !== undefined && types.includes(port));
}

function isInRange(text: string, port: number): boolean {
  const [first, last] = portRange(text);
  return port >= first && port <= last;
}
