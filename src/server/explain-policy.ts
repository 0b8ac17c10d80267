import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  ExplainedDecisionSchema,
  ExplainedPartySchema,
  ExplainPolicyRequest,
  ExplainPolicyResponseSchema,
} from "../api/generated/weft/v1/admin_pb.js";
import { cidrContains } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress, type IpFamily, parseIp } from "../base/ip.ts";
import { nodeGateways } from "../model/anycast-gateway.ts";
import { parseEndpointId } from "../model/names.ts";
import { arePeers } from "../model/peering.ts";
import {
  decide,
  hasPorts,
  hasTypes,
  type Identity,
  type Party,
  type PolicyDirection,
  parseProtocol,
  protocolNumber,
  protocolNumbers,
  type RankedRule,
  type Said,
} from "../model/policy/index.ts";
import { declaredIps, type Endpoint, type Network } from "../model/resources.ts";
import { blockGateway } from "../model/subnet.ts";
import { requireNetwork } from "./endpoints.ts";
import type { NetworkEntry, State } from "./state.ts";

/** One end of what is asked about: an endpoint, or an address alone. Of an endpoint that was named by its id any address may be meant. */
interface End {
  readonly addresses: readonly IpAddress[];
  readonly endpoint?: Endpoint;
  /** It has the endpoint, or a subnet that the address is in. */
  readonly network?: Network;
}

type Which = "from" | "to";
const echoRequest: Readonly<Record<IpFamily, number>> = { 4: 8, 6: 128 };
const partyAllowed = "the id of an endpoint, NETWORK/ADDRESS, or for one of both the address of somebody outside";

/** What becomes of a packet by the policies that there are. Throws when the question cannot be understood. */
export function explainPolicy(
  state: State,
  request: Omit<ExplainPolicyRequest, "$typeName" | "$unknown">,
): MessageInitShape<typeof ExplainPolicyResponseSchema> {
  const attempted = `explain what becomes of packets from ${brief(request.from)} to ${brief(request.to)}`;
  const named = { from: endOf(state, request.from, "from", attempted), to: endOf(state, request.to, "to", attempted) };
  const tenant = named.from.network?.tenant ?? named.to.network?.tenant;
  if (tenant === undefined)
    throw refusal(attempted, "neither is an endpoint of weft", "name one of both by its id, or as NETWORK/ADDRESS");
  const [from, to] = [
    placed(state, named.from, tenant, named.to.network),
    placed(state, named.to, tenant, named.from.network),
  ];
  if (from.endpoint !== undefined && from.endpoint.id === to.endpoint?.id)
    throw refusal(attempted, `both are endpoint ${from.endpoint.id}`, "name two");
  const { protocol, said: told } = saidIn(request, attempted);
  const family = commonFamily(from, to, told?.protocol);
  const obstacle = obstacleOf(from, to, family);
  const said = told ?? {
    protocol: family === 6 ? 58 : 1,
    ...(request.type === undefined ? {} : { port: request.type }),
  };
  const complete = completed(said, family, attempted);
  const asked = {
    protocol: protocol ?? nameOf(complete.protocol),
    ...(complete.port === undefined
      ? {}
      : hasPorts(complete.protocol)
        ? { port: complete.port }
        : { type: complete.port }),
  };
  const parties = { from: partyMessage(from, family), to: partyMessage(to, family) };
  if (obstacle !== "") return { ...parties, ...asked, verdict: "deny", obstacle };
  const decisions = [
    ...decisionOf(state, "egress", from, to, complete, family),
    ...decisionOf(state, "ingress", to, from, complete, family),
  ];
  const verdict = decisions.every((decision) => decision.verdict === "allow") ? "allow" : "deny";
  return { ...parties, ...asked, verdict, decisions };
}

function endOf(state: State, text: string, which: Which, attempted: string): End {
  const address = parseIp(text);
  if (address.ok) return { addresses: [address.value] };
  const slash = text.indexOf("/");
  if (slash > 0) return memberOf(state, text.slice(0, slash), text.slice(slash + 1), which, attempted);
  const id = parseEndpointId(text);
  if (!id.ok) throw refusal(attempted, `${which}: found ${brief(text)}; allowed: ${partyAllowed}`, findOut);
  const endpoint = state.endpoints.get(id.value);
  if (endpoint !== undefined) return endOfEndpoint(state, endpoint, [...declaredIps(endpoint), ...endpoint.ips]);
  throw new WeftError({ code: "not-found", attempted, reason: `there is no endpoint ${id.value}`, hint: findOut });
}

const findOut = "list the endpoints with: weft endpoint list";

function memberOf(state: State, name: string, text: string, which: Which, attempted: string): End {
  const entry = requireNetwork(state, name, attempted);
  const address = parseIp(text);
  if (!address.ok)
    throw refusal(attempted, `${which}: ${address.error}`, `an address of ${entry.network.subnets.join(" or ")}`);
  const endpoint = ownerIn(state, entry.network, address.value);
  if (endpoint !== undefined) return endOfEndpoint(state, endpoint, [address.value]);
  throw new WeftError({
    code: "not-found",
    attempted,
    reason: `no endpoint of network ${name} has the address ${address.value}`,
    hint: `list its endpoints with: weft endpoint list --network ${name}`,
  });
}

function endOfEndpoint(state: State, endpoint: Endpoint, addresses: readonly IpAddress[]): End {
  const network = state.networks.get(endpoint.network)?.network;
  return { addresses, endpoint, ...(network === undefined ? {} : { network }) };
}

/** An address alone, as those see it who are of the tenant; those of `near` first as what it is in their own network. */
function placed(state: State, end: End, tenant: string, near: Network | undefined): End {
  const [address] = end.addresses;
  if (end.endpoint !== undefined || address === undefined) return end;
  const others = Array.from(state.networksOf(tenant), ({ network }) => network);
  for (const network of [...(near === undefined ? [] : [near]), ...others]) {
    if (!network.subnets.some((subnet) => cidrContains(subnet, address))) continue;
    const endpoint = ownerIn(state, network, address);
    return { addresses: [address], network, ...(endpoint === undefined ? {} : { endpoint }) };
  }
  return end;
}

function ownerIn(state: State, network: Network, address: IpAddress): Endpoint | undefined {
  return state.endpoints.get(state.networks.get(network.name)?.pool.ownerOf(address) ?? "");
}

/** What is said, as far as the request tells; nothing told is an ICMP message of whichever family. */
function saidIn(
  { protocol: text, port, type }: Omit<ExplainPolicyRequest, "$typeName" | "$unknown">,
  attempted: string,
): { readonly protocol?: string; readonly said?: Said } {
  const named = text === "" ? undefined : parseProtocol(text);
  if (named?.ok === false) throw refusal(attempted, `protocol: found ${brief(text)}; allowed: ${named.error}`);
  if (named === undefined && port === undefined && type === undefined)
    throw refusal(attempted, "what is said is not named", "name it: --protocol tcp --port 443, or --protocol icmp");
  if (port !== undefined && port > 65_535) throw refusal(attempted, `port: found ${port}; allowed: 0 to 65535`);
  if (type !== undefined && type > 255) throw refusal(attempted, `type: found ${type}; allowed: 0 to 255`);
  if (named === undefined && port === undefined) return {};
  const protocol = named?.value ?? "tcp";
  const number = protocolNumber(protocol);
  if (port !== undefined && !hasPorts(number)) throw refusal(attempted, `port: ${protocol} has none`, "leave it out");
  if (type !== undefined && !hasTypes(number)) throw refusal(attempted, `type: ${protocol} has none`, "leave it out");
  if (port === undefined && hasPorts(number))
    throw refusal(attempted, `port: found nothing; policies tell ports of ${protocol} apart`, "name it: --port 443");
  const detail = port ?? type;
  return { protocol, said: { protocol: number, ...(detail === undefined ? {} : { port: detail }) } };
}

/** ICMP without a type is an echo request. */
function completed(said: Said, family: IpFamily | undefined, attempted: string): Said {
  const own = familyOfProtocol(said.protocol);
  if (own !== undefined && family !== undefined && own !== family)
    throw refusal(attempted, `${nameOf(said.protocol)} goes over IPv${own}, and the addresses are of IPv${family}`);
  if (said.port !== undefined || own === undefined) return said;
  return { ...said, port: echoRequest[own] };
}

function familyOfProtocol(protocol: number): IpFamily | undefined {
  return protocol === protocolNumbers.icmp ? 4 : protocol === protocolNumbers.icmpv6 ? 6 : undefined;
}

function nameOf(protocol: number): string {
  return Object.keys(protocolNumbers).find((name) => protocolNumbers[name] === protocol) ?? String(protocol);
}

/** One that both have, of several that of the protocol or else the first of where it comes from. */
function commonFamily(from: End, to: End, protocol: number | undefined): IpFamily | undefined {
  const families = new Set(to.addresses.map(familyOf));
  const common = from.addresses.map(familyOf).filter((family) => families.has(family));
  return common.find((family) => protocol !== undefined && family === familyOfProtocol(protocol)) ?? common[0];
}

/** Why nothing passes, whatever policies say. */
function obstacleOf(from: End, to: End, family: IpFamily | undefined): string {
  const [one, other] = [from.network, to.network];
  if (one !== undefined && other !== undefined && one.tenant !== other.tenant && !arePeers(one, other))
    return `network ${one.name} is of tenant ${one.tenant} and network ${other.name} of tenant ${other.tenant}: there is no path between networks of two tenants that are not peers`;
  return family === undefined ? "they have no addresses of one IP family" : "";
}

function addressOf({ addresses }: End, family: IpFamily | undefined): IpAddress | undefined {
  return addresses.find((address) => family === undefined || familyOf(address) === family) ?? addresses[0];
}

function decisionOf(
  state: State,
  direction: PolicyDirection,
  { endpoint, network }: End,
  peer: End,
  said: Said,
  family: IpFamily | undefined,
): MessageInitShape<typeof ExplainedDecisionSchema>[] {
  const address = addressOf(peer, family);
  if (endpoint === undefined || network === undefined || address === undefined) return [];
  const policies = [...(state.policies.get(network.tenant)?.policies.values() ?? [])];
  // Nobody of another tenant is anybody but an address.
  const isOwn = peer.network?.tenant === network.tenant;
  const isNode = peer.network === undefined && isVtepOf(state, endpoint.node, network.tenant, address);
  const identity = isNode
    ? { identity: "node" as const }
    : isOwn
      ? identityOf(state, peer, address, endpoint.node)
      : {};
  const party: Party = { address, ...identity };
  const own: Identity = { network: network.name, labels: endpoint.labels ?? {} };
  const { verdict, by, isolatedBy, logged } = decide(policies, own, direction, party, said, network.policyDefault);
  const decided =
    by !== undefined
      ? { decidedBy: "rule", ...referenceTo(by) }
      : isolatedBy !== undefined
        ? { decidedBy: "isolation", policy: isolatedBy.name }
        : { decidedBy: "default" };
  return [{ direction, endpoint: endpoint.id, verdict, ...decided, logged: logged.map(referenceTo) }];
}

function referenceTo({ policy, rule }: RankedRule): { readonly policy: string; readonly rule: string } {
  return { policy: policy.name, rule: rule.name };
}

/**
 * Who is at the other end, as the node knows it that judges. Of an address in a network that is there and that no endpoint is known to
 * have it does not know whose it is, unless it has the address itself.
 */
function identityOf(
  state: State,
  { endpoint, network }: End,
  address: IpAddress,
  node: string,
): Pick<Party, "identity"> {
  if (network === undefined) return {};
  if (endpoint !== undefined) return { identity: { network: network.name, labels: endpoint.labels ?? {} } };
  const entry = state.networks.get(network.name);
  if (entry?.hosts.has(node) !== true) return {};
  return { identity: isGatewayOf(entry, node, address) ? "node" : "unknown" };
}

/** Whether the node has the address for tunnels of the tenant's networks. */
function isVtepOf(state: State, node: string, tenant: string, address: IpAddress): boolean {
  const vteps = state.nodes.get(node)?.value.vtepAddresses;
  return Array.from(state.networksOf(tenant)).some(
    (entry) => entry.hosts.has(node) && vteps?.[entry.network.underlay] === address,
  );
}

function isGatewayOf(entry: NetworkEntry, node: string, address: IpAddress): boolean {
  if (entry.network.mode === "l2") return nodeGateways(entry.network).includes(address);
  return entry.ownedBlocks().some((block) => block.node === node && blockGateway(block.cidr) === address);
}

function partyMessage(end: End, family: IpFamily | undefined): MessageInitShape<typeof ExplainedPartySchema> {
  const { endpoint, network } = end;
  return {
    address: addressOf(end, family) ?? "",
    endpoint: endpoint?.id ?? "",
    network: network?.name ?? "",
    tenant: network?.tenant ?? "",
    node: endpoint?.node ?? "",
    labels: { ...endpoint?.labels },
  };
}

function brief(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}

function refusal(attempted: string, reason: string, hint?: string): WeftError {
  return new WeftError({ code: "invalid-argument", attempted, reason, ...(hint === undefined ? {} : { hint }) });
}
