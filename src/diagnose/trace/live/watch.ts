import type { KernelNamespace } from "../../../dataplane/kernel.ts";
import { isErrno, packetType } from "../../../linux/index.ts";
import { probeFilter } from "../../probe/watch.ts";
import type { Observed, TracedPacket, WatchPoint } from "../step.ts";
import { markOffset, readMark } from "./packet.ts";

/** Marked packets as they cross one place. */
export class PointWatch {
  readonly #socket: ReturnType<KernelNamespace["openPacketSocket"]>;
  readonly #id: bigint;
  readonly #packet: TracedPacket;
  readonly #isOutgoing: boolean;
  readonly #seen = new Set<number>();
  #first = 0;

  constructor(namespace: KernelNamespace, point: WatchPoint, packet: TracedPacket, id: bigint) {
    this.#id = id;
    this.#packet = packet;
    this.#isOutgoing = point.isOutgoing;
    this.#socket = namespace.openPacketSocket({
      filter: probeFilter([(point.outer ?? 0) + markOffset(packet)]),
      withTimes: true,
      ...(point.index === undefined ? {} : { interfaceIndex: point.index }),
    });
    this.#socket.onReadable(() => this.#read());
  }

  get observed(): Observed {
    this.#read();
    return { seen: this.#seen.size, first: this.#first };
  }

  #read(): void {
    try {
      for (let received = this.#socket.receive(); received !== undefined; received = this.#socket.receive()) {
        const { frame, time = 0 } = received;
        const mark = readMark(frame, this.#packet);
        const isOutgoing = received.packetType === packetType.outgoing;
        if (mark?.id !== this.#id || mark.isAnswer !== this.#packet.isAnswer || isOutgoing !== this.#isOutgoing)
          continue;
        if (this.#seen.size === 0) this.#first = time;
        this.#seen.add(mark.sequence);
      }
    } catch (error) {
      // The interface went down: what it would have told does not come.
      if (!isErrno(error, "ENETDOWN")) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
