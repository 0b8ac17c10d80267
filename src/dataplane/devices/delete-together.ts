import { isErrno } from "../../linux/index.ts";
import { changeLink, deleteLinkGroup, type Link, type NetlinkSocket } from "../../netlink/index.ts";
import { leavingGroup } from "../kernel-names.ts";

/**
 * Deletes devices of a tenant's namespace all at once: the kernel waits once for all, not for each. What has gone meanwhile is gone;
 * when it fails, some or all may be there still. See docs/adr/0025-leaving-group.md.
 */
export async function deleteTogether(socket: NetlinkSocket, links: readonly Pick<Link, "index">[]): Promise<void> {
  if (links.length === 0) return;
  const { failures } = await socket.batch([
    ...links.map(({ index }) => changeLink({ index }, { group: leavingGroup })),
    deleteLinkGroup(leavingGroup),
  ]);
  for (const { error } of failures) if (!isErrno(error, "ENODEV")) throw error;
}
