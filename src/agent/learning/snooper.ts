import type { Clock } from "../../base/clock.ts";
import { milliseconds } from "../../base/duration.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { addressResolutionFilter } from "../../linux/index.ts";
import { readSighting, type Sighting } from "./sighting.ts";

/** Frames read at one go, and the pause after as many: a flood of ARP takes a small part of the agent's time, and no more. */
const framesPerTurn = 64;
const pauseAfterTurn = milliseconds(5);

/**
 * Hears ARP and neighbour discovery on all ports of a namespace. The kernel lets no other frame through; what comes
 * faster than it is read is lost, and comes again.
 */
export class Snooper {
  readonly namespace: KernelNamespace;
  readonly #socket: ReturnType<KernelNamespace["openPacketSocket"]>;
  readonly #clock: Clock;
  readonly #onSighting: (interfaceIndex: number, sighting: Sighting) => void;
  #cancelPause: (() => void) | undefined;
  #closed = false;

  constructor(options: {
    readonly namespace: KernelNamespace;
    readonly clock: Clock;
    readonly onSighting: (interfaceIndex: number, sighting: Sighting) => void;
  }) {
    this.namespace = options.namespace;
    this.#clock = options.clock;
    this.#onSighting = options.onSighting;
    this.#socket = options.namespace.openPacketSocket({ filter: addressResolutionFilter(), withoutOutgoing: true });
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
      const sighting = readSighting(received.frame);
      if (sighting !== undefined) this.#onSighting(received.interfaceIndex, sighting);
    }
    if (this.#closed) return;
    this.#socket.pause();
    this.#cancelPause = this.#clock.after(pauseAfterTurn, () => this.#socket.onReadable(() => this.#read()));
  }
}
