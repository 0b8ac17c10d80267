import type { MacAddress } from "../../../base/mac.ts";
import type { Link, NetlinkSocket } from "../../../netlink/index.ts";
import type { KernelNamespace } from "../../kernel.ts";
import type { DataplaneEvent } from "../../report.ts";

/** The end of a port's pair that is not on the bridge. */
export interface PortEnd extends Disposable {
  readonly namespace: KernelNamespace;
  readonly name: string;
  /** Absent: the kernel chooses. */
  readonly mac?: MacAddress;
  /** It is to be known as weft's; a container's is the container's. */
  readonly isOwn: boolean;
  /** The place cannot come to mean another namespace: who finds the end elsewhere knows that somebody moved it. */
  readonly isFixed: boolean;
  /** What takes the endpoint away, for messages. */
  readonly detachCommand: string;
  /** Absent: the end stays in its namespace. Otherwise somebody is to move it on; sets up what is weft's to set of it there. */
  settleMoved?(port: Link): Promise<SettledEnd>;
  /** Sets up the end, which is there as `link`, and what is behind it. `socket`: in its namespace. */
  settle(link: Link, socket: NetlinkSocket): Promise<SettledEnd>;
}

export interface SettledEnd {
  /** Something was written by other sockets than the one that was given. */
  readonly isWritten: boolean;
  /** What was found otherwise, and what was done. */
  readonly changes: readonly Pick<DataplaneEvent, "kind" | "message">[];
  /** What is otherwise than asked for, and is left so. */
  readonly notes: readonly string[];
}
