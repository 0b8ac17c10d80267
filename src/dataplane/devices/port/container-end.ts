import { WeftError } from "../../../base/errors.ts";
import {
  changeLink,
  type Link,
  listAddresses,
  type NetlinkSocket,
  type Request,
  replaceAddress,
} from "../../../netlink/index.ts";
import { deviceMtuOf, type LocalEndpoint, type NamespacePlace, type NetworkSettings } from "../../desired.ts";
import type { Kernel, KernelNamespace } from "../../kernel.ts";
import { ensureIpv6, withoutIpv6 } from "./container-ipv6.ts";
import { ensureContainerRoutes } from "./container-routes.ts";
import type { PortEnd, SettledEnd } from "./end.ts";

/** Where containers are. */
export interface ContainerContext {
  readonly kernel: Kernel;
  /** The tenant's. */
  readonly namespace: KernelNamespace;
  /** The underlay's namespace: nothing of a tenant is put there. */
  readonly underlayInode: number;
}

/** The end of a port that is a container's interface, with its MAC and addresses. Complete before it comes up. */
export function containerEnd(
  endpoint: LocalEndpoint,
  place: NamespacePlace,
  network: NetworkSettings,
  context: ContainerContext,
): PortEnd {
  const detachCommand = `weft detach ${network.name} --netns ${place.netns} --interface ${place.interface}`;
  const namespace = openContainer(endpoint, place, detachCommand, context);
  return {
    namespace,
    name: place.interface,
    mac: endpoint.mac,
    isOwn: false,
    isFixed: place.inode !== 0,
    detachCommand,
    settle: (link, socket) => ensureInside(endpoint, place, network, namespace, socket, link),
    [Symbol.dispose]: () => namespace.close(),
  };
}

async function ensureInside(
  endpoint: LocalEndpoint,
  place: NamespacePlace,
  network: NetworkSettings,
  container: KernelNamespace,
  inside: NetlinkSocket,
  link: Link,
): Promise<SettledEnd> {
  const reference = { index: link.index };
  const changes: SettledEnd["changes"][number][] = [];
  const notes: string[] = [];
  const execute = async (requests: readonly Request[]): Promise<void> => {
    const { failures } = await inside.batch(requests);
    if (failures[0] !== undefined) throw failures[0].error;
  };
  // A new name takes the interface down, and with it what whoever renamed it has built on it.
  if (link.name !== place.interface)
    notes.push(`interface ${place.interface} has been renamed to ${link.name}, and is left so`);
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
  await ensureContainerRoutes(usable, place.routePriority, network, link.index, inside);
  if (isBoundByRoutes) await execute(resized);
  return { isWritten: false, changes, notes };
}

/** The namespace that the endpoint belongs to. A path can come to mean another: the process ended, its number was reused. */
function openContainer(
  { id }: LocalEndpoint,
  { netns, inode }: NamespacePlace,
  detachCommand: string,
  context: ContainerContext,
): KernelNamespace {
  const isOfProcess = /^\/proc\/\d+\//.test(netns);
  const gone = new WeftError({
    code: "not-found",
    attempted: `put endpoint ${id} into ${netns}`,
    reason: isOfProcess ? "the namespace is gone: its process has ended" : "the namespace is gone",
    hint: `${isOfProcess ? "detach the endpoint" : "bring the namespace back, or detach the endpoint"}: ${detachCommand}`,
  });
  let container: KernelNamespace;
  try {
    container = context.kernel.open(netns);
  } catch (error) {
    throw error instanceof WeftError && error.code === "not-found" ? gone : error;
  }
  const isAnother = inode !== 0 && inode !== container.inode;
  const isWefts = container.inode === context.underlayInode || container.inode === context.namespace.inode;
  if (!isAnother && !isWefts) return container;
  container.close();
  throw gone;
}
