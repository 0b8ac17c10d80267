import type { InterfaceAddress } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { SystemError } from "../../linux/index.ts";
import {
  deleteAddress,
  type Link,
  listAddresses,
  type NetlinkSocket,
  type Request,
  replaceAddress,
} from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";
import { aliasOf, isOwnLink, isRoutingDevice } from "../kernel-names.ts";
import { ensureRoutingSettings, keepWithoutAddresses } from "../on-host/device-settings.ts";

export interface DeviceContext {
  readonly instance: string;
  /** The tenant's namespace, in which the devices live. */
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  /** The underlay namespace, in which the outer packets of tunnels travel. */
  readonly underlay: NetlinkSocket;
  readonly underlayNamespace: KernelNamespace;
  /** That is the host's own namespace, in which devices are as the host's settings have it. */
  readonly isOnHost: boolean;
  /** Limits of the underlay interface, which a tunnel that is bound to none does not inherit. */
  readonly offload: OffloadLimits;
}

/** linux/if_link.h: IFLA_GSO_MAX_SIZE, IFLA_GSO_MAX_SEGS. */
export interface OffloadLimits {
  readonly gsoMaxSize?: number;
  readonly gsoMaxSegments?: number;
}

/** Makes a device quiet that is about to come up, and a router where packets of endpoints go through it. */
export async function settleOnHost(link: Link, { isOnHost, namespace, socket }: DeviceContext): Promise<void> {
  if (!isOnHost) return;
  await keepWithoutAddresses(link, socket);
  if (isRoutingDevice(link.name)) ensureRoutingSettings(namespace, [link.name]);
}

/** Sends what makes a device as it shall be; notes it where the device was there before. */
export async function applyChanges(
  name: string,
  socket: NetlinkSocket,
  requests: readonly Request[],
  isRepair: boolean,
  changes: string[],
): Promise<void> {
  if (requests.length === 0) return;
  const { failures } = await socket.batch(requests);
  if (failures[0] !== undefined) throw naming(name, failures[0].error);
  if (isRepair) changes.push(`changed settings of ${name}`);
}

/** The kernel is told the number of a device; people know it by its name. */
function naming(name: string, error: Error): Error {
  return error instanceof SystemError ? error.with({ operation: `set up ${name}: ${error.attempted}` }) : error;
}

/** Addresses that a device of weft's alone lacks are added first, then others are taken away. */
export async function addressChanges(
  wanted: readonly InterfaceAddress[],
  { index }: Link,
  socket: NetlinkSocket,
): Promise<Request[]> {
  const present = await socket.dump(listAddresses({ index }));
  const isIn = (list: readonly InterfaceAddress[], { address, prefixLength }: InterfaceAddress): boolean =>
    list.some((other) => other.address === address && other.prefixLength === prefixLength);
  return [
    ...wanted
      .filter((address) => !isIn(present, address))
      .map(({ address, prefixLength }) => replaceAddress({ index, address, prefixLength, withoutDad: true })),
    ...present
      .filter((address) => !isIn(wanted, address))
      .map(({ address, prefixLength }) => deleteAddress({ index, address, prefixLength })),
  ];
}

/** Whether weft made the device; one of its two marks may have been taken off. */
export function isMarked(link: Link, instance: string): boolean {
  return isOwnLink(link) || link.alias === aliasOf(instance);
}

export function wrongKind(name: string, link: Link, wanted: string, context: DeviceContext): WeftError {
  return new WeftError({
    code: "already-exists",
    attempted: `create ${wanted} ${name} in ${context.namespace.label}`,
    reason: `a ${link.info.kind ?? "plain"} device of this name is there already and weft did not make it`,
    hint: `delete it with: ip -n ${context.namespace.label} link delete ${name}`,
  });
}
