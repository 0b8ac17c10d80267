import { WeftError } from "../../../base/errors.ts";
import { isErrno } from "../../../linux/index.ts";
import {
  changeLink,
  createLink,
  deleteLink,
  getLink,
  type Link,
  listAddresses,
  type NetlinkSocket,
  namespaceIdOf,
  neighbourFlag,
  neighbourState,
  type Request,
  replaceAddress,
  replaceFdbEntry,
} from "../../../netlink/index.ts";
import { deviceMtuOf, type LocalEndpoint, type NetworkSettings } from "../../desired.ts";
import type { Kernel, KernelNamespace } from "../../kernel.ts";
import { bridgeName, endpointPortName, portAliasOf, weftGroup, weftProtocol } from "../../kernel-names.ts";
import type { DataplaneEvent } from "../../report.ts";
import { endpointPort, isPortAs } from "../bridge-port.ts";
import type { LinkTable } from "../link-table.ts";
import { ensureIpv6, withoutIpv6 } from "./container-ipv6.ts";
import { ensureContainerRoutes } from "./container-routes.ts";

/** Where an endpoint's port goes. */
export interface PortContext {
  readonly kernel: Kernel;
  readonly instance: string;
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  /** Opens a socket in a container's namespace; its writes are counted. */
  readonly openSocket: (namespace: KernelNamespace) => NetlinkSocket;
  readonly bridgeIndex: number;
  /**
   * Lets the endpoint send from its port, and get there, what it may, and nothing else. Tells whether anything of the port had to be
   * written for that; what it shares with other ports does not count.
   */
  readonly guardPort: (endpoint: LocalEndpoint, index: number) => Promise<boolean>;
  /** The underlay's namespace: nothing of a tenant is put there. */
  readonly underlayInode: number;
}

/** How an endpoint's port is. */
export interface EndpointPort {
  readonly index: number;
  /** The namespace that the other end is in, as {@link KernelNamespace.inode}. */
  readonly inode: number;
  readonly written: boolean;
  /** What was found otherwise inside, and what was done. */
  readonly changes: readonly Pick<DataplaneEvent, "kind" | "message">[];
  /** What is otherwise than asked for, and is left so. */
  readonly notes: readonly string[];
}

/**
 * The endpoint's veth pair: one end a port of the bridge, the other in the container's namespace with its MAC and
 * addresses. Whatever of it is there and right stays as it is. The interface is complete before it comes up.
 */
export async function ensureEndpointPort(
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  context: PortContext,
  links: LinkTable,
): Promise<EndpointPort> {
  const name = endpointPortName(endpoint.id);
  using container = openContainer(endpoint, network, context);
  using inside = context.openSocket(container);
  const writes = (): number => context.socket.writes + inside.writes;
  const before = writes();
  let port = await links.find(name);
  let end = port === undefined ? undefined : await findEnd(port, context, container, inside);
  if (port === undefined || end === undefined) {
    if (port !== undefined) await removeStrayPort(port, endpoint, network, context, container);
    port = await createPort(endpoint, network, context, container);
    end = await findEnd(port, context, container, inside);
    if (end === undefined) throw movedAway(endpoint, network, container);
  }
  const { inode } = container;
  const beforeGuard = writes();
  const isGuardWritten = await context.guardPort(endpoint, port.index);
  const ofGuard = writes() - beforeGuard;
  const { failures } = await context.socket.batch(portChanges(port, network, { ...context, inode }));
  if (failures[0] !== undefined) throw explainPortFailure(failures[0].error, network);
  const { changes, notes } = await ensureInside(endpoint, network, container, inside, end);
  return { index: port.index, inode, written: isGuardWritten || writes() - ofGuard > before, changes, notes };
}

/** Keeps the endpoint's MAC at its port: nobody else's frames can take it away. */
export function localFdbRequest(endpoint: LocalEndpoint, portIndex: number): Request {
  return replaceFdbEntry({
    index: portIndex,
    mac: endpoint.mac,
    state: neighbourState.noArp,
    flags: neighbourFlag.master | neighbourFlag.externallyLearned,
    protocol: weftProtocol,
  });
}

async function createPort(
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  context: PortContext,
  container: KernelNamespace,
): Promise<Link> {
  const name = endpointPortName(endpoint.id);
  try {
    await context.socket.execute(
      createLink("veth", {
        name,
        mtu: deviceMtuOf(network),
        group: weftGroup,
        info: { peer: { name: endpoint.interface, mac: endpoint.mac, mtu: network.mtu, namespace: container } },
      }),
    );
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    throw new WeftError({
      code: "already-exists",
      attempted: `create interface ${endpoint.interface} in ${container.label}`,
      reason: "an interface of this name is there already and weft did not make it",
      hint: "choose another name with --interface",
      cause: error,
    });
  }
  return context.socket.get(getLink({ name }));
}

/** The container's end of the pair, whatever its name and MAC are by now; `undefined`: it is in another namespace. */
async function findEnd(
  port: Link,
  context: PortContext,
  container: KernelNamespace,
  inside: NetlinkSocket,
): Promise<Link | undefined> {
  if (port.link === undefined || port.linkNamespaceId !== (await namespaceIdOf(context.socket, container)))
    return undefined;
  try {
    const end = await inside.get(getLink({ index: port.link }));
    // Numbers of namespaces and devices are given anew: the end knows the port as the port knows it.
    return end.info.kind === "veth" && end.link === port.index ? end : undefined;
  } catch (error) {
    if (isErrno(error, "ENODEV")) return undefined;
    throw error;
  }
}

/**
 * A port whose other end is in another namespace than the endpoint's path means. Where that was replaced by a new one
 * under the same path, the port goes, since its end is where nobody wants it. Where somebody moved the end, it stays.
 */
async function removeStrayPort(
  port: Link,
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  context: PortContext,
  container: KernelNamespace,
): Promise<void> {
  const wasPutHere = endpoint.inode !== 0 || port.alias === portAliasOf(context.instance, container.inode);
  if (wasPutHere) throw movedAway(endpoint, network, container);
  await context.socket.execute(deleteLink({ index: port.index })).catch((error: unknown) => {
    // It goes by itself with the namespace of its other end.
    if (!isErrno(error, "ENODEV")) throw error;
  });
}

function movedAway(endpoint: LocalEndpoint, network: NetworkSettings, container: KernelNamespace): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted: `keep endpoint ${endpoint.id} in ${container.label}`,
    reason: `somebody has moved its interface ${endpoint.interface} into another network namespace`,
    hint: `move it back, or detach it: ${detachCommand(endpoint, network)}`,
  });
}

function detachCommand(endpoint: LocalEndpoint, network: NetworkSettings): string {
  return `weft detach ${network.name} --netns ${endpoint.netns} --interface ${endpoint.interface}`;
}

/** Whether the device is as {@link ensureEndpointPort} leaves it. */
export function isPortSettled(port: Link, network: NetworkSettings, context: SettledContext): boolean {
  return portChanges(port, network, context).next().done === true;
}

/** What the settings of a port follow from beside the network's; `inode`: of the namespace that the other end is in. */
type SettledContext = Pick<PortContext, "instance" | "bridgeIndex"> & Pick<EndpointPort, "inode">;

function* portChanges(port: Link, network: NetworkSettings, context: SettledContext): Generator<Request> {
  const reference = { index: port.index };
  const alias = portAliasOf(context.instance, context.inode);
  if (port.alias !== alias) yield changeLink(reference, { alias });
  if (port.master !== context.bridgeIndex) yield changeLink(reference, { master: context.bridgeIndex });
  if (port.mtu !== deviceMtuOf(network)) yield changeLink(reference, { mtu: deviceMtuOf(network) });
  const settings = endpointPort(network);
  if (!isPortAs(settings, port.info.bridgePort))
    yield changeLink(reference, { info: { portKind: "bridge", bridgePort: settings } });
  if (!port.up) yield changeLink(reference, { up: true });
}

async function ensureInside(
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  container: KernelNamespace,
  inside: NetlinkSocket,
  link: Link,
): Promise<Pick<EndpointPort, "changes" | "notes">> {
  const reference = { index: link.index };
  const changes: EndpointPort["changes"][number][] = [];
  const notes: string[] = [];
  const execute = async (requests: readonly Request[]): Promise<void> => {
    const { failures } = await inside.batch(requests);
    if (failures[0] !== undefined) throw failures[0].error;
  };
  // A new name takes the interface down, and with it what whoever renamed it has built on it.
  if (link.name !== endpoint.interface)
    notes.push(`interface ${endpoint.interface} has been renamed to ${link.name}, and is left so`);
  const settings: Request[] = [];
  if (link.mac !== endpoint.mac) {
    settings.push(changeLink(reference, { mac: endpoint.mac }));
    changes.push({
      kind: "repaired",
      message: `MAC address of ${link.name} had been changed to ${link.mac}; set back`,
    });
  }
  // The device drops what is larger than its MTU also of what it gets, so that routes alone can say that less is to be
  // sent (drivers/net/veth.c, `veth_forward_skb`). While they do they are there before the device grows, and leave after it shrank.
  const isBoundByRoutes = deviceMtuOf(network) > network.mtu;
  const resized = link.mtu === deviceMtuOf(network) ? [] : [changeLink(reference, { mtu: deviceMtuOf(network) })];
  await execute(isBoundByRoutes ? settings : [...settings, ...resized]);
  const ipv6 = ensureIpv6(endpoint, container, link.name);
  if (ipv6.change !== undefined) changes.push({ kind: "adjusted", message: ipv6.change });
  if (ipv6.lack !== undefined) notes.push(ipv6.lack);
  const usable = ipv6.lack === undefined ? endpoint : withoutIpv6(endpoint);
  const addresses = await inside.dump(listAddresses({ index: link.index }));
  const requests: Request[] = [];
  for (const { address, prefixLength } of usable.addresses)
    if (!addresses.some((there) => there.address === address && there.prefixLength === prefixLength))
      requests.push(replaceAddress({ index: link.index, address, prefixLength, withoutDad: true }));
  if (!link.up) requests.push(changeLink(reference, { up: true }));
  await execute(requests);
  await ensureContainerRoutes(usable, network, link.index, inside);
  if (isBoundByRoutes) await execute(resized);
  return { changes, notes };
}

/** The namespace that the endpoint belongs to. A path can come to mean another: the process ended, its number was reused. */
function openContainer(endpoint: LocalEndpoint, network: NetworkSettings, context: PortContext): KernelNamespace {
  const isOfProcess = /^\/proc\/\d+\//.test(endpoint.netns);
  const gone = new WeftError({
    code: "not-found",
    attempted: `put endpoint ${endpoint.id} into ${endpoint.netns}`,
    reason: isOfProcess ? "the namespace is gone: its process has ended" : "the namespace is gone",
    hint: `${isOfProcess ? "detach the endpoint" : "bring the namespace back, or detach the endpoint"}: ${detachCommand(endpoint, network)}`,
  });
  let container: KernelNamespace;
  try {
    container = context.kernel.open(endpoint.netns);
  } catch (error) {
    throw error instanceof WeftError && error.code === "not-found" ? gone : error;
  }
  const isAnother = endpoint.inode !== 0 && endpoint.inode !== container.inode;
  const isWefts = container.inode === context.underlayInode || container.inode === context.namespace.inode;
  if (!isAnother && !isWefts) return container;
  container.close();
  throw gone;
}

function explainPortFailure(error: Error, network: NetworkSettings): Error {
  if (!isErrno(error, "EXFULL")) return error;
  return new WeftError({
    code: "exhausted",
    attempted: error.attempted,
    reason: `bridge ${bridgeName(network.vni)} has 1,023 ports, the most that Linux allows`,
    hint: "attach the endpoint on another node",
    cause: error,
  });
}
