import { NLM_F_DUMP } from "../../netlink/message.ts";

/** asm-generic/errno-base.h, errno.h. */
export const errno = {
  ENOENT: 2,
  ESRCH: 3,
  EBADF: 9,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EOPNOTSUPP: 95,
  ENETUNREACH: 101,
  ENOBUFS: 105,
} as const;

export function isDump(flags: number): boolean {
  return (flags & NLM_F_DUMP) === NLM_F_DUMP;
}

export function viewOf(payload: Uint8Array): DataView {
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
}
