import { attachFilter } from "./bpf.ts";
import { checked, closeDescriptor } from "./descriptor.ts";
import { lastErrno, libc } from "./libc.ts";
import type { NetworkNamespace } from "./namespace.ts";
import { type StopWatching, watchReadable } from "./readiness.ts";
import { SystemError } from "./system-error.ts";

/** bits/socket.h */
const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
/** linux/if_packet.h */
const PACKET_STATISTICS = 6;
const PACKET_QDISC_BYPASS = 20;
const PACKET_IGNORE_OUTGOING = 23;
const MSG_DONTWAIT = 0x40;
/** asm-generic/sockios.h */
const SIOCGSTAMPNS = 0x8907;

const EAGAIN = 11;
const EINTR = 4;

/** linux/if_ether.h: every protocol. */
const ETH_P_ALL = 0x0003;
/** linux/if_packet.h: octets of `struct sockaddr_ll`. */
const addressLength = 20;
/** The largest frame of a packet that was not cut into segments yet; more of a frame is not read. */
const frameLength = 64 * 1024;

/** linux/if_packet.h: whom a frame is for, as the interface sees it. */
export const packetType = { host: 0, broadcast: 1, multicast: 2, otherHost: 3, outgoing: 4 } as const;

export interface ReceivedFrame {
  /** Index of the interface that it came in by. */
  readonly interfaceIndex: number;
  /** One of {@link packetType}. */
  readonly packetType: number;
  /** From the Ethernet header on, without a VLAN tag. Valid until the next call. */
  readonly frame: Uint8Array;
  /** When the kernel had it, in microseconds since 1970; of a socket `withTimes` alone. */
  readonly time?: number;
}

export interface PacketSocketOptions {
  readonly namespace: NetworkNamespace;
  /** Absent: all interfaces of the namespace, also those that come later. */
  readonly interfaceIndex?: number;
  /**
   * The EtherType of incoming frames to be had, after whatever the interface is part of has taken its own: none on a
   * port of a bridge. Absent: all frames, outgoing ones among them, before anybody else has them.
   */
  readonly protocol?: number;
  /** A classic BPF program that says which frames are queued: see {@link assembleBpf}. */
  readonly filter: Uint8Array;
  /**
   * Outgoing frames are not even shown to the filter. Else the kernel clones each frame that the namespace sends, which
   * is work that the filter comes too late to save. Default false.
   */
  readonly withoutOutgoing?: boolean;
  /** Received frames say when the kernel had them. Default false. */
  readonly withTimes?: boolean;
  /** Octets of frames that wait to be received, with the kernel's own about them; the rest is lost. Default 256 KiB. */
  readonly receiveBuffer?: number;
}

/** Frames as they are on interfaces: an AF_PACKET socket, packet(7). It queues nothing that its filter does not let through. */
export class PacketSocket {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(frameLength);
  readonly #address = new Uint8Array(addressLength);
  readonly #withTimes: boolean;
  #stopWatching: StopWatching | undefined;
  #closed = false;

  constructor(options: PacketSocketOptions) {
    const { namespace, interfaceIndex = 0, protocol = ETH_P_ALL } = options;
    const operation = `open a packet socket in ${namespace.label}${interfaceIndex === 0 ? "" : ` on interface ${interfaceIndex}`}`;
    this.#withTimes = options.withTimes === true;
    // Without a protocol it receives nothing: not before the filter is there.
    this.#fd = openPacketDescriptor(namespace, operation);
    try {
      attachFilter(this.#fd, options.filter, operation);
      const octets = Int32Array.of(options.receiveBuffer ?? 256 * 1024);
      checked(libc.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, octets, 4), operation);
      if (options.withoutOutgoing === true)
        checked(libc.setsockopt(this.#fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, Int32Array.of(1), 4), operation);
      // Whoever asks once is told from then on: sock_gettstamp() of net/core/sock.c.
      if (this.#withTimes) this.#readTime();
      checked(libc.setsockopt(this.#fd, SOL_PACKET, PACKET_QDISC_BYPASS, Int32Array.of(1), 4), operation);
      bindToInterface(this.#fd, interfaceIndex, protocol, operation);
    } catch (error) {
      closeDescriptor(this.#fd);
      throw error;
    }
  }

  /**
   * The next frame, or `undefined` when there is none now. Of a socket on one interface throws ENETDOWN once after
   * the interface went down or away; when it is up again, frames come again.
   */
  receive(): ReceivedFrame | undefined {
    for (;;) {
      const length = Number(
        libc.recvfrom(this.#fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT, this.#address, [addressLength]),
      );
      if (length >= 0) {
        const view = new DataView(this.#address.buffer);
        return {
          interfaceIndex: view.getInt32(4, true),
          packetType: view.getUint8(10),
          frame: this.#buffer.subarray(0, length),
          ...(this.#withTimes ? { time: this.#readTime() } : {}),
        };
      }
      const errno = lastErrno();
      if (errno === EAGAIN) return undefined;
      if (errno !== EINTR) throw new SystemError({ operation: "receive frames", errno });
    }
  }

  /** Of the frame that was received last: `struct timespec`. */
  #readTime(): number {
    const time = new Uint8Array(16);
    if (libc.ioctlOn(this.#fd, SIOCGSTAMPNS, time) < 0) return 0;
    const view = new DataView(time.buffer);
    return Number(view.getBigInt64(0, true)) * 1_000_000 + Number(view.getBigInt64(8, true)) / 1_000;
  }

  /** How many frames there was no room for since the last call. linux/if_packet.h: `struct tpacket_stats`. */
  readLost(): number {
    const statistics = new Uint8Array(8);
    checked(
      libc.getsockopt(this.#fd, SOL_PACKET, PACKET_STATISTICS, statistics, [8]),
      "read what a packet socket lost",
    );
    return new DataView(statistics.buffer).getUint32(4, true);
  }

  /**
   * Sends a frame by an interface of the namespace, past its queues and the programs at its clsact egress. It is lost, as frames
   * are, where the interface is down or gone, or its ring full.
   */
  send(interfaceIndex: number, frame: Uint8Array): void {
    sendFrame(this.#fd, this.#address, interfaceIndex, frame);
  }

  /** Calls back from the event loop whenever there is something to receive, until {@link pause} or {@link close}; one callback at a time. */
  onReadable(callback: () => void): void {
    this.pause();
    this.#stopWatching = watchReadable(this.#fd, callback);
  }

  /** Calls back no more; what arrives waits. */
  pause(): void {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.pause();
    closeDescriptor(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Sends frames as they are by interfaces of a namespace; receives none. */
export class PacketSender {
  readonly #fd: number;
  readonly #address = new Uint8Array(addressLength);

  constructor(namespace: NetworkNamespace) {
    this.#fd = openPacketDescriptor(namespace, `open a packet socket in ${namespace.label}`);
  }

  /** Sends a frame. It is lost, as frames are, where the interface is down or gone, or its queue full. */
  send(interfaceIndex: number, frame: Uint8Array): void {
    sendFrame(this.#fd, this.#address, interfaceIndex, frame);
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.#fd);
  }
}

/** A packet socket of a namespace that receives nothing before {@link bindToInterface}. */
export function openPacketDescriptor(namespace: NetworkNamespace, operation: string): number {
  return namespace.run(() => checked(libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), operation));
}

/** From now on the socket receives frames of an interface, 0: of all, and of an EtherType. */
export function bindToInterface(fd: number, interfaceIndex: number, protocol: number, operation: string): void {
  const address = new Uint8Array(addressLength);
  writeAddress(address, interfaceIndex, protocol);
  checked(libc.bind(fd, address, addressLength), operation);
}

function sendFrame(fd: number, address: Uint8Array, interfaceIndex: number, frame: Uint8Array): void {
  writeAddress(address, interfaceIndex, 0);
  libc.sendto(fd, frame, frame.length, MSG_DONTWAIT, address, addressLength);
}

/** linux/if_packet.h: `struct sockaddr_ll` of an interface and an EtherType. */
function writeAddress(address: Uint8Array, interfaceIndex: number, protocol: number): void {
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, protocol);
  view.setInt32(4, interfaceIndex, true);
}
