import { type NetworkNamespace, RawNetlinkSocket, watchReadable } from "../linux/index.ts";

/** How datagrams reach a kernel: the real one, or one that a test scripts. */
export interface Channel {
  /** The port that answers are addressed to. */
  readonly portId: number;
  /** The kernel has done all of it when this returns, but for dumps, which go on as they are received. */
  send(bytes: Uint8Array): void;
  /** The next datagram, valid until the next call; `undefined` when there is none now. Throws ENOBUFS once after a loss. */
  receive(): Uint8Array | undefined;
  /** Calls back whenever there is something to receive, until the returned function is called. */
  onReadable(callback: () => void): () => void;
  close(): void;
}

export interface ChannelOptions {
  /** Absent: the namespace that the process is in. The socket stays in it for good. */
  readonly namespace?: NetworkNamespace | undefined;
  /** Octets of the receive buffer. Default 8 MiB. */
  readonly receiveBuffer?: number;
  readonly groups?: readonly number[];
  /** One of {@link netlinkProtocol}; default routing. */
  readonly protocol?: number;
  /** A classic BPF program that says which datagrams are queued. */
  readonly filter?: Uint8Array | undefined;
}

export function openKernelChannel(options: ChannelOptions): Channel {
  const open = (): RawNetlinkSocket => new RawNetlinkSocket({ receiveBuffer: 8 * 1024 * 1024, ...options });
  const socket = options.namespace === undefined ? open() : options.namespace.run(open);
  if (options.filter !== undefined) socket.attachFilter(options.filter);
  return {
    portId: socket.portId,
    send: (bytes) => socket.send(bytes),
    receive: () => socket.receive(),
    onReadable: (callback) => watchReadable(socket.fd, callback),
    close: () => socket.close(),
  };
}
