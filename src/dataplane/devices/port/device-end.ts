import { changeLink, type Link, type NetlinkSocket, type Request } from "../../../netlink/index.ts";
import { type DevicePlace, deviceMtuOf, type LocalEndpoint, type NetworkSettings } from "../../desired.ts";
import type { KernelNamespace } from "../../kernel.ts";
import { aliasOf, hostEndName } from "../../kernel-names.ts";
import type { HostDevices } from "../host-devices.ts";
import { makeMute } from "../mute.ts";
import type { PortEnd, SettledEnd } from "./end.ts";

/** What joins ends with devices of the host. */
export interface DeviceEndContext {
  readonly instance: string;
  readonly underlayNamespace: KernelNamespace;
  readonly hostDevices: Pick<HostDevices, "join">;
  /** The device of an endpoint, or what joins it with its port, is not as it was left. */
  readonly onDeviceDamaged: (endpoint: string) => void;
}

/** The end of a port that is joined with a device of the host: it has no address, and the host sends nothing by it. */
export function deviceEnd(
  endpoint: LocalEndpoint,
  place: DevicePlace,
  network: NetworkSettings,
  context: DeviceEndContext,
): PortEnd {
  const { underlayNamespace: namespace } = context;
  return {
    namespace,
    name: hostEndName(endpoint.id),
    isOwn: true,
    isFixed: true,
    detachCommand: `weft detach ${network.name} --${place.tap === undefined ? "interface" : "tap"} ${place.device}`,
    settle: (link, socket) => settle(endpoint, place, network, context, link, socket),
    [Symbol.dispose]() {},
  };
}

async function settle(
  { id: endpoint }: LocalEndpoint,
  { device, tap }: DevicePlace,
  network: NetworkSettings,
  context: DeviceEndContext,
  link: Link,
  socket: NetlinkSocket,
): Promise<SettledEnd> {
  const mtu = deviceMtuOf(network);
  makeMute(context.underlayNamespace, link.name);
  const reference = { index: link.index };
  const requests: Request[] = [];
  const alias = aliasOf(context.instance);
  if (link.alias !== alias) requests.push(changeLink(reference, { alias }));
  if (link.mtu !== mtu) requests.push(changeLink(reference, { mtu }));
  const { failures } = await socket.batch(requests);
  if (failures[0] !== undefined) throw failures[0].error;
  const wish = { endpoint, device, ...(tap === undefined ? {} : { tap }), mtu, end: link.index };
  const { isWritten, notes } = await context.hostDevices.join(wish, () => context.onDeviceDamaged(endpoint));
  // Not before: what comes in by it alone is the host's to take.
  if (!link.up) await socket.execute(changeLink(reference, { up: true }));
  return { isWritten, changes: [], notes };
}
