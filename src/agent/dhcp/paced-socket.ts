import type { Clock } from "../../base/clock.ts";
import type { Duration } from "../../base/duration.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { isErrno } from "../../linux/index.ts";

export interface PacedSocketOptions {
  readonly namespace: KernelNamespace;
  /** Of the port. */
  readonly index: number;
  /** Which of the endpoint's frames come here. */
  readonly filter: Uint8Array;
  /** Octets of frames that wait, with the kernel's own about them. Each socket has its own, and nobody fills another's. */
  readonly receiveBuffer: number;
  readonly clock: Clock;
  /** Frames that are read at once, and how often one more is after that: what a hostile guest can cost. */
  readonly atOnce: number;
  readonly oneMoreEvery: Duration;
  /** The frame is valid until it returns. */
  readonly onFrame: (frame: Uint8Array) => void;
}

/** What an endpoint sends to its node, heard at its port and at a bounded pace. */
export class PacedSocket {
  readonly #options: PacedSocketOptions;
  readonly #socket: ReturnType<KernelNamespace["openPacketSocket"]>;
  #left: number;
  #refilled: number;
  #cancelPause: () => void = () => {};
  #closed = false;

  constructor(options: PacedSocketOptions) {
    const { namespace, index, filter, receiveBuffer, clock, atOnce } = options;
    this.#options = options;
    this.#left = atOnce;
    this.#refilled = clock.monotonic();
    this.#socket = namespace.openPacketSocket({ filter, interfaceIndex: index, withoutOutgoing: true, receiveBuffer });
    this.#socket.onReadable(() => this.#read());
  }

  send(frame: Uint8Array): void {
    this.#socket.send(this.#options.index, frame);
  }

  close(): void {
    this.#closed = true;
    this.#cancelPause();
    this.#socket.close();
  }

  #read(): void {
    this.#refill();
    while (this.#left > 0 && !this.#closed) {
      const frame = this.#receive();
      if (frame === undefined) return;
      this.#left--;
      this.#options.onFrame(frame);
    }
    if (this.#closed) return;
    const { clock, oneMoreEvery } = this.#options;
    this.#socket.pause();
    this.#cancelPause = clock.after(oneMoreEvery, () => this.#socket.onReadable(() => this.#read()));
  }

  #refill(): void {
    const { clock, oneMoreEvery, atOnce } = this.#options;
    const gained = Math.floor((clock.monotonic() - this.#refilled) / oneMoreEvery);
    this.#refilled += gained * oneMoreEvery;
    this.#left = Math.min(atOnce, this.#left + gained);
  }

  #receive(): Uint8Array | undefined {
    try {
      return this.#socket.receive()?.frame;
    } catch (error) {
      // The port is down or gone: whoever keeps ports in order brings it back, and this with it.
      if (isErrno(error, "ENETDOWN")) return undefined;
      throw error;
    }
  }
}
