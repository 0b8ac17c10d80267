import { familyOf, type IpAddress, ipFromBytes, writeIp } from "../base/ip.ts";
import { assembleBpf, attachFilter } from "./bpf.ts";
import { checked, closeDescriptor } from "./descriptor.ts";
import { addressOfMemory, lastErrno, libc } from "./libc.ts";
import type { NetworkNamespace } from "./namespace.ts";
import { errnoName, SystemError } from "./system-error.ts";

/** bits/socket.h */
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const MSG_DONTWAIT = 0x40;
const MSG_ERRQUEUE = 0x2000;
/** netinet/in.h */
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
/** linux/in.h */
const IP_TTL = 2;
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
/** linux/in6.h */
const IPV6_UNICAST_HOPS = 16;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
/** linux/in.h: never cut a packet into fragments, whatever is known of the way. The same number for both families. */
const PMTUDISC_PROBE = 3;
/** linux/in.h: the same, and refuse what is larger than the way is known to carry. */
const PMTUDISC_DO = 2;
/** linux/errqueue.h */
const SO_EE_ORIGIN_LOCAL = 1;

/** Octets of `struct sockaddr_in6`, the longer one, `struct msghdr` and what is read of one refusal. */
const addressLength = 28;
const messageLength = 56;
const controlLength = 256;
const quotedLength = 256;

/** What became of a packet that was not let through. */
export interface Refusal {
  /** `EMSGSIZE`, `EHOSTUNREACH`. */
  readonly error: string;
  /** Who said so; `undefined`: this host. */
  readonly by: IpAddress | undefined;
  /** Octets of the largest packet that passes there; 0: not told. */
  readonly mtu: number;
  /** As much of the packet's payload as was quoted. */
  readonly quoted: Uint8Array;
}

export interface DatagramSocketOptions {
  readonly namespace: NetworkNamespace;
  /** An address of the namespace. */
  readonly source: IpAddress;
  /** `udp`, or the number of an IP protocol, whose packets are the payload of IP as it is given. */
  readonly protocol: "udp" | number;
  /** What is larger than the way is known to carry is refused. Default: it is sent all the same. */
  readonly followsPathMtu?: boolean;
  /** Of IPv6 the hop limit. Default: the namespace's own. */
  readonly timeToLive?: number;
}

/**
 * Sends datagrams from an address as the host's own programs do, past its routes and its firewall, in one piece each: what is
 * too large is not cut up. It receives none, but hears of those that were refused: ip(7), `IP_RECVERR`.
 */
export class DatagramSocket {
  readonly #fd: number;
  readonly #family: 4 | 6;
  readonly #protocol: DatagramSocketOptions["protocol"];
  /** It points into itself: kept as long as the socket. */
  readonly #refused = makeMessage();

  constructor({ namespace, source, protocol, followsPathMtu = false, timeToLive }: DatagramSocketOptions) {
    this.#family = familyOf(source);
    this.#protocol = protocol;
    const operation = `open a socket at ${source} in ${namespace.label}`;
    const domain = this.#family === 4 ? AF_INET : AF_INET6;
    const [type, number] = protocol === "udp" ? [SOCK_DGRAM, 0] : [SOCK_RAW, protocol];
    this.#fd = namespace.run(() =>
      checked(libc.socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, number), operation),
    );
    try {
      attachFilter(this.#fd, assembleBpf([{ accept: false }]), operation);
      const level = this.#family === 4 ? IPPROTO_IP : IPPROTO_IPV6;
      const [discover, errors] = this.#family === 4 ? [IP_MTU_DISCOVER, IP_RECVERR] : [IPV6_MTU_DISCOVER, IPV6_RECVERR];
      const set = (option: number, value: number): unknown =>
        checked(libc.setsockopt(this.#fd, level, option, Int32Array.of(value), 4), operation);
      set(discover, followsPathMtu ? PMTUDISC_DO : PMTUDISC_PROBE);
      set(errors, 1);
      if (timeToLive !== undefined) set(this.#family === 4 ? IP_TTL : IPV6_UNICAST_HOPS, timeToLive);
      const [address, length] = socketAddress(source, 0);
      checked(libc.bind(this.#fd, address, length), operation);
    } catch (error) {
      closeDescriptor(this.#fd);
      throw error;
    }
  }

  /** Returns the name of the error with which the host refused it; `undefined`: it took it. `port`: of UDP alone. */
  send(destination: IpAddress, port: number, payload: Uint8Array): string | undefined {
    const [address, length] = socketAddress(destination, this.#protocol === "udp" ? port : 0);
    const sent = Number(libc.sendto(this.#fd, payload, payload.length, MSG_DONTWAIT, address, length));
    return sent < 0 ? errnoName(lastErrno()) : undefined;
  }

  /** The next refusal that was heard of; `undefined`: none is left now. */
  readRefusal(): Refusal | undefined {
    const { quoted, control, message } = this.#refused;
    const view = new DataView(message.buffer);
    view.setUint32(8, addressLength, true);
    view.setBigUint64(40, BigInt(control.length), true);
    const length = Number(libc.recvmsg(this.#fd, message, MSG_ERRQUEUE | MSG_DONTWAIT));
    if (length >= 0) return readExtendedError(control, quoted.slice(0, length));
    const errno = lastErrno();
    if (errnoName(errno) === "EAGAIN") return undefined;
    throw new SystemError({ operation: "read what became of packets", errno });
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.#fd);
  }
}

/** bits/socket.h: `struct msghdr`, and what it points to: an address, one vector and control messages. */
function makeMessage() {
  const quoted = new Uint8Array(quotedLength);
  const control = new Uint8Array(controlLength);
  const name = new Uint8Array(addressLength);
  /** bits/types/struct_iovec.h */
  const vector = new Uint8Array(16);
  const ofVector = new DataView(vector.buffer);
  ofVector.setBigUint64(0, addressOfMemory(quoted), true);
  ofVector.setBigUint64(8, BigInt(quoted.length), true);
  const message = new Uint8Array(messageLength);
  const view = new DataView(message.buffer);
  view.setBigUint64(0, addressOfMemory(name), true);
  view.setBigUint64(16, addressOfMemory(vector), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, addressOfMemory(control), true);
  return { quoted, control, name, vector, message };
}

/** bits/socket.h: `struct cmsghdr` (length, level, type), then linux/errqueue.h: `struct sock_extended_err` and who said so. */
function readExtendedError(control: Uint8Array, quoted: Uint8Array): Refusal {
  const view = new DataView(control.buffer);
  const start = 16;
  const errno = view.getUint32(start, true);
  const origin = view.getUint8(start + 4);
  const mtu = view.getUint32(start + 8, true);
  const offender = start + 16;
  const family = view.getUint16(offender, true);
  const by =
    origin === SO_EE_ORIGIN_LOCAL || (family !== AF_INET && family !== AF_INET6)
      ? undefined
      : family === AF_INET
        ? ipFromBytes(control, offender + 4, 4)
        : ipFromBytes(control, offender + 8, 16);
  return { error: errnoName(errno), by, mtu, quoted };
}

/** netinet/in.h: `struct sockaddr_in`, `struct sockaddr_in6`. */
function socketAddress(address: IpAddress, port: number): readonly [bytes: Uint8Array, length: number] {
  const bytes = new Uint8Array(addressLength);
  const view = new DataView(bytes.buffer);
  const isIpv4 = familyOf(address) === 4;
  view.setUint16(0, isIpv4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  writeIp(address, bytes, isIpv4 ? 4 : 8);
  return [bytes, isIpv4 ? 16 : addressLength];
}
