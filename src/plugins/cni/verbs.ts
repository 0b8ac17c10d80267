import { statSync } from "node:fs";
import type { Agent } from "../../agent/agent.ts";
import { type Attachment, isInPlace } from "../../agent/replica.ts";
import { type Cidr, cidrContains, cidrOf, hostPrefix } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import { wantedRoutes } from "../../dataplane/devices/port/container-routes.ts";
import { endpointPortName } from "../../dataplane/kernel-names.ts";
import { hasAnycastGateway } from "../../model/anycast-gateway.ts";
import type { Endpoint, Pod } from "../../model/resources.ts";
import { blockGateway } from "../../model/subnet.ts";
import { checkContainer } from "./check.ts";
import { type Configuration, namedNetwork, parseWishes, type Wishes } from "./configuration.ts";
import { type DelegateCall, type IpamAnswer, parseIpamAnswer, runDelegate } from "./delegate.ts";
import type { Parameters } from "./environment.ts";
import { CniError, errorCode } from "./error.ts";
import { type CniOwner, ownerOf, ownerText } from "./owner.ts";
import { podOf } from "./pod.ts";
import { type CniResult, type ResultAddress, resultOf } from "./result.ts";
import { isAtLeast } from "./version.ts";

export interface Call {
  readonly agent: Agent;
  readonly parameters: Parameters;
  readonly configuration: Configuration;
  readonly boot: string;
  /** Pods of Kubernetes' come by the server's word. */
  readonly ofPods: boolean;
  /** Nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** What each operation of the specification does. Answers what goes to standard output. */
export const verbs: Readonly<Record<Parameters["command"], (call: Call) => Promise<string>>> = {
  ADD: add,
  DEL: del,
  CHECK: check,
  GC: collect,
  STATUS: status,
};

async function add(call: Call): Promise<string> {
  const { agent, parameters, configuration, signal } = call;
  const pod = call.ofPods ? await podOf(agent, parameters, signal) : undefined;
  const wishes = parseWishes(configuration, parameters.args, pod);
  const { container, interface: name, netns } = parameters;
  const present = attachmentsOf(agent, container, name)[0];
  if (present !== undefined)
    throw new CniError(
      errorCode.alreadyThere,
      `add ${name} to container ${container}: it was added already, as endpoint ${present.id} of network ${present.network}`,
      "a runtime has to delete it before it adds it again",
    );
  if (configuration.isIpam) return answerOf(call, await ipamResult(call, wishes, pod));
  requireNamespace(netns, container);
  if (configuration.delegate === undefined) return answerOf(call, await attach(call, wishes, pod));
  const { delegate } = configuration;
  const delegated = delegatedOf(call, delegate);
  try {
    const ipam = parseIpamAnswer(delegate, await runDelegate({ ...delegated, command: "ADD" }));
    signal.throwIfAborted();
    const ips = ipam.ips.map(({ address }) => address.split("/")[0] ?? "");
    return answerOf(call, await attach(call, { ...dnsOf(ipam), ...wishes, ips }, pod));
  } catch (error) {
    // What it gave, or was about to give when it failed, is nobody's.
    await runDelegate({ ...delegated, command: "DEL" }).catch(() => {});
    throw error;
  }
}

async function attach(
  call: Call,
  { network, ips, mac, bandwidth, labels, published, dns }: Wishes,
  pod?: Pod,
): Promise<CniResult> {
  const { agent, parameters, signal } = call;
  const { netns, interface: name } = parameters;
  const endpoint = await agent.attachments.attach({
    network,
    place: { kind: "netns", netns, interface: name, routePriority: 0 },
    mac,
    ips,
    ...(bandwidth === undefined ? {} : { bandwidth }),
    allowedAddresses: [],
    labels,
    published,
    owner: ownerText(ownerFor(call, pod)),
    signal,
  });
  const desired = agent.dataplane.networks.get(network);
  const local = desired?.locals.get(endpoint.id);
  if (desired === undefined || local?.place.kind !== "netns")
    throw new CniError(errorCode.tryAgainLater, `network ${network} was taken from this node meanwhile`);
  const { settings } = desired;
  const { place } = local;
  const gateways = local.gateways ?? [];
  const routes = [...wantedRoutes(local, place.routePriority, settings, 0)].flatMap(
    ({ destination, nexthops: [hop], priority }) =>
      hop?.gateway === undefined
        ? []
        : [{ dst: destination, gw: hop.gateway, ...(priority === undefined ? {} : { priority }) }],
  );
  return {
    interfaces: [
      // Its end on the node is in the namespace of the tenant. Runtimes take whatever has a sandbox for the container's.
      { name: endpointPortName(endpoint.id), mac: endpoint.mac, mtu: settings.mtu },
      { name, mac: endpoint.mac, mtu: settings.mtu, sandbox: netns },
    ],
    ips: local.addresses.map(({ address, prefixLength }) => ({
      address: `${address}/${prefixLength}`,
      ...gatewayAmong(gateways, linkOf(address, prefixLength)),
      interface: 1,
    })),
    routes,
    ...(dns === undefined ? {} : { dns }),
  };
}

/** Addresses for an interface that another plugin makes. */
async function ipamResult(call: Call, { network, ips, mac, labels, dns }: Wishes, pod?: Pod): Promise<CniResult> {
  const { agent, parameters, signal } = call;
  const endpoint = await agent.attachments.hold({
    network,
    interface: parameters.interface,
    mac,
    ips,
    labels,
    owner: ownerText(ownerFor(call, pod)),
    signal,
  });
  const addresses = addressesOf(agent, endpoint);
  const everything = (address: string): string => (address.includes(":") ? "::/0" : "0.0.0.0/0");
  const routes = addresses.flatMap(({ address, gateway }) =>
    gateway === undefined ? [] : [{ dst: everything(address), gw: gateway }],
  );
  return { ips: addresses, routes, ...(dns === undefined ? {} : { dns }) };
}

function addressesOf(agent: Agent, endpoint: Endpoint): ResultAddress[] {
  const network = agent.desired.networks.get(endpoint.network)?.network;
  if (network === undefined) return [];
  const gateways =
    network.mode === "l3"
      ? agent.desired.ownBlocks(network.name).map(blockGateway)
      : hasAnycastGateway(network)
        ? network.gateways
        : [];
  return agent.desired.addressesOf(endpoint, network).map(({ address, prefixLength }) => ({
    address: `${address}/${prefixLength}`,
    ...gatewayAmong(gateways, cidrOf(address, prefixLength)),
  }));
}

async function del(call: Call): Promise<string> {
  const { agent, parameters, configuration } = call;
  const { container, interface: name } = parameters;
  for (const attachment of attachmentsOf(agent, container, name)) await agent.attachments.releaseOwned(attachment);
  const { delegate } = configuration;
  if (delegate !== undefined) await runDelegate({ ...delegatedOf(call, delegate), command: "DEL" });
  return "";
}

async function check(call: Call): Promise<string> {
  const { agent, parameters, configuration } = call;
  requireVersion(call, "0.4.0");
  const { container, interface: name, netns } = parameters;
  const { prevResult, delegate } = configuration;
  if (prevResult === undefined)
    throw new CniError(errorCode.invalidConfiguration, "prevResult: absent; CHECK compares with the result of ADD");
  const what = `check ${name} of container ${container}`;
  const attachment = attachmentsOf(agent, container, name).find(isInPlace);
  const endpoint = attachment === undefined ? undefined : agent.desired.own.get(attachment.id);
  if (attachment === undefined || endpoint === undefined)
    throw new CniError(errorCode.different, `${what}: weft has nothing attached there`);
  if (configuration.isIpam) requireHeld(what, endpoint, prevResult);
  else {
    requireNamespace(netns, container);
    const { dataplane } = agent;
    const problem = dataplane.problems.get({ kind: "endpoint", network: endpoint.network, key: endpoint.id });
    if (problem !== undefined) throw new CniError(errorCode.different, `${what}: ${problem.error.message}`);
    const difference = await checkContainer(agent.options.kernel, { netns, name, prevResult });
    if (difference !== undefined) throw new CniError(errorCode.different, `${what}: ${difference}`);
  }
  if (delegate !== undefined) await runDelegate({ ...delegatedOf(call, delegate), command: "CHECK" });
  return "";
}

function requireHeld(what: string, endpoint: Endpoint, prevResult: Readonly<Record<string, unknown>>): void {
  const given = Array.isArray(prevResult.ips) ? prevResult.ips : [];
  const held = given.some(({ address }) => endpoint.ips.some((ip) => `${address}`.startsWith(`${ip}/`)));
  if (!held)
    throw new CniError(errorCode.different, `${what}: it holds ${endpoint.ips.join(", ")}, which the result lacks`);
}

/** Whatever goes wrong with one, the others go. */
async function collect(call: Call): Promise<string> {
  const { agent, configuration } = call;
  requireVersion(call, "1.1.0");
  const { name, validAttachments, delegate } = configuration;
  if (validAttachments === undefined)
    throw new CniError(
      errorCode.invalidConfiguration,
      "cni.dev/valid-attachments: absent; GC removes all that it does not name",
    );
  const valid = new Set(validAttachments.map(({ containerID, ifname }) => `${containerID} ${ifname}`));
  const stale = [...agent.attached.values()].filter((attachment) => {
    const owner = ownerOf(attachment);
    return owner?.configuration === name && !valid.has(`${owner.container} ${owner.interface}`);
  });
  const failures: unknown[] = [];
  const attempt = (action: Promise<unknown>): Promise<unknown> =>
    action.catch((error: unknown) => failures.push(error));
  await Promise.all(stale.map((attachment) => attempt(agent.attachments.releaseOwned(attachment))));
  if (delegate !== undefined) await attempt(runDelegate({ ...delegatedOf(call, delegate), command: "GC" }));
  if (failures.length > 0) throw failures[0];
  return "";
}

async function status(call: Call): Promise<string> {
  const { agent, parameters, configuration } = call;
  requireVersion(call, "1.1.0");
  // Which networks pods will be in, it is yet to be told: whatever it was told holds while the server is away.
  if (call.ofPods && namedNetwork(configuration, parameters.args) === undefined) return requireTold(agent);
  const { network } = parseWishes(configuration, parameters.args);
  const { state, error } = agent.serverState;
  const obstacle = agent.attachments.obstacle(network);
  if (obstacle !== undefined) throw new CniError(errorCode.limitedConnectivity, obstacle.message, "see weft status");
  const hasRoom =
    agent.desired.networks.get(network)?.network.mode === "l3" && agent.desired.ownBlocks(network).length > 0;
  if (state === "disconnected" && !hasRoom)
    throw new CniError(
      errorCode.notAvailable,
      `the agent has no connection to the server, which gives out addresses of network ${network}`,
      error,
    );
  const { delegate } = configuration;
  if (delegate !== undefined) await runDelegate({ ...delegatedOf(call, delegate), command: "STATUS" });
  return "";
}

function requireTold(agent: Agent): string {
  if (agent.revision > 0) return "";
  const { error } = agent.serverState;
  throw new CniError(errorCode.notAvailable, "the server has not told this node of its pods yet", error);
}

/** What CNI has attached to the container under this name and has not released. */
function attachmentsOf(agent: Agent, container: string, name: string): Attachment[] {
  return [...agent.attached.values()].filter((attachment) => {
    const owner = ownerOf(attachment);
    return owner?.container === container && owner.interface === name && attachment.state !== "releasing";
  });
}

/** The call of the plugin that gives the addresses, whatever its command. */
function delegatedOf(
  { agent, parameters, configuration: { text } }: Call,
  type: string,
): Omit<DelegateCall, "command"> {
  return { type, parameters, configuration: text, clock: agent.options.clock };
}

function ownerFor({ configuration, parameters, boot }: Call, pod: Pod | undefined): CniOwner {
  const { container, interface: name } = parameters;
  return {
    ...{ configuration: configuration.name, container, interface: name, boot },
    ...(pod === undefined ? {} : { pod: pod.name }),
  };
}

function answerOf({ configuration: { version, prevResult } }: Call, result: CniResult): string {
  return `${JSON.stringify(resultOf(version, result, prevResult))}\n`;
}

function dnsOf({ dns }: IpamAnswer): Pick<Wishes, "dns"> {
  return dns === undefined ? {} : { dns };
}

/** What of the address' family is on its link; of one that is alone there its gateway, whatever that is. */
function linkOf(address: IpAddress, prefixLength: number): Cidr {
  const own = cidrOf(address, prefixLength);
  return own === hostPrefix(address) ? cidrOf(address, 0) : own;
}

function gatewayAmong(gateways: readonly IpAddress[], prefix: Cidr): Pick<ResultAddress, "gateway"> {
  const gateway = gateways.find((each) => cidrContains(prefix, each));
  return gateway === undefined ? {} : { gateway };
}

function requireNamespace(netns: string, container: string): void {
  if (statSync(netns, { throwIfNoEntry: false }) !== undefined) return;
  throw new CniError(errorCode.containerUnknown, `container ${container}: there is no network namespace ${netns}`);
}

function requireVersion(
  { configuration: { version }, parameters: { command } }: Call,
  least: Configuration["version"],
): void {
  if (!isAtLeast(version, least))
    throw new CniError(
      errorCode.incompatibleVersion,
      `version ${version} of CNI has no ${command}; it came with ${least}`,
    );
}
