import { WeftError } from "../../../base/errors.ts";
import { changeLink, type Link, type NetlinkSocket, type Request } from "../../../netlink/index.ts";
import type { LocalEndpoint, NetworkSettings, SandboxPlace } from "../../desired.ts";
import type { Kernel, KernelNamespace } from "../../kernel.ts";
import { aliasOf, hostEndName } from "../../kernel-names.ts";
import { makeMute } from "../mute.ts";
import type { PortEnd, SettledEnd } from "./end.ts";
import { findEnd } from "./find-end.ts";

export interface SandboxContext {
  readonly instance: string;
  readonly kernel: Kernel;
  readonly underlayNamespace: KernelNamespace;
  /** In the tenant's namespace. */
  readonly socket: NetlinkSocket;
  /** Opens a socket in a container's namespace; its writes are counted. */
  readonly openSocket: (namespace: KernelNamespace) => NetlinkSocket;
}

const nothing: SettledEnd = { isWritten: false, changes: [], notes: [] };

/**
 * The end of a port that a container engine moves into a sandbox of its own. Until then it is down, so that the host neither hears
 * nor says anything by it; from then on all of it is the engine's but for what follows from the network.
 */
export function sandboxEnd(
  endpoint: LocalEndpoint,
  place: SandboxPlace,
  network: NetworkSettings,
  context: SandboxContext,
): PortEnd {
  const { underlayNamespace: namespace } = context;
  // Not what devices let pass while that changes: no routes of weft's are there that would bound what is sent meanwhile.
  const { mtu } = network;
  return {
    namespace,
    name: hostEndName(endpoint.id),
    mac: endpoint.mac,
    isOwn: true,
    isFixed: true,
    detachCommand: `weft endpoint delete ${endpoint.id}`,
    settle: (link, socket) => settle(link, socket, mtu, context),
    settleMoved: (port) => settleMoved(port, endpoint, place, mtu, context),
    [Symbol.dispose]() {},
  };
}

async function settle(
  link: Link,
  socket: NetlinkSocket,
  mtu: number,
  { underlayNamespace, instance }: SandboxContext,
): Promise<SettledEnd> {
  makeMute(underlayNamespace, link.name);
  const requests: Request[] = [];
  const alias = aliasOf(instance);
  if (link.alias !== alias) requests.push(changeLink({ index: link.index }, { alias }));
  if (link.mtu !== mtu) requests.push(changeLink({ index: link.index }, { mtu }));
  const { failures } = await socket.batch(requests);
  if (failures[0] !== undefined) throw failures[0].error;
  return nothing;
}

/** The MTU changes with the network's encapsulation, and no engine hears of that. */
async function settleMoved(
  port: Link,
  { mac }: LocalEndpoint,
  { netns }: SandboxPlace,
  mtu: number,
  context: SandboxContext,
): Promise<SettledEnd> {
  using sandbox = openSandbox(netns, context.kernel);
  if (sandbox === undefined) return nothing;
  using inside = context.openSocket(sandbox);
  const end = await findEnd(port, context.socket, sandbox, inside);
  if (end === undefined) return nothing;
  const reference = { index: end.index };
  if (end.mtu !== mtu) await inside.execute(changeLink(reference, { mtu }));
  if (end.mac === mac) return nothing;
  await inside.execute(changeLink(reference, { mac }));
  return {
    ...nothing,
    changes: [{ kind: "repaired", message: `MAC address of ${end.name} had been changed to ${end.mac}; set back` }],
  };
}

/** `undefined`: the path leads to none, or only for the engine, which may have mounts of its own. */
function openSandbox(netns: string, kernel: Kernel): KernelNamespace | undefined {
  if (netns === "") return undefined;
  try {
    return kernel.open(netns);
  } catch (error) {
    if (error instanceof WeftError) return undefined;
    throw error;
  }
}
