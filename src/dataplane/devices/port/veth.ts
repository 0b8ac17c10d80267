import { WeftError } from "../../../base/errors.ts";
import { isErrno } from "../../../linux/index.ts";
import {
  changeLink,
  createLink,
  deleteLink,
  getLink,
  type Link,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Request,
  replaceFdbEntry,
} from "../../../netlink/index.ts";
import { deviceMtuOf, type LocalEndpoint, type NetworkSettings } from "../../desired.ts";
import type { KernelNamespace } from "../../kernel.ts";
import { bridgeName, endpointPortName, portAliasOf, weftGroup, weftProtocol } from "../../kernel-names.ts";
import { keepWithoutAddresses } from "../../on-host/device-settings.ts";
import { endpointPort, isPortAs } from "../bridge-port.ts";
import type { LinkTable } from "../link-table.ts";
import { type ContainerContext, containerEnd } from "./container-end.ts";
import { type DeviceEndContext, deviceEnd } from "./device-end.ts";
import type { PortEnd, SettledEnd } from "./end.ts";
import { findEnd } from "./find-end.ts";
import { sandboxEnd } from "./sandbox-end.ts";

/** Where an endpoint's port goes. */
export interface PortContext extends ContainerContext, DeviceEndContext {
  readonly instance: string;
  readonly socket: NetlinkSocket;
  /** Opens a socket in a container's namespace; its writes are counted. */
  readonly openSocket: (namespace: KernelNamespace) => NetlinkSocket;
  readonly bridgeIndex: number;
  /** The ports are in the host's own namespace. */
  readonly isOnHost: boolean;
  /**
   * Lets the endpoint send from its port, and get there, what it may, and nothing else. Tells whether anything of the port had to be
   * written for that; what it shares with other ports does not count.
   */
  readonly guardPort: (endpoint: LocalEndpoint, index: number) => Promise<boolean>;
}

/** How an endpoint's port is. */
export interface EndpointPort {
  readonly index: number;
  /** The namespace that the other end is in, as {@link KernelNamespace.inode}. */
  readonly inode: number;
  readonly written: boolean;
  readonly changes: SettledEnd["changes"];
  readonly notes: SettledEnd["notes"];
}

/**
 * The endpoint's veth pair: one end a port of the bridge, the other in a container's namespace or the host's own. Whatever of
 * it is there and right stays as it is.
 */
export async function ensureEndpointPort(
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  context: PortContext,
  links: LinkTable,
): Promise<EndpointPort> {
  const name = endpointPortName(endpoint.id);
  using other = openEnd(endpoint, network, context);
  using inside = context.openSocket(other.namespace);
  const writes = (): number => context.socket.writes + inside.writes;
  const before = writes();
  let port = await links.find(name);
  let end = port === undefined ? undefined : await findEnd(port, context.socket, other.namespace, inside);
  if (port === undefined || (end === undefined && other.settleMoved === undefined)) {
    if (port !== undefined) await removeStrayPort(port, endpoint, context, other);
    port = await createPort(endpoint, network, context, other);
    end = await findEnd(port, context.socket, other.namespace, inside);
    if (end === undefined && other.settleMoved === undefined) throw movedAway(endpoint, other);
  }
  const { inode } = other.namespace;
  if (context.isOnHost) await keepWithoutAddresses(port, context.socket);
  const beforeGuard = writes();
  const isGuardWritten = await context.guardPort(endpoint, port.index);
  const ofGuard = writes() - beforeGuard;
  const { failures } = await context.socket.batch(
    portChanges(port, network, { ...context, inode, standsBy: endpoint.standsBy === true }),
  );
  if (failures[0] !== undefined) throw explainPortFailure(failures[0].error, network);
  const { isWritten, changes, notes } = await settleEnd(other, port, end, inside);
  const written = isGuardWritten || isWritten || writes() - ofGuard > before;
  return { index: port.index, inode, written, changes, notes };
}

/** `end`: where it was put; `undefined`: somebody else has it, as is meant to be. */
async function settleEnd(
  other: PortEnd,
  port: Link,
  end: Link | undefined,
  inside: NetlinkSocket,
): Promise<SettledEnd> {
  if (end !== undefined) return other.settle(end, inside);
  return other.settleMoved?.(port) ?? { isWritten: false, changes: [], notes: [] };
}

function openEnd(endpoint: LocalEndpoint, network: NetworkSettings, context: PortContext): PortEnd {
  const { place } = endpoint;
  switch (place.kind) {
    case "netns":
      return containerEnd(endpoint, place, network, context);
    case "device":
      return deviceEnd(endpoint, place, network, context);
    case "sandbox":
      return sandboxEnd(endpoint, place, network, context);
  }
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
  { name: interfaceName, mac, isOwn, namespace }: PortEnd,
): Promise<Link> {
  const name = endpointPortName(endpoint.id);
  try {
    await context.socket.execute(
      createLink("veth", {
        name,
        mtu: deviceMtuOf(network),
        group: weftGroup,
        info: {
          peer: {
            name: interfaceName,
            ...(mac === undefined ? {} : { mac }),
            ...(isOwn ? { group: weftGroup } : {}),
            mtu: network.mtu,
            namespace,
          },
        },
      }),
    );
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    throw new WeftError({
      code: "already-exists",
      attempted: `create interface ${interfaceName} in ${namespace.label}`,
      reason: "an interface of this name is there already and weft did not make it",
      hint: "choose another name with --interface",
      cause: error,
    });
  }
  return context.socket.get(getLink({ name }));
}

/**
 * A port whose other end is in another namespace than the endpoint's path means. Where that was replaced by a new one
 * under the same path, the port goes, since its end is where nobody wants it. Where somebody moved the end, it stays.
 */
async function removeStrayPort(port: Link, endpoint: LocalEndpoint, context: PortContext, end: PortEnd): Promise<void> {
  const wasPutHere = end.isFixed || port.alias === portAliasOf(context.instance, end.namespace.inode);
  if (wasPutHere) throw movedAway(endpoint, end);
  await context.socket.execute(deleteLink({ index: port.index })).catch((error: unknown) => {
    // It goes by itself with the namespace of its other end.
    if (!isErrno(error, "ENODEV")) throw error;
  });
}

function movedAway({ id }: LocalEndpoint, { namespace, name, detachCommand }: PortEnd): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted: `keep endpoint ${id} in ${namespace.label}`,
    reason: `somebody has moved its interface ${name} into another network namespace`,
    hint: `move it back, or detach it: ${detachCommand}`,
  });
}

/** Whether the device is as {@link ensureEndpointPort} leaves it. */
export function isPortSettled(port: Link, network: NetworkSettings, context: SettledContext): boolean {
  return portChanges(port, network, context).next().done === true;
}

/** What the settings of a port follow from beside the network's; `inode`: of the namespace that the other end is in. */
type SettledContext = Pick<PortContext, "instance" | "bridgeIndex" | "isOnHost"> &
  Pick<EndpointPort, "inode"> & { readonly standsBy: boolean };

function* portChanges(port: Link, network: NetworkSettings, context: SettledContext): Generator<Request> {
  const reference = { index: port.index };
  const alias = portAliasOf(context.instance, context.inode);
  if (port.alias !== alias) yield changeLink(reference, { alias });
  if (port.master !== context.bridgeIndex) yield changeLink(reference, { master: context.bridgeIndex });
  if (port.mtu !== deviceMtuOf(network)) yield changeLink(reference, { mtu: deviceMtuOf(network) });
  const settings = endpointPort(network, context);
  if (!isPortAs(settings, port.info.bridgePort))
    yield changeLink(reference, { info: { portKind: "bridge", bridgePort: settings } });
  if (!port.up) yield changeLink(reference, { up: true });
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
