import type { Clock } from "../../base/clock.ts";
import { milliseconds } from "../../base/duration.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";

/** Frames read at one go, and the pause after as many: a flood of ARP takes a small part of the agent's time, and no more. */
const framesPerTurn = 64;
const pauseAfterTurn = milliseconds(5);

/**
 * Hears what endpoints tell of themselves on all ports of a namespace. The kernel lets no other frame through; what comes
 * faster than it is read is lost, and comes again.
 */
export class Snooper {
  readonly namespace: KernelNamespace;
  readonly #socket: ReturnType<KernelNamespace["openPacketSocket"]>;
  readonly #clock: Clock;
  readonly #onFrame: (interfaceIndex: number, frame: Uint8Array) => void;
  #cancelPause: (() => void) | undefined;
  #closed = false;

  /** `filter`: what is heard; see {@link addressResolutionFilter}. */
  constructor(options: {
    readonly namespace: KernelNamespace;
    readonly clock: Clock;
    readonly filter: Uint8Array;
    readonly onFrame: (interfaceIndex: number, frame: Uint8Array) => void;
  }) {
    this.namespace = options.namespace;
    this.#clock = options.clock;
    this.#onFrame = options.onFrame;
    this.#socket = options.namespace.openPacketSocket({ filter: options.filter, withoutOutgoing: true });
    this.#socket.onReadable(() => this.#read());
  }

  close(): void {
    this.#closed = true;
    this.#cancelPause?.();
    this.#socket.close();
  }

  #read(): void {
    for (let count = 0; count < framesPerTurn && !this.#closed; count++) {
      const received = this.#socket.receive();
      if (received === undefined) return;
      this.#onFrame(received.interfaceIndex, received.frame);
    }
    if (this.#closed) return;
    this.#socket.pause();
    this.#cancelPause = this.#clock.after(pauseAfterTurn, () => this.#socket.onReadable(() => this.#read()));
  }
}
