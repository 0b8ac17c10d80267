import { deleteLink, getLink, type Link, listLinks, listRoutes, lookUp } from "../../netlink/index.ts";
import { aliasOf, hostDevice, hostDevicePattern, isOwnLink, tenantOfHostTable } from "../kernel-names.ts";
import { ensureAnswers } from "./answers.ts";
import { releaseForwarding } from "./host-forwarding.ts";
import type { Side } from "./pair.ts";
import { removeFromHost } from "./uplink.ts";

/**
 * Removes from the host what is left of uplinks of tenants that are not kept: their namespaces went, or their networks
 * ask for no uplink any more, while the agent was not there to see it. Who is kept is asked anew each time. Returns writes beside the socket's.
 */
export async function removeLeftoverUplinks(
  instance: string,
  kept: () => ReadonlySet<string>,
  underlay: Side,
): Promise<number> {
  let writes = 0;
  // The filter goes last when an uplink is removed, so its name tells of everything.
  for (const table of await underlay.nftables.tables("inet")) {
    const tenant = tenantOfHostTable(instance, table);
    if (tenant === undefined || kept().has(tenant)) continue;
    const host = await ownDevice(instance, hostDevice({ instance, tenant }), underlay);
    writes += await removeFromHost({ instance, tenant }, underlay, host === undefined ? {} : { host });
  }
  for (const link of await underlay.socket.dump(listLinks())) {
    if (!hostDevicePattern.test(link.name) || !isOf(instance, link)) continue;
    if ([...kept()].some((tenant) => hostDevice({ instance, tenant }) === link.name)) continue;
    await underlay.socket.execute(deleteLink({ index: link.index }));
  }
  const links = await underlay.socket.dump(listLinks());
  writes += (await ensureAnswers(underlay, new Map(), await underlay.socket.dump(listRoutes()), links)).writes;
  return kept().size > 0 ? writes : writes + (await releaseForwarding(underlay));
}

async function ownDevice(instance: string, name: string, { socket }: Side): Promise<Link | undefined> {
  const link = await lookUp(socket, getLink({ name }));
  return link !== undefined && isOf(instance, link) ? link : undefined;
}

function isOf(instance: string, link: Link): boolean {
  return isOwnLink(link) && link.alias === aliasOf(instance);
}
