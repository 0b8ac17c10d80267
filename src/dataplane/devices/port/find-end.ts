import { getLink, type Link, lookUp, type NetlinkSocket, namespaceIdOf } from "../../../netlink/index.ts";
import type { KernelNamespace } from "../../kernel.ts";

/**
 * The other end of a port's pair, whatever its name and MAC are by now; `undefined`: it is not in the namespace.
 * `outside`: a socket where the port is; `inside`: one in the namespace.
 */
export async function findEnd(
  port: Link,
  outside: NetlinkSocket,
  namespace: KernelNamespace,
  inside: NetlinkSocket,
): Promise<Link | undefined> {
  if (port.link === undefined || port.linkNamespaceId !== (await namespaceIdOf(outside, namespace))) return undefined;
  const end = await lookUp(inside, getLink({ index: port.link }));
  // Numbers of namespaces and devices are given anew: the end knows the port as the port knows it.
  return end?.info.kind === "veth" && end.link === port.index ? end : undefined;
}
