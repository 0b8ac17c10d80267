import { assembleBpf, isErrno, type NetworkNamespace } from "../linux/index.ts";
import { type Channel, type ChannelOptions, openKernelChannel } from "./channel.ts";
import { messagesOf } from "./message.ts";
import { AF_BRIDGE, neighbourFlag, RTM_DELNEIGH, RTM_NEWNEIGH } from "./neighbour.ts";

/** linux/rtnetlink.h: `enum rtnetlink_groups`. */
export const eventGroup = {
  link: 1,
  neighbour: 3,
  trafficControl: 4,
  ipv4Address: 5,
  ipv4Route: 7,
  ipv4Rule: 8,
  ipv6Address: 9,
  ipv6Route: 11,
  ipv6Rule: 19,
  ipv4Netconf: 24,
  ipv6Netconf: 25,
  nexthop: 32,
} as const;

export interface EventMessage {
  /** RTM_* of linux/rtnetlink.h. */
  readonly type: number;
  /** Of the socket that asked for the change, where the kernel tells: of nftables it does. */
  readonly portId: number;
  /** Valid during the call. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly start: number;
  readonly end: number;
}

export interface EventSocketOptions {
  readonly namespace?: NetworkNamespace | undefined;
  readonly groups: readonly number[];
  /** One of {@link netlinkProtocol}; default routing. */
  readonly protocol?: number;
  /** Octets; what does not fit is lost and reported as an overrun. */
  readonly receiveBuffer?: number;
  /** A classic BPF program that says which messages are queued; see {@link withoutNewNeighbours}. */
  readonly filter?: Uint8Array;
  /** How it reaches its kernel. Absent: that of this host. */
  readonly open?: (options: Omit<ChannelOptions, "namespace">) => Channel;
  readonly onEvent: (message: EventMessage) => void;
  /** Messages were lost (ENOBUFS), or could not be read: whoever listens must look at the whole state anew. */
  readonly onOverrun: () => void;
}

/** Messages read in one turn of the event loop, so that a storm does not starve the rest of the program. */
const messagesPerTurn = 512;

/** Listens to what changes in a namespace. Requests go through another socket, so that answers and events never queue behind each other. */
export class EventSocket {
  readonly #channel: Channel;
  readonly #stop: () => void;
  #closed = false;

  constructor(options: EventSocketOptions) {
    const { namespace, open = (socket) => openKernelChannel({ namespace, ...socket }) } = options;
    this.#channel = open({
      receiveBuffer: options.receiveBuffer ?? 4 * 1024 * 1024,
      groups: options.groups,
      ...(options.protocol === undefined ? {} : { protocol: options.protocol }),
      filter: options.filter,
    });
    this.#stop = this.#channel.onReadable(() => this.#drain(options));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
    this.#channel.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #drain(options: EventSocketOptions): void {
    for (let count = 0; count < messagesPerTurn && !this.#closed; count++) {
      let datagram: Uint8Array | undefined;
      try {
        datagram = this.#channel.receive();
      } catch (error) {
        if (!isErrno(error, "ENOBUFS")) throw error;
        options.onOverrun();
        continue;
      }
      if (datagram === undefined) return;
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
      try {
        for (const { type, portId, start, end } of messagesOf(datagram, view))
          options.onEvent({ type, portId, bytes: datagram, view, start, end });
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        options.onOverrun();
      }
    }
  }
}

/**
 * A classic BPF program for who programs a hundred thousand entries of its own and does not want to hear of each. It drops
 * RTM_NEWNEIGH messages whose entry carries one of `flags` (NTF_*); deletions and entries without the flag pass. It also
 * drops what older kernels (Linux 6.1 does) send beside the driver's own message for each entry of a device's FDB that is
 * written or deleted: a MAC without a place and with no flag but NTF_SELF. net/core/rtnetlink.c: `rtnl_fdb_notify`
 */
export function withoutNewNeighbours(flags: number): Uint8Array {
  const messageTypeOffset = 4;
  /** After nlmsghdr (16), in `struct ndmsg`: ndm_family and ndm_flags. */
  const familyOffset = 16;
  const flagsOffset = 16 + 10;
  /** nlmsghdr, ndmsg (12) and an attribute with a MAC (12), and no other. */
  const bareLength = 16 + 12 + 12;
  /** As their two octets read in network byte order. */
  const newNeighbour = RTM_NEWNEIGH << 8;
  const deletedNeighbour = RTM_DELNEIGH << 8;
  return assembleBpf([
    { load: 2, at: messageTypeOffset },
    { equals: newNeighbour, no: "bare?" },
    { load: 1, at: flagsOffset },
    { anyBit: flags, yes: "drop" },
    { label: "bare?" },
    { load: "length" },
    { equals: bareLength, no: "accept" },
    { load: 2, at: messageTypeOffset },
    { equals: newNeighbour, yes: "neighbour" },
    { equals: deletedNeighbour, no: "accept" },
    { label: "neighbour" },
    { load: 1, at: familyOffset },
    { equals: AF_BRIDGE, no: "accept" },
    { load: 1, at: flagsOffset },
    { equals: neighbourFlag.self, no: "accept" },
    { label: "drop" },
    { accept: false },
    { label: "accept" },
    { accept: true },
  ]);
}
