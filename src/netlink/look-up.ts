import { isErrno } from "../linux/index.ts";
import type { Query } from "./request.ts";
import type { NetlinkSocket } from "./socket.ts";

/** The object, or `undefined` when there is none. */
export async function lookUp<Value>(socket: NetlinkSocket, query: Query<Value>): Promise<Value | undefined> {
  try {
    return await socket.get(query);
  } catch (error) {
    if (error instanceof Error && isGone(error)) return undefined;
    throw error;
  }
}

/** There is no such object: what was to be taken away is gone already. */
export function isGone(error: Error): boolean {
  return isErrno(error, "ENOENT", "ESRCH", "ENODEV");
}
