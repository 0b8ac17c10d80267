import type { IpFamily } from "../../base/ip.ts";
import { isErrno } from "../../linux/index.ts";
import { listRules, type NetlinkSocket } from "../../netlink/index.ts";

/** linux/rtnetlink.h: RT_TABLE_MAIN. */
export const mainTable = 254;

/**
 * The tables in which some rule has packets looked up. Which of them a packet of a tenant gets also depends on marks that the
 * host's firewall may set, so that any will do.
 */
export async function tablesInUse(socket: NetlinkSocket, family: IpFamily): Promise<ReadonlySet<number>> {
  try {
    return new Set((await socket.dump(listRules(family))).map(({ table }) => table));
  } catch (error) {
    // A kernel without rules, CONFIG_IP_MULTIPLE_TABLES.
    if (isErrno(error, "EAFNOSUPPORT") || isErrno(error, "EOPNOTSUPP")) return new Set([mainTable]);
    throw error;
  }
}
