import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { assembleBpf, type BpfStep, isErrno, packetType } from "../../linux/index.ts";
import { probeMagic, readProbe } from "./packet.ts";
import { now } from "./time.ts";

/** linux/filter.h: SKF_NET_OFF, from where the network header begins, whatever is in front of it. */
const networkHeader = 0xfff0_0000;
/**
 * How far into a packet a probe may begin, in octets from the network header on and in ascending order: out of a tunnel for
 * Ethernet or for IP, then in outer IPv4 and in outer IPv6 behind the headers of ipip, nvgre, gre, and of vxlan and geneve.
 */
const places = [0, 20, 40, 42, 48, 50, 60, 62, 68, 70] as const;
/** Room for probes that wait to be read: 1,000 of the largest that links carry. */
const receiveBuffer = 4 * 1024 * 1024;

interface Seen {
  readonly sequence: number;
  readonly delay: number;
  readonly isChanged: boolean;
  readonly isOutgoing: boolean;
  /** Index of the interface. */
  readonly by: number;
}

/** Probes of one train as they cross interfaces. */
export class ProbeWatch {
  readonly seen: Seen[] = [];
  readonly #socket: ReturnType<KernelNamespace["openPacketSocket"]>;
  readonly #train: bigint;
  #missed = 0;

  private constructor(namespace: KernelNamespace, train: bigint, interfaceIndex?: number) {
    this.#train = train;
    this.#socket = namespace.openPacketSocket({
      filter: probeFilter(places),
      receiveBuffer,
      ...(interfaceIndex === undefined ? {} : { interfaceIndex }),
    });
    this.#socket.onReadable(() => this.#read());
  }

  /** On all interfaces of a host, in both directions. */
  static onHost(host: KernelNamespace, train: bigint): ProbeWatch {
    return new ProbeWatch(host, train);
  }

  static onDevice(namespace: KernelNamespace, index: number, train: bigint): ProbeWatch {
    return new ProbeWatch(namespace, train, index);
  }

  /** Packets that there was no room for until now. */
  get missed(): number {
    this.#missed += this.#socket.readLost();
    return this.#missed;
  }

  #read(): void {
    try {
      for (let received = this.#socket.receive(); received !== undefined; received = this.#socket.receive()) {
        const arrived = now();
        const probe = readProbe(received.frame);
        // One that was changed may name no train any more, or another.
        if (probe === undefined || (probe.train !== this.#train && !probe.isChanged)) continue;
        const { sequence, isChanged, sentAt } = probe;
        const isOutgoing = received.packetType === packetType.outgoing;
        this.seen.push({ sequence, isChanged, delay: arrived - sentAt, isOutgoing, by: received.interfaceIndex });
      }
    } catch (error) {
      // The interface went down: what it would have told does not come.
      if (!isErrno(error, "ENETDOWN")) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#read();
    this.#socket.close();
  }
}

/**
 * Lets packets through that have the beginning of the magic at one of the places: octets from the network header on, in ascending
 * order. A packet that is too short for one is for none behind it.
 */
export function probeFilter(places: readonly number[]): Uint8Array {
  const beginning = new DataView(probeMagic.buffer, probeMagic.byteOffset).getUint32(0);
  return assembleBpf([
    ...places.flatMap((place): readonly BpfStep[] => [
      { load: 4, at: networkHeader + place },
      { equals: beginning, yes: "accept" },
    ]),
    { accept: false },
    { label: "accept" },
    { accept: true },
  ]);
}
