import { type Cidr, cidrContains } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { maximumMtu, minimumMtu } from "./mtu.ts";
import { fieldProblem, formatProblem } from "./problem.ts";
import type { Network, Node, VtepAddresses } from "./resources.ts";
import { isRoutedByHost, routedByHost } from "./routed-by-host.ts";
import type { NodeDraft } from "./schema.ts";

/** What the server knows when a node says where it is. */
export interface RegistrationFacts {
  /** What the node has registered until now. */
  readonly known: Node | undefined;
  /** Where the connection comes from on which the node says it. */
  readonly source: IpAddress | undefined;
  /** What the administrator has approved for it. */
  readonly approved: VtepAddresses;
  /** VTEP addresses must lie in one of these, or be approved. Empty: they must be proved or approved. */
  readonly vtepPrefixes: readonly Cidr[];
  readonly nodes: Iterable<Node>;
  /** Where the connection comes from that another node has now; undefined: it has none. */
  readonly sourceOf: (node: string) => IpAddress | undefined;
  readonly networks: Iterable<Network>;
  /** Whether the address stands for an endpoint: a floating address. */
  readonly isFloating: (address: IpAddress) => boolean;
}

/** A node whose addresses another one has by now, as the latter's connection or the administrator says. */
export interface Displaced {
  readonly node: Node;
  readonly lost: readonly IpAddress[];
}

const families = ["ipv4", "ipv6"] as const;

/**
 * Whether a node may be where it says. An address must be a VTEP's to have: in a prefix that is meant for VTEPs, named by the
 * administrator, or proved, which is to say that the node's connection comes from it. What it has registered before stays
 * good as long as it does not change.
 *
 * No two nodes have one address. Who has it keeps it, but for two claims that outrank a record of former times: the
 * connection of the newcomer comes from an address of the other, whose own connection does not; then it has taken the other's
 * place, with those addresses of both that are the same. Or the administrator has approved the address for the newcomer,
 * and the other is not connected from it.
 */
export function judgeRegistration(
  draft: NodeDraft,
  facts: RegistrationFacts,
): { readonly refusals: readonly WeftError[]; readonly displaced: readonly Displaced[] } {
  const attempted = `register node ${draft.name}`;
  const { known } = facts;
  const refusals = [...mtuRefusals(draft, facts, attempted)];
  const changed = families.flatMap((family) => {
    const address = draft.vtepAddresses[family];
    return address === undefined || address === known?.vtepAddresses[family] ? [] : [{ family, address }];
  });
  const networks = [...facts.networks];
  const foreign: IpAddress[] = [];
  for (const { family, address } of changed) {
    const network = networks.find((each) => isRoutedByHost(each) && holds(each, address));
    if (network !== undefined) refusals.push(overlayAddress(attempted, address, network));
    else if (facts.isFloating(address)) refusals.push(floatingAddress(attempted, address));
    else if (!isAdmitted(address, facts) && facts.approved[family] !== address) foreign.push(address);
  }
  if (foreign.length > 0) refusals.push(unproved(attempted, draft, foreign, facts));
  const displaced: Displaced[] = [];
  for (const other of facts.nodes) {
    if (other.name === draft.name) continue;
    const lost: IpAddress[] = [];
    for (const { family, address } of changed) {
      if (other.vtepAddresses[family] !== address) continue;
      if (outranks(draft, other, address, facts)) lost.push(address);
      else refusals.push(taken(attempted, address, other.name, facts));
    }
    if (lost.length > 0) displaced.push({ node: other, lost });
  }
  return refusals.length > 0 ? { refusals, displaced: [] } : { refusals, displaced };
}

/** Why the network cannot be: hosts would route the underlay's own packets into it. `before`: as it is until now. */
export function checkVtepsOutside(
  network: Pick<Network, "name" | "subnets" | "hostAccess" | "encapsulation" | "crossSubnet">,
  before: Network | undefined,
  nodes: Iterable<Node>,
): WeftError[] {
  if (!isRoutedByHost(network)) return [];
  const errors: WeftError[] = [];
  for (const node of nodes)
    for (const address of vtepsOf(node)) {
      const subnet = network.subnets.find((each) => cidrContains(each, address));
      if (subnet === undefined || (before !== undefined && isRoutedByHost(before) && holds(before, address))) continue;
      errors.push(
        new WeftError({
          code: "failed-precondition",
          attempted: `${before === undefined ? "create" : "change"} network ${network.name}`,
          reason: `subnet ${subnet} holds ${address}, the VTEP address of node ${node.name}, and hosts route it themselves (${routedByHost})`,
          hint: "choose a prefix that the underlay does not use",
        }),
      );
    }
  return errors;
}

export function vtepsOf({ vtepAddresses: { ipv4, ipv6 } }: Pick<Node, "vtepAddresses">): IpAddress[] {
  return [ipv4, ipv6].filter((address) => address !== undefined);
}

/** What a node carried before, a former version of weft may have let it say: it stays until it changes. */
function* mtuRefusals(
  { underlayMtu }: NodeDraft,
  { known }: RegistrationFacts,
  attempted: string,
): Generator<WeftError> {
  const [least, most] = [minimumMtu[6], maximumMtu];
  if (underlayMtu === known?.underlayMtu || (underlayMtu >= least && underlayMtu <= most)) return;
  const allowed = `octets of an underlay IP packet, ${least} (which every link with IPv6 carries, RFC 8200 §5) to ${most}`;
  const isLoopback = underlayMtu > most;
  yield new WeftError({
    code: "invalid-argument",
    attempted,
    reason: formatProblem(fieldProblem(["underlayMtu"], String(underlayMtu), allowed)),
    hint: isLoopback
      ? "65536 is the MTU of the loopback interface: give the agent an address of the underlay by --underlay"
      : "raise the MTU of the node's underlay interface",
  });
}

function isAdmitted(address: IpAddress, { source, vtepPrefixes }: RegistrationFacts): boolean {
  return vtepPrefixes.length === 0 ? address === source : vtepPrefixes.some((prefix) => cidrContains(prefix, address));
}

function holds({ subnets }: Pick<Network, "subnets">, address: IpAddress): boolean {
  return subnets.some((subnet) => cidrContains(subnet, address));
}

/** Whether the claim of `other` is one of former times, which the newcomer's outranks. */
function outranks(draft: NodeDraft, other: Node, address: IpAddress, facts: RegistrationFacts): boolean {
  const { source, approved } = facts;
  const otherSource = facts.sourceOf(other.name);
  if (otherSource === address) return false;
  const isInItsPlace =
    source !== undefined &&
    source !== otherSource &&
    vtepsOf(draft).includes(source) &&
    vtepsOf(other).includes(source);
  return isInItsPlace || Object.values(approved).includes(address);
}

function overlayAddress(attempted: string, address: IpAddress, network: Network): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted,
    reason: `the VTEP address ${address} is in a subnet of network ${network.name}, which hosts route themselves (${routedByHost}): tunnels would end in it`,
    hint: "give the agent an address of the underlay by --underlay",
  });
}

function floatingAddress(attempted: string, address: IpAddress): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted,
    reason: `the VTEP address ${address} is a floating address: tunnels would end at the endpoint that it stands for`,
    hint: `give the node another address, or delete the floating address: weft floating-address delete ${address}`,
  });
}

function unproved(
  attempted: string,
  draft: NodeDraft,
  addresses: readonly IpAddress[],
  { source, approved, vtepPrefixes }: RegistrationFacts,
): WeftError {
  const named = addresses.join(" and ");
  const toApprove = families.flatMap((family) => {
    const address = draft.vtepAddresses[family];
    return address !== undefined && addresses.includes(address) ? [address] : (approved[family] ?? []);
  });
  const approve = `approve it on the server's host: weft node set ${draft.name} --vtep ${toApprove.join(",")}`;
  if (vtepPrefixes.length > 0)
    return new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `the VTEP address ${named} is in none of the server's VTEP prefixes: ${vtepPrefixes.join(", ")}`,
      hint: `${approve}, or start the server with its prefix in --vtep-prefix, too`,
    });
  return new WeftError({
    code: "failed-precondition",
    attempted,
    reason: `the node's connection comes from ${source ?? "an unknown address"}, which does not prove that it has the VTEP address ${named}`,
    hint: `${approve}, or start the server with --vtep-prefix and the prefix that VTEP addresses are of`,
  });
}

function taken(attempted: string, address: IpAddress, owner: string, { sourceOf }: RegistrationFacts): WeftError {
  const isLive = sourceOf(owner) === address;
  return new WeftError({
    code: "already-exists",
    attempted,
    reason: `node ${owner} has the VTEP address ${address}${isLive ? ", and is connected from it now" : ""}`,
    hint: `give each node an underlay address of its own, or delete node ${owner} when it is gone`,
  });
}
