import { attachFilter } from "./bpf.ts";
import { checked, closeDescriptor } from "./descriptor.ts";
import { lastErrno, libc } from "./libc.ts";
import { SystemError } from "./system-error.ts";

/** bits/socket.h, linux/netlink.h */
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;

const EAGAIN = 11;
const EINTR = 4;

/** linux/netlink.h: which part of the kernel the socket speaks with. */
export const netlinkProtocol = { route: 0, netfilter: 12 } as const;

export interface NetlinkSocketOptions {
  /** Default: routing. */
  readonly protocol?: number;
  /** Octets; beyond `net.core.rmem_max` it takes CAP_NET_ADMIN. */
  readonly receiveBuffer: number;
  /** Multicast groups to join: RTNLGRP_* of linux/rtnetlink.h, NFNLGRP_* of linux/netfilter/nfnetlink.h. */
  readonly groups?: readonly number[];
}

/** A raw netlink socket, non-blocking, of the namespace that the thread is in when it is made. */
export class RawNetlinkSocket {
  readonly fd: number;
  /** The socket's own address, in each message that answers it. */
  readonly portId: number;
  #buffer: Uint8Array;

  constructor(options: NetlinkSocketOptions) {
    const operation = "open a netlink socket";
    this.fd = checked(
      libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, options.protocol ?? netlinkProtocol.route),
      operation,
    );
    try {
      this.#set(SOL_SOCKET, SO_RCVBUFFORCE, options.receiveBuffer, operation);
      this.#set(SOL_NETLINK, NETLINK_EXT_ACK, 1, operation);
      this.#set(SOL_NETLINK, NETLINK_CAP_ACK, 1, operation);
      this.#set(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1, operation);
      const address = new Uint8Array(12);
      new DataView(address.buffer).setUint16(0, AF_NETLINK, true);
      checked(libc.bind(this.fd, address, address.length), operation);
      const length = [address.length];
      checked(libc.getsockname(this.fd, address, length), operation);
      this.portId = new DataView(address.buffer).getUint32(4, true);
      for (const group of options.groups ?? []) this.#set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group, operation);
    } catch (error) {
      closeDescriptor(this.fd);
      throw error;
    }
    this.#buffer = new Uint8Array(64 * 1024);
  }

  /** Only datagrams that the classic BPF program lets through are queued: see {@link assembleBpf}. */
  attachFilter(program: Uint8Array): void {
    attachFilter(this.fd, program, "filter a netlink socket");
  }

  send(bytes: Uint8Array): void {
    for (;;) {
      if (Number(libc.send(this.fd, bytes, bytes.length, 0)) >= 0) return;
      const errno = lastErrno();
      if (errno !== EINTR) throw new SystemError({ operation: "send to the kernel", errno });
    }
  }

  /**
   * The next datagram, or `undefined` when there is none now. The bytes are valid until the next call.
   * Throws ENOBUFS once after datagrams were lost.
   */
  receive(): Uint8Array | undefined {
    for (;;) {
      const length = Number(libc.recv(this.fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT | MSG_TRUNC));
      if (length > this.#buffer.length) {
        // The datagram is lost, the caller sees a gap; the next one of that size fits.
        this.#buffer = new Uint8Array(length * 2);
        throw new SystemError({
          operation: "receive from the kernel",
          errno: 105,
          kernelMessage: "datagram truncated",
        });
      }
      if (length >= 0) return this.#buffer.subarray(0, length);
      const errno = lastErrno();
      if (errno === EAGAIN) return undefined;
      if (errno !== EINTR) throw new SystemError({ operation: "receive from the kernel", errno });
    }
  }

  close(): void {
    closeDescriptor(this.fd);
  }

  #set(level: number, name: number, value: number, operation: string): void {
    checked(libc.setsockopt(this.fd, level, name, Int32Array.of(value), 4), operation);
  }
}
