import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import { announcement } from "../announcements.ts";
import type { KernelNamespace } from "../kernel.ts";

/** Once more, because a frame may be lost, and because the node that it left may have answered a moment ago. */
const repetitionAfter = seconds(1);

interface Announced {
  readonly address: IpAddress;
  /** The device on whose link it is told, and its MAC. */
  readonly index: number;
  readonly mac: MacAddress;
}

/**
 * Tells a link that a floating address is at this node from now on: who had it from another node sends here at once. Several
 * that come together are told together.
 */
export class FloatingAnnouncements {
  readonly #clock: Clock;
  readonly #openSender: () => ReturnType<KernelNamespace["openPacketSender"]>;
  readonly #isAnswered: (address: IpAddress, index: number) => boolean;
  readonly #onFailure: (error: Error) => void;
  readonly #cancels = new Set<() => void>();

  constructor(options: {
    readonly clock: Clock;
    readonly openSender: () => ReturnType<KernelNamespace["openPacketSender"]>;
    /** Whether the node answers for the address there now. */
    readonly isAnswered: (address: IpAddress, index: number) => boolean;
    /** Nothing could be sent: others find out by asking again. */
    readonly onFailure: (error: Error) => void;
  }) {
    this.#clock = options.clock;
    this.#openSender = options.openSender;
    this.#isAnswered = options.isAnswered;
    this.#onFailure = options.onFailure;
  }

  announce(addresses: readonly Announced[]): void {
    if (addresses.length === 0) return;
    this.#tell(addresses);
    const cancel = this.#clock.after(repetitionAfter, () => {
      this.#cancels.delete(cancel);
      this.#tell(addresses);
    });
    this.#cancels.add(cancel);
  }

  close(): void {
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  #tell(addresses: readonly Announced[]): void {
    try {
      using sender = this.#openSender();
      for (const { address, index, mac } of addresses)
        if (this.#isAnswered(address, index)) sender.send(index, announcement(address, mac));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#onFailure(error);
    }
  }
}
