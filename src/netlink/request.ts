import type { MessageWriter } from "./writer.ts";

/** One netlink message to the kernel. Made by the functions of each family; sent alone or in batches. */
export interface Request {
  /** RTM_* of linux/rtnetlink.h. */
  readonly type: number;
  /** NLM_F_* beside REQUEST and ACK. */
  readonly flags: number;
  /** What is attempted, on what, for people: `create link vx100`. Called only when it fails. */
  readonly describe: () => string;
  /** Writes what follows the message header. */
  readonly write: (writer: MessageWriter) => void;
}

/** A request whose answer is read. */
export interface Query<Value> extends Request {
  /** Reads one message of the answer; `undefined` for one that is not of interest. */
  readonly read: (bytes: Uint8Array, view: DataView, start: number, end: number, type: number) => Value | undefined;
}
