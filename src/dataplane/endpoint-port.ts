import { existsSync } from "node:fs";
import { WeftError } from "../base/errors.ts";
import { isErrno, NetworkNamespace, readNetworkSysctl, writeNetworkSysctl } from "../linux/index.ts";
import { bridgeName, endpointPortName } from "../model/names.ts";
import {
  changeLink,
  createLink,
  deleteLink,
  getLink,
  type Link,
  listAddresses,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Request,
  replaceAddress,
  replaceFdbEntry,
} from "../netlink/index.ts";
import { endpointPort, isPortAs } from "./bridge-port.ts";
import { ensureContainerRoutes } from "./container-routes.ts";
import type { LocalEndpoint, NetworkSettings } from "./desired.ts";
import type { LinkTable } from "./link-table.ts";
import { aliasOf, weftGroup, weftProtocol } from "./ownership.ts";

/** Where an endpoint's port goes. */
export interface PortPlace {
  readonly instance: string;
  readonly namespace: NetworkNamespace;
  readonly socket: NetlinkSocket;
  /** Opens a socket in a container's namespace; its writes are counted. */
  readonly openSocket: (namespace: NetworkNamespace) => NetlinkSocket;
  readonly bridgeIndex: number;
  /** The underlay's namespace: nothing of a tenant is put there. */
  readonly underlayInode: number;
}

/**
 * The endpoint's veth pair: one end a port of the bridge, the other in the container's namespace with its MAC and
 * addresses. Whatever of it is there and right stays as it is. The interface is complete before it comes up.
 */
export async function ensureEndpointPort(
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  place: PortPlace,
  links: LinkTable,
): Promise<{ readonly index: number; readonly written: boolean }> {
  const name = endpointPortName(endpoint.id);
  using container = openContainer(endpoint, place);
  using inside = place.openSocket(container);
  const before = place.socket.writes + inside.writes;
  let port = await links.find(name);
  if (port !== undefined && !(await hasInterface(inside, endpoint))) {
    // The other end went another way: its namespace was replaced by a new one under the same path.
    await place.socket.execute(deleteLink({ name }));
    port = undefined;
  }
  if (port === undefined) port = await createPort(endpoint, network, place, container);
  await ensureInside(endpoint, network, container, inside);
  const { failures } = await place.socket.batch(portChanges(port, network, place));
  if (failures[0] !== undefined) throw explainPortFailure(failures[0].error, network);
  return { index: port.index, written: place.socket.writes + inside.writes > before };
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
  place: PortPlace,
  container: NetworkNamespace,
): Promise<Link> {
  const name = endpointPortName(endpoint.id);
  try {
    await place.socket.execute(
      createLink("veth", {
        name,
        mtu: network.mtu,
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
  return place.socket.get(getLink({ name }));
}

/** Whether the device is as {@link ensureEndpointPort} leaves it. */
export function isPortSettled(
  port: Link,
  network: NetworkSettings,
  place: Pick<PortPlace, "instance" | "bridgeIndex">,
): boolean {
  return portChanges(port, network, place).next().done === true;
}

function* portChanges(
  port: Link,
  network: NetworkSettings,
  place: Pick<PortPlace, "instance" | "bridgeIndex">,
): Generator<Request> {
  const reference = { index: port.index };
  if (port.alias !== aliasOf(place.instance)) yield changeLink(reference, { alias: aliasOf(place.instance) });
  if (port.master !== place.bridgeIndex) yield changeLink(reference, { master: place.bridgeIndex });
  if (port.mtu !== network.mtu) yield changeLink(reference, { mtu: network.mtu });
  const settings = endpointPort(network);
  if (!isPortAs(settings, port.info.bridgePort))
    yield changeLink(reference, { info: { portKind: "bridge", bridgePort: settings } });
  if (!port.up) yield changeLink(reference, { up: true });
}

async function ensureInside(
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  container: NetworkNamespace,
  inside: NetlinkSocket,
): Promise<void> {
  const link = await inside.get(getLink({ name: endpoint.interface }));
  const reference = { index: link.index };
  for (const setting of ["accept_ra", "accept_dad"]) {
    const key = `ipv6/conf/${endpoint.interface}/${setting}`;
    const value = readNetworkSysctl(container, key);
    if (value !== undefined && value !== "0") writeNetworkSysctl(container, key, "0");
  }
  const requests: Request[] = [];
  if (link.mac !== endpoint.mac) requests.push(changeLink(reference, { mac: endpoint.mac }));
  if (link.mtu !== network.mtu) requests.push(changeLink(reference, { mtu: network.mtu }));
  const addresses = await inside.dump(listAddresses({ index: link.index }));
  for (const { address, prefixLength } of endpoint.addresses)
    if (!addresses.some((there) => there.address === address && there.prefixLength === prefixLength))
      requests.push(replaceAddress({ index: link.index, address, prefixLength, withoutDad: true }));
  if (!link.up) requests.push(changeLink(reference, { up: true }));
  const { failures } = await inside.batch(requests);
  if (failures[0] !== undefined) throw failures[0].error;
  await ensureContainerRoutes(endpoint, network, link.index, inside);
}

async function hasInterface(inside: NetlinkSocket, endpoint: LocalEndpoint): Promise<boolean> {
  try {
    const link = await inside.get(getLink({ name: endpoint.interface }));
    return link.info.kind === "veth" && link.mac === endpoint.mac;
  } catch (error) {
    if (isErrno(error, "ENODEV")) return false;
    throw error;
  }
}

/** The namespace that the endpoint belongs to. A path can come to mean another: the process ended, its number was reused. */
function openContainer(endpoint: LocalEndpoint, place: PortPlace): NetworkNamespace {
  const attempted = `put endpoint ${endpoint.id} into ${endpoint.netns}`;
  const gone = new WeftError({
    code: "not-found",
    attempted,
    reason: "the namespace is gone",
    hint: "detach the endpoint, or bring the namespace back",
  });
  if (!existsSync(endpoint.netns)) throw gone;
  const container = NetworkNamespace.open(endpoint.netns);
  const isAnother = endpoint.inode !== 0 && endpoint.inode !== container.inode;
  const isWefts = container.inode === place.underlayInode || container.inode === place.namespace.inode;
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
