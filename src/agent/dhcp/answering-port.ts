import type { Clock } from "../../base/clock.ts";
import { type Duration, milliseconds, seconds } from "../../base/duration.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { configurationRequestFilter } from "../../linux/index.ts";
import { serverWithoutGateway } from "../../model/dhcp.ts";
import type { Configuration } from "./configuration.ts";
import { advertisementFrame, answerFrame } from "./frames.ts";
import { PacedSocket } from "./paced-socket.ts";
import { advertisementOf, type Former, farewellOf, tellsOf } from "./router-advertisement.ts";

const pace = { atOnce: 16, oneMoreEvery: milliseconds(250), receiveBuffer: 16 * 1024 };
/** RFC 4861 §6.2.1: MaxRtrAdvInterval is 1800 s at most, and lifetimes are to outlast three of them. */
const longestInterval = seconds(1_800);

export interface AnsweringPortOptions {
  readonly namespace: KernelNamespace;
  /** Of the port. */
  readonly index: number;
  readonly clock: Clock;
  /** At least 0 and less than 1. */
  readonly random: () => number;
  readonly configuration: Configuration;
  /** The endpoint says that somebody else has this address of its. */
  readonly onDeclined: (address: IpAddress) => void;
}

/**
 * Answers what an endpoint asks for at its port, and at that port alone: by a socket whose filter lets nothing else through, so that
 * none of the endpoint's other packets costs more than that. Also tells it, from time to time and when something changes, what
 * routers tell.
 */
export class AnsweringPort {
  readonly #options: AnsweringPortOptions;
  readonly #socket: PacedSocket;
  #configuration: Configuration;
  #cancelAdvertisement: () => void = () => {};

  constructor(options: AnsweringPortOptions) {
    const { namespace, index, clock, configuration } = options;
    this.#options = options;
    this.#configuration = configuration;
    this.#socket = new PacedSocket({
      ...{ namespace, index, clock, ...pace },
      filter: configurationRequestFilter(serverWithoutGateway),
      onFrame: (frame) => this.#onRequest(frame),
    });
    this.#advertise();
  }

  setConfiguration(configuration: Configuration): void {
    const former = tellsOf(this.#configuration);
    this.#configuration = configuration;
    this.#advertise(former);
  }

  /** The endpoint is to be told nothing any more. */
  sayFarewell(): void {
    this.#send(advertisementFrame(this.#configuration, undefined, farewellOf(this.#configuration)));
  }

  close(): void {
    this.#cancelAdvertisement();
    this.#socket.close();
  }

  #onRequest(request: Uint8Array): void {
    const { frame, declined } = answerFrame(request, this.#configuration);
    this.#send(frame);
    if (declined !== undefined) this.#options.onDeclined(declined);
  }

  #send(frame: Uint8Array | undefined): void {
    if (frame !== undefined) this.#socket.send(frame);
  }

  #advertise(former?: Former): void {
    this.#cancelAdvertisement();
    const advertisement = advertisementOf(this.#configuration, former);
    if (advertisement === undefined) return;
    this.#send(advertisementFrame(this.#configuration, undefined, advertisement));
    // RFC 4861 §6.2.4: at random, so that ports do not fall into step.
    const longest = Math.min(longestInterval, seconds(this.#configuration.told.leaseTime / 3));
    const interval = (longest * (1 + 2 * this.#options.random())) / 3;
    this.#cancelAdvertisement = this.#options.clock.after(interval as Duration, () => this.#advertise());
  }
}
