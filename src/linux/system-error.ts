import { constants } from "node:os";
import { type ErrorCode, WeftError } from "../base/errors.ts";

const nameByErrno = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));
/** Those that Node does not name. asm-generic/errno.h. */
nameByErrno.set(95, "EOPNOTSUPP");
nameByErrno.set(22, "EINVAL");
nameByErrno.set(54, "EXFULL");
/** Node calls it EWOULDBLOCK, which is the same number. */
nameByErrno.set(11, "EAGAIN");

const explanations: Readonly<Record<string, string>> = {
  EPERM: "operation not permitted",
  EACCES: "permission denied",
  ENOENT: "no such object",
  ENODEV: "no such device",
  ENXIO: "no such device or address",
  EEXIST: "it exists already",
  EINVAL: "invalid argument",
  EOPNOTSUPP: "the kernel does not support it",
  EADDRINUSE: "the address or port is in use",
  EADDRNOTAVAIL: "the address is not on this host",
  EBUSY: "it is in use",
  EROFS: "it is looked at alone, and not changed",
  ENOBUFS: "no buffer space",
  ENOMEM: "out of memory",
  ENETDOWN: "the network is down",
  ENETUNREACH: "the network is unreachable",
  ERANGE: "out of range",
  EAFNOSUPPORT: "the address family is not supported",
  EPROTONOSUPPORT: "the protocol is not supported",
  EMFILE: "too many open files",
  ENFILE: "too many open files on this host",
  EINTR: "interrupted",
  EXFULL: "no room for more",
  EAGAIN: "not ready",
  ETIMEDOUT: "timed out",
};

const codes: Readonly<Record<string, ErrorCode>> = {
  EPERM: "permission-denied",
  EACCES: "permission-denied",
  ENOENT: "not-found",
  ENODEV: "not-found",
  ENXIO: "not-found",
  EEXIST: "already-exists",
  EADDRINUSE: "already-exists",
  EINVAL: "invalid-argument",
  ERANGE: "invalid-argument",
  EOPNOTSUPP: "unsupported",
  EAFNOSUPPORT: "unsupported",
  EPROTONOSUPPORT: "unsupported",
  EAGAIN: "unavailable",
  ENOBUFS: "unavailable",
  EBUSY: "failed-precondition",
};

export interface SystemFailure {
  readonly operation: string;
  /** A positive number of asm-generic/errno.h. */
  readonly errno: number;
  /** What the kernel itself said, if it said anything. */
  readonly kernelMessage?: string | undefined;
  readonly hint?: string | undefined;
}

/** A system call or netlink request that the kernel refused. */
export class SystemError extends WeftError {
  readonly errno: number;
  /** `EEXIST`. */
  readonly errnoName: string;
  readonly kernelMessage: string | undefined;

  constructor(failure: SystemFailure) {
    const name = errnoName(failure.errno);
    const words = failure.kernelMessage ?? explanations[name];
    super({
      code: codes[name] ?? "internal",
      attempted: failure.operation,
      reason: words === undefined ? name : `${name}: ${words}`,
      ...(failure.hint === undefined ? {} : { hint: failure.hint }),
    });
    this.errno = failure.errno;
    this.errnoName = name;
    this.kernelMessage = failure.kernelMessage;
  }

  /** The same refusal, told with more: who asks for its number finds it. */
  with(more: Partial<Pick<SystemFailure, "operation" | "hint">>): SystemError {
    const { attempted: operation, errno, kernelMessage, hint } = this;
    return new SystemError({ operation, errno, kernelMessage, hint, ...more });
  }
}

/** `EEXIST`. */
export function errnoName(errno: number): string {
  return nameByErrno.get(errno) ?? `errno ${errno}`;
}

export function isErrno(thrown: unknown, ...names: readonly string[]): thrown is SystemError {
  return thrown instanceof SystemError && names.includes(thrown.errnoName);
}
