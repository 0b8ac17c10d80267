import { WeftError } from "../base/errors.ts";
import { changeLink, getLink, type Link, listLinks, NetlinkSocket } from "../netlink/index.ts";
import { isMade } from "./encapsulation/fallback-tunnels.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import { aliasOf } from "./kernel-names.ts";
import { ensureTenantSysctls } from "./tenant-sysctls.ts";

/** The namespace of a tenant: made, or found and known by the mark on its loopback device. */
export async function openTenantNamespace(
  kernel: Kernel,
  name: string,
  instance: string,
): Promise<{ readonly namespace: KernelNamespace; readonly socket: NetlinkSocket }> {
  if (!kernel.namedExists(name)) kernel.createNamed(name);
  using stack = new DisposableStack();
  const namespace = stack.use(kernel.openNamed(name));
  const socket = stack.use(new NetlinkSocket({ channel: namespace.openChannel({}) }));
  await mark(name, instance, socket);
  ensureTenantSysctls(namespace, []);
  stack.move();
  return { namespace, socket };
}

/** A namespace that was made and not marked yet when the agent died is empty; one that is not empty is somebody else's. */
async function mark(name: string, instance: string, socket: NetlinkSocket): Promise<void> {
  const loopback = await socket.get(getLink({ name: "lo" }));
  if (loopback.alias === aliasOf(instance)) return;
  const links = await socket.dump(listLinks());
  if (loopback.up || links.some(isMade))
    throw new WeftError({
      code: "already-exists",
      attempted: `use network namespace ${name}`,
      reason: "a namespace of this name exists and weft did not make it",
      hint: `rename it, or run the agent with another --instance`,
    });
  await socket.execute(changeLink({ name: "lo" }, { alias: aliasOf(instance) }));
}

/** Gives the namespace its name again after somebody deleted it; tells whether that was necessary. */
export function ensureNamespaceName(kernel: Kernel, namespace: KernelNamespace, name: string): boolean {
  if (kernel.namedExists(name)) {
    using present = kernel.openNamed(name);
    if (present.inode === namespace.inode) return false;
    throw new WeftError({
      code: "already-exists",
      attempted: `use network namespace ${name}`,
      reason: "another namespace has taken the name",
      hint: `delete it with: ip netns delete ${name}`,
    });
  }
  kernel.name(namespace, name);
  return true;
}

/** Removes the namespace if nothing is left in it that weft did not make; else says what is. */
export async function removeTenantNamespace(
  kernel: Kernel,
  namespace: KernelNamespace,
  name: string,
  socket: NetlinkSocket,
): Promise<readonly Link[]> {
  const foreign = (await socket.dump(listLinks())).filter(isMade);
  if (foreign.length > 0) return foreign;
  if (kernel.namedExists(name)) {
    using present = kernel.openNamed(name);
    if (present.inode === namespace.inode) kernel.deleteNamed(name);
  }
  return [];
}
