/** Frames sent and received as they are, from inside a namespace, by the process of the test. */
import { assembleBpf } from "../../src/linux/bpf.ts";
import { checked, closeDescriptor } from "../../src/linux/descriptor.ts";
import { type NetworkNamespace, PacketSocket, packetType } from "../../src/linux/index.ts";
import { libc } from "../../src/linux/libc.ts";
import { getLink, NetlinkSocket } from "../../src/netlink/index.ts";

/** bits/socket.h */
const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK = 3 | 0o4000 | 0o2000000;

/** An interface of a namespace: what is sent leaves by it, what arrives at it is counted and handed on. */
export class RawInterface {
  readonly #descriptor: number;
  readonly #incoming: PacketSocket;

  private constructor(descriptor: number, incoming: PacketSocket) {
    this.#descriptor = descriptor;
    this.#incoming = incoming;
  }

  static async open(namespace: NetworkNamespace, name: string): Promise<RawInterface> {
    using netlink = new NetlinkSocket({ namespace });
    const { index } = await netlink.get(getLink({ name }));
    const descriptor = namespace.run(() => checked(libc.socket(AF_PACKET, SOCK_RAW_NONBLOCK, 0), "open a raw socket"));
    const address = new Uint8Array(20);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setInt32(4, index, true);
    checked(libc.bind(descriptor, address, address.length), "bind a raw socket");
    const filter = assembleBpf([{ accept: true }]);
    return new RawInterface(
      descriptor,
      new PacketSocket({ namespace, interfaceIndex: index, filter, receiveBuffer: 4 * 1024 * 1024 }),
    );
  }

  send(frame: Uint8Array): void {
    checked(Number(libc.send(this.#descriptor, frame, frame.length, 0)), "send a frame");
  }

  /** All frames that have arrived and were not asked for yet. */
  received(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let next = this.#incoming.receive(); next !== undefined; next = this.#incoming.receive())
      if (next.packetType !== packetType.outgoing) frames.push(next.frame.slice());
    return frames;
  }

  close(): void {
    this.#incoming.close();
    closeDescriptor(this.#descriptor);
  }
}
