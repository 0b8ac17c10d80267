import type { Clock } from "../../base/clock.ts";
import { type Duration, milliseconds, seconds } from "../../base/duration.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { configurationRequestFilter, isErrno } from "../../linux/index.ts";
import { serverWithoutGateway } from "../../model/dhcp.ts";
import type { Configuration } from "./configuration.ts";
import { advertisementFrame, answerFrame } from "./frames.ts";
import { advertisementOf, type Former, farewellOf, tellsOf } from "./router-advertisement.ts";

/** Requests of one port that are read at once, and how often one more is after that: what a hostile guest can cost. */
const atOnce = 16;
const oneMoreEvery = milliseconds(250);
/** Octets of requests that wait, with the kernel's own about them: some ten. Each port has its own, and nobody fills another's. */
const receiveBuffer = 16 * 1024;
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
  readonly index: number;
  readonly #options: AnsweringPortOptions;
  readonly #socket: ReturnType<KernelNamespace["openPacketSocket"]>;
  #configuration: Configuration;
  #left = atOnce;
  #refilled: number;
  #cancelPause: () => void = () => {};
  #cancelAdvertisement: () => void = () => {};
  #closed = false;

  constructor(options: AnsweringPortOptions) {
    this.index = options.index;
    this.#options = options;
    this.#configuration = options.configuration;
    this.#refilled = options.clock.monotonic();
    this.#socket = options.namespace.openPacketSocket({
      filter: configurationRequestFilter(serverWithoutGateway),
      interfaceIndex: options.index,
      withoutOutgoing: true,
      receiveBuffer,
    });
    this.#socket.onReadable(() => this.#read());
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
    this.#closed = true;
    this.#cancelPause();
    this.#cancelAdvertisement();
    this.#socket.close();
  }

  #read(): void {
    this.#refill();
    while (this.#left > 0 && !this.#closed) {
      const request = this.#receive();
      if (request === undefined) return;
      this.#left--;
      const { frame, declined } = answerFrame(request, this.#configuration);
      this.#send(frame);
      if (declined !== undefined) this.#options.onDeclined(declined);
    }
    if (this.#closed) return;
    this.#socket.pause();
    this.#cancelPause = this.#options.clock.after(oneMoreEvery, () => this.#socket.onReadable(() => this.#read()));
  }

  #refill(): void {
    const gained = Math.floor((this.#options.clock.monotonic() - this.#refilled) / oneMoreEvery);
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

  #send(frame: Uint8Array | undefined): void {
    if (frame !== undefined) this.#socket.send(this.index, frame);
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
