import type { MessageWriter } from "./writer.ts";

/** linux/netlink.h: `struct nlmsghdr`, 16 octets: length, type, flags, sequence, port. */
export const messageHeaderLength = 16;

/** Message types below 16 belong to netlink itself. linux/netlink.h */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

/** Flags of any message. */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
/** The table changed while it was dumped: the dump may be inconsistent. */
export const NLM_F_DUMP_INTR = 0x10;
/** Of a request to get. */
export const NLM_F_DUMP = 0x300;
/** Of a request to make something. */
/** The answer comes to who asked, and not to those who listen alone. */
export const NLM_F_ECHO = 0x8;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** Of an acknowledgement. */
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

export interface MessageHeader {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly portId: number;
  /** Where the payload starts and ends in the datagram. */
  readonly start: number;
  readonly end: number;
}

/** Starts a message; {@link endMessage} writes its length. */
export function beginMessage(writer: MessageWriter, type: number, flags: number, sequence: number): number {
  const start = writer.reserve(messageHeaderLength);
  writer.view.setUint16(start + 4, type, true);
  writer.view.setUint16(start + 6, flags, true);
  writer.view.setUint32(start + 8, sequence, true);
  return start;
}

export function endMessage(writer: MessageWriter, start: number): void {
  writer.view.setUint32(start, writer.position - start, true);
  writer.align();
}

/** The messages of one datagram. Throws RangeError at the first whose length is impossible. */
export function* messagesOf(bytes: Uint8Array, view: DataView): Generator<MessageHeader> {
  let position = 0;
  while (position < bytes.length) {
    const left = bytes.length - position;
    const length = left < messageHeaderLength ? 0 : view.getUint32(position, true);
    if (length < messageHeaderLength || length > left)
      throw new RangeError(`netlink message at octet ${position} has length ${length}, ${left} octets are left`);
    yield {
      type: view.getUint16(position + 4, true),
      flags: view.getUint16(position + 6, true),
      sequence: view.getUint32(position + 8, true),
      portId: view.getUint32(position + 12, true),
      start: position + messageHeaderLength,
      end: position + length,
    };
    position += (length + 3) & ~3;
  }
}
