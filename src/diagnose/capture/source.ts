import { type CapturedFrame, CaptureSocket, isErrno, type NetworkNamespace, packetType } from "../../linux/index.ts";
import { type DecodeFrameOptions, decodeFrame, tunnelledPacket } from "../../wire/index.ts";
import { type Filter, passes, socketProgram } from "./filter.ts";
import {
  type CapturedPacket,
  type CaptureSource,
  type Link,
  type Place,
  placeName,
  type SourceCounts,
} from "./packet.ts";

export interface LocalSourceOptions {
  readonly namespace: NetworkNamespace;
  /** By the index of the interface; all of them have what begins with `link`. */
  readonly places: ReadonlyMap<number, Place>;
  readonly link: Link;
  /** What packets must be like as they are there. */
  readonly filter: Filter;
  /** What they must be like in their tunnel, by what they begin with there. Absent: nobody looks into tunnels. */
  readonly inner?: Readonly<Record<Link, Filter>>;
  /** Octets that are kept of each packet. */
  readonly snapLength: number;
  /** Octets of packets that wait to be read at most. */
  readonly room: number;
  readonly decode: DecodeFrameOptions;
  /** Told of what is no packet: an interface that went down or away. */
  readonly onNote: (note: string) => void;
}

/** linux/if_packet.h of what comes in. */
const receptions = new Map<number, NonNullable<CapturedPacket["reception"]>>([
  [packetType.host, "unicast"],
  [packetType.broadcast, "broadcast"],
  [packetType.multicast, "multicast"],
  [packetType.otherHost, "otherHost"],
]);

const ENETDOWN = 100;
/** Octets of Ethernet's header with two VLAN tags: what a link's MTU does not count. */
const linkHeader = 22;

/** Interfaces of a namespace of this machine, read by one socket. Needs root. */
export class LocalSource implements CaptureSource {
  readonly #options: LocalSourceOptions;
  readonly #socket: CaptureSocket;

  /** From now on packets are kept. */
  constructor(options: LocalSourceOptions) {
    this.#options = options;
    const { namespace, places, filter, inner, snapLength, room } = options;
    const [only, ...others] = places.keys();
    const isOne = only !== undefined && others.length === 0;
    // What is looked at here must be whole; it is cut afterwards.
    const kept = inner === undefined ? snapLength : wholePacket;
    try {
      this.#socket = new CaptureSocket({
        ...{ namespace, room, filter: socketProgram(filter, kept, isOne ? undefined : [...places.keys()]) },
        ...(isOne ? { interfaceIndex: only } : {}),
      });
    } catch (error) {
      if (isErrno(error, "EINVAL"))
        throw error.with({ hint: `the kernel does not take the filter "${filter.text}": write it in another way` });
      throw error;
    }
  }

  async *packets(signal: AbortSignal): AsyncGenerator<readonly CapturedPacket[]> {
    let isStopped = false;
    for (;;) {
      const frames = this.#socket.read();
      if (frames.length > 0) {
        const packets = frames.map((frame) => this.#packetOf(frame)).filter((packet) => packet !== undefined);
        if (packets.length > 0) yield packets;
        continue;
      }
      if (signal.aborted && !isStopped) {
        this.#socket.stop();
        isStopped = true;
      }
      if (isStopped && this.#socket.isDrained) return;
      await this.#readable(isStopped ? undefined : signal);
      this.#noteError();
    }
  }

  counts(): SourceCounts {
    const { received, dropped } = this.#socket;
    return { places: [...this.#options.places.values()], received, dropped };
  }

  close(): void {
    this.#socket.close();
  }

  #readable(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => {
      this.#socket.pause();
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    this.#socket.onReadable(wake);
    signal?.addEventListener("abort", wake);
    return promise;
  }

  #noteError(): void {
    const errno = this.#socket.takeError();
    if (errno !== ENETDOWN) return;
    const names = [...this.#options.places.values()].map(placeName).join(", ");
    this.#options.onNote(`${names} went down or away`);
  }

  /** `undefined`: it is not meant. */
  #packetOf(frame: CapturedFrame): CapturedPacket | undefined {
    const { places, filter, link, inner, snapLength } = this.#options;
    const place = places.get(frame.interfaceIndex);
    if (place === undefined || frame.link !== link) return undefined;
    const { bytes, originalLength } = frame;
    // The kernel looked at it without its tag.
    if (frame.isTagged && !passes(filter, bytes, { originalLength, packetType: frame.packetType })) return undefined;
    if (inner !== undefined && !this.#passesInside(bytes, inner)) return undefined;
    const reception = receptions.get(frame.packetType);
    return {
      place,
      time: frame.time,
      direction: frame.packetType === packetType.outgoing ? "out" : "in",
      ...(reception === undefined ? {} : { reception }),
      bytes: bytes.subarray(0, snapLength),
      originalLength,
      ...(frame.checksum === undefined ? {} : { checksum: frame.checksum }),
      isSegmented: frame.isSegmented || originalLength > place.mtu + linkHeader,
    };
  }

  #passesInside(bytes: Uint8Array, filters: Readonly<Record<Link, Filter>>): boolean {
    const { link, decode } = this.#options;
    const inner = tunnelledPacket(decodeFrame(bytes, { ...decode, link }))?.inner;
    return inner !== undefined && passes(filters[inner.link], bytes.subarray(inner.start, inner.end));
  }
}

/** More than any packet has. */
const wholePacket = 0x7fff_ffff;
